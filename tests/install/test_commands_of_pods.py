"""The words of the pods' containers start what they mean, on the files that their volumes bring."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import free_port, wait_for
from tests.install.programs import Object, whole_document

CLIENTS, PROMETHEUS = "of-clients", "of-prometheus"


def words(pod: Object, folder: Path, port: int) -> list[str]:
    """The container's words, with the folders of its mounts below another one, and the port that is free."""
    (container,) = pod["spec"]["containers"]
    folders = {one["mountPath"]: str(folder / one["name"]) for one in container["volumeMounts"]}
    for path in folders.values():
        Path(path).mkdir(exist_ok=True)
    (own,) = container["ports"]
    listen = {f"0.0.0.0:{own['containerPort']}": f"0.0.0.0:{port}"}
    found = [listen.get(word, word) for word in container["command"]]
    for mounted, path in sorted(folders.items(), reverse=True):
        found = [word.replace(mounted, path, 1) if word.startswith(mounted) else word for word in found]
    return found


def answer(url: str, token: str | None = None) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answered:
            return int(answered.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def mounted(tmp_path: Path) -> Callable[[str], Path]:
    """Folder with what the volumes of a part bring."""

    def brought(part: str) -> Path:
        (tmp_path / "platform").mkdir()
        document = whole_document()
        if part != "StatefulSet/midwatch-loop":
            document["models"][0].pop("drift")  # a reference is fitted by hand
            document.pop("loop")
        (tmp_path / "platform/platform.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        for name in ("endpoint", "primary", "standby"):
            (tmp_path / "platform" / name).write_text("host=127.0.0.1 port=1 dbname=x connect_timeout=1")
        for name, token in (("token", CLIENTS), ("metrics", PROMETHEUS)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "token").write_text(token)
        return tmp_path

    return brought


@pytest.mark.parametrize(
    ("part", "health", "with_clients_token"),
    [
        ("StatefulSet/midwatch-exporter", "/readyz", 200),
        ("StatefulSet/midwatch-gate", "/healthz", 200),
        ("StatefulSet/midwatch-loop", "/healthz", 200),
        ("Deployment/midwatch-incidents", "/healthz", 401),
        ("Deployment/midwatch-evaluator", "/healthz", 401),
        ("Deployment/midwatch-recovery-exporter", "/healthz", 401),  # nobody but Prometheus asks it
        ("StatefulSet/midwatch-systems", "/healthz", 401),
    ],
)
def test_a_part_starts_says_that_it_is_well_and_shows_its_metrics_to_prometheus_alone(
    pods: dict[str, Object], mounted: Callable[[str], Path], part: str, health: str, with_clients_token: int
) -> None:
    port = free_port()
    program, *given = words(pods[part], mounted(part), port)
    assert program == "midwatch"
    process = subprocess.Popen([sys.executable, "-P", "-m", "midwatch", *given], stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/healthz", 60)
        assert answer(f"{url}{health}") == 200
        assert answer(f"{url}/metrics") == 401
        assert answer(f"{url}/metrics", PROMETHEUS) == 200
        assert answer(f"{url}/metrics", CLIENTS) == with_clients_token
        if part.endswith("exporter") and "recovery" not in part:
            assert answer(f"{url}/events", PROMETHEUS) == 401
    finally:
        process.terminate()
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said


def test_the_console_starts_and_is_read_with_its_token_alone(
    pods: dict[str, Object], mounted: Callable[[str], Path]
) -> None:
    port = free_port()
    _, *given = words(pods["Deployment/midwatch-console"], mounted("console"), port)
    process = subprocess.Popen([sys.executable, "-P", "-m", "midwatch", *given], stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/readyz", 60)
        assert answer(f"{url}/events?page=/") == 401
        assert answer(f"{url}/alerts", CLIENTS) == 200
        with urllib.request.urlopen(f"{url}/alerts", timeout=60) as answered:
            assert "/sign-in" in answered.url
    finally:
        process.terminate()
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said
