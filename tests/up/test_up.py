"""`midwatch up`, for real: however it ends, nothing stays behind, and what is wrong is said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from midwatch.app.up import cli, parts, stack, webhook_receiver
from midwatch.spec import load
from tests.conftest import midwatch_here, need_program

UP = [sys.executable, "-P", "-m", "midwatch", "up", "-f"]


def still_running(state: Path) -> list[int]:
    """Processes whose command line names the state folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(state) in command and "midwatch\0up" not in command:
            found.append(int(entry.name))
    return found


def wait_until(condition, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def programs() -> None:
    need_program("prometheus-alertmanager")
    need_program("prometheus")


@pytest.fixture
def small(tmp_path: Path, make_document) -> Path:
    document = make_document(prometheus={"scrape_interval": "1s", "evaluation_interval": "1s"})
    server = "import http.server,subprocess,sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(500)', sys.argv[2]]); http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()"  # noqa: E501
    document["local"] = {
        "servers": [{"name": "web", "command": ["{python}", "-c", server, "{port}", "{state}"], "ready": "/"}],
        "traffic": {"name": "t", "command": ["{python}", "-c", "import time; time.sleep(100)"]},
    }
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def started(file: Path, state: Path) -> tuple[subprocess.Popen[str], dict[str, int]]:
    process = subprocess.Popen(
        [*UP, str(file), "--state", str(state)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's is ignored
    )
    inventory = state / "plane.json"
    wait_until(lambda: (inventory.exists() and "traffic" in inventory.read_text()) or process.poll() is not None)
    assert process.poll() is None
    parts = json.loads(inventory.read_text())["parts"]
    return process, {part["name"]: part["pid"] for part in parts}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ended(process: subprocess.Popen[str], parts: dict[str, int], folder: Path, how: signal.Signals) -> tuple[str, str]:
    """Output and errors of a plane that was sent a signal; no process of it stays."""
    process.send_signal(how)
    said = process.communicate(timeout=90)
    wait_until(lambda: not any(alive(pid) for pid in parts.values()) and still_running(folder) == [])
    return said


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
def test_however_it_ends_no_process_stays(programs, small: Path, tmp_path: Path, how: signal.Signals) -> None:
    """SIGTERM is that of the tests of what is said and of what is held down."""
    process, parts = started(small, tmp_path / "s")
    assert {"console", "prometheus", "alertmanager", "exporter", "server-web", "traffic-t"} == set(parts)
    ended(process, parts, tmp_path, how)


@pytest.mark.parametrize("name", ["exporter", "prometheus"])
def test_a_part_that_dies_is_named_with_its_last_lines(programs, small: Path, tmp_path: Path, name: str) -> None:
    process, parts = started(small, tmp_path / "s")
    os.kill(parts[name], signal.SIGKILL)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 1
    assert f"{name} ended with code -9; its last lines" in errors
    assert "Traceback" not in errors
    assert not any(alive(pid) for pid in parts.values())


def test_a_part_that_is_held_down_is_no_failure_and_comes_back_when_released(programs, small, tmp_path: Path) -> None:
    state = tmp_path / "s"
    process, parts = started(small, state)
    inventory = json.loads((state / "plane.json").read_text())
    held = Path(inventory["held"])
    (held / "server-web").write_text("an experiment")
    os.kill(parts["server-web"], signal.SIGKILL)
    wait_until(lambda: not alive(parts["server-web"]))
    time.sleep(1.2)  # two looks of the view
    assert process.poll() is None
    (held / "server-web").rename(held / "server-web.released")

    def new_pid() -> int:
        document = json.loads((state / "plane.json").read_text())
        return {part["name"]: part["pid"] for part in document["parts"]}["server-web"]

    wait_until(lambda: new_pid() != parts["server-web"] and alive(new_pid()))
    assert list(held.iterdir()) == []
    ended(process, parts | {"server-web": new_pid()}, tmp_path, signal.SIGTERM)


def prepared(file: Path, *commands: list[str]) -> None:
    document = yaml.safe_load(file.read_text())
    document["local"]["prepare"] = [*commands]
    file.write_text(yaml.safe_dump(document))


def test_targets_are_those_of_the_configuration_whether_they_were_ever_scraped_or_not(
    programs, small: Path, tmp_path: Path
) -> None:
    document = yaml.safe_load(small.read_text())
    document["local"]["servers"][0] |= {"metrics": "/metrics", "address": "mlflow:5000"}
    observed = {"url": "http://mlflow:5000"}
    document["systems"] = {"mlflow": {"owner": "ml", "targets": ["mlflow:5000"], "observe": observed}}
    small.write_text(yaml.safe_dump(document))
    here = stack.Stack(load.load_platform(small), small, tmp_path / "s")
    try:
        here._write_config()
        written = yaml.safe_load((here.state / "config/prometheus/prometheus.yml").read_text())
        targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in written["scrape_configs"]}
        assert here.targets == sum(map(len, targets.values()))
        assert targets["mlflow"] == targets["server-web"]
        assert targets["midwatch-systems"] == [here.urls["systems"].removeprefix("http://")]
    finally:
        here.stop()


def test_what_is_prepared_and_started_is_said_with_how_long_it_took(programs, small: Path, tmp_path: Path) -> None:
    prepared(small, ["{python}", "-c", "import time; time.sleep(0.2)"], ["{python}", "-c", "pass"])
    process, parts = started(small, tmp_path / "s")
    _, errors = ended(process, parts, tmp_path, signal.SIGTERM)
    lines = errors.splitlines()
    first = "preparing 1 of 2: python -c import time; time.sleep(0.2)"
    assert first in lines
    assert any(re.fullmatch(rf"{re.escape(first)}: done in [\d.]+ (ms|s)", line) for line in lines)
    assert any(re.fullmatch(r"preparing 2 of 2: python -c pass: done in [\d.]+ (ms|s)", line) for line in lines)
    assert any(re.fullmatch(r"starting .*prometheus, alertmanager, exporter.*: done in .*", line) for line in lines)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["{python}", "-c", "print('why'); raise SystemExit(3)"], "ended with code 3"),
        (["/nowhere/x"], "cannot be started"),
    ],
    ids=["fails", "missing"],
)
def test_a_preparation_that_fails_is_named_with_its_last_lines(programs, small: Path, command, said: str) -> None:
    prepared(small, command)
    done = subprocess.run([*UP, str(small)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert ("why" in done.stderr) == ("print" in command[-1])


def test_lines_of_traffic_that_are_no_objects_are_passed_over(tmp_path: Path) -> None:
    said = '{"ok": 1}\n42\nnull\nrubbish\n{"ok": 2, "final": true}\n[]\n'
    process = subprocess.Popen([sys.executable, "-c", f"print({said!r})"], stdout=subprocess.PIPE)
    traffic = stack.Traffic(parts.Part(name="t", process=process, log=tmp_path / "log", command=(), folder=tmp_path))
    process.wait(60)
    assert traffic.has_ended()
    assert traffic.progress == {"ok": 2, "final": True}
    assert process.stdout
    process.stdout.close()


def test_what_cannot_start_says_so_in_a_line(small: Path) -> None:
    environment = {**os.environ, "PATH": "/nowhere"}
    done = subprocess.run([*UP, str(small)], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "apt-get install prometheus" in done.stderr
    for options in (["--duration", "soon"], ["--state", "/proc/nothing"]):
        done = subprocess.run([*UP, str(small), *options], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_the_receiver_keeps_what_it_is_given_and_refuses_rubbish(tmp_path: Path) -> None:
    receiver = webhook_receiver.WebhookReceiver(tmp_path / "deliveries.jsonl", tmp_path, tmp_path / "lock")
    alert = {
        "status": "firing",
        "labels": {"alertname": "A", "severity": "page", "owner": "ml"},
        "annotations": {"summary": "s"},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": "f",
    }

    def deliver(body: bytes) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{receiver.url}/oncall", body), timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    assert deliver(json.dumps({"alerts": [alert]}).encode()) == 200
    assert receiver.alerts[0].resolved_at is None
    resolved = {**alert, "status": "resolved", "endsAt": "2026-01-01T00:01:00Z"}
    assert deliver(json.dumps({"alerts": [resolved]}).encode()) == 200
    assert [(one.channel, one.resolved_at) for one in receiver.alerts] == [("oncall", "2026-01-01T00:01:00Z")]
    assert deliver(b"{") == deliver(b'{"alerts": [{}]}') == 400
    (tmp_path / "one.prom").write_text("a 1\n")
    (tmp_path / "two.prom").write_text("b 2\n")
    with urllib.request.urlopen(f"http://{receiver.address}/metrics", timeout=20) as answer:
        assert answer.read() == b"a 1\nb 2\n"
    receiver.close()
    assert len((tmp_path / "deliveries.jsonl").read_text().splitlines()) == 3


class Silent:
    """Prometheus of a run to which nothing was sent: it answers that it has none of it."""

    def value(self, _: object) -> None:
        return None


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (None, "nobody sent a prediction; write local.traffic"),
        ({"ok": 3}, "without a line with final: true"),
        ({"ok": 0, "final": True}, "not even zero"),
    ],
    ids=["no traffic", "no final line", "nothing counted"],
)
def test_a_run_that_decides_nothing_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], progress: dict[str, object] | None, said: str
) -> None:
    monkeypatch.setattr(cli, "COUNT_SECONDS", 0.0)
    run = seen(targets=2)
    document = cli._document(run, None if progress is None else SimpleNamespace(progress=progress))
    assert document["exit"] == 3
    assert said in capsys.readouterr().err


def seen(*, targets: int) -> SimpleNamespace:
    """A plane whose Prometheus has so many targets to scrape."""
    heard, none = SimpleNamespace(alerts=[], deliveries=0), SimpleNamespace(answers=[], found=[])
    return SimpleNamespace(client=Silent(), receiver=heard, canaries=none, episodes=none, targets=targets)


@pytest.mark.parametrize(("targets", "code"), [(3, 0), (4, 1)], ids=["all are up", "one was never scraped"])
def test_a_target_that_was_never_scraped_is_missing(monkeypatch: pytest.MonkeyPatch, targets: int, code: int) -> None:
    counted = {"predictions_counted": 5.0, "labels_joined": 5.0, "targets_up": 3.0}
    monkeypatch.setattr("midwatch.app.up.queries.totals", lambda _: counted)
    traffic = SimpleNamespace(progress={"ok": 5, "labels": 5, "final": True})
    document = cli._document(seen(targets=targets), traffic)
    assert (document["exit"], document["targets_total"], document["targets_up"]) == (code, targets, 3)


@pytest.mark.parametrize(("code", "stays"), [(0, False), (1, True), (3, True)])
def test_a_temporary_state_is_kept_after_a_bad_run_alone(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, stays: bool
) -> None:
    folder = tmp_path / "midwatch-up-x"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: str(folder))
    monkeypatch.setattr(stack, "Stack", lambda *_: SimpleNamespace(stop=lambda: None))
    monkeypatch.setattr(cli, "_run", lambda *_: {"exit": code, "canaries": [], "alerts": []})
    done = midwatch_here("up", "-f", small, "--json")
    assert done.returncode == code
    assert folder.exists() == stays
    assert (f"kept in {folder}" in done.stderr) == stays
