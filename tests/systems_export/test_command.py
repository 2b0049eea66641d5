"""`midwatch systems export` and `history`: from the platform file to the exposition, and what may not be asked."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporters.systems import service
from midwatch import jobs, metrics
from midwatch.app import prometheus
from midwatch.errors import InvalidInputError, MidwatchError
from tests.conftest import midwatch_here
from tests.systems_export.conftest import RecordedServer, observing

MODELS = {"fraud": "flights-delay"}


def test_once_writes_the_exposition_of_what_answers(
    mlflow_server: RecordedServer, write_platform: Any, tmp_path: Path
) -> None:
    file = write_platform(mlflow=observing("mlflow", url=mlflow_server.url, models=MODELS))
    done = midwatch_here("systems", "export", "-f", file, "--once", "--state", tmp_path / "state")
    assert (done.returncode, done.stderr) == (0, "")
    assert 'registry_champion_info{model="fraud",served_version="3",version="3"} 1.0' in done.stdout
    assert 'midwatch_source_up{source="mlflow"} 1.0' in done.stdout


def test_once_is_inconclusive_where_one_does_not_answer(
    mlflow_server: RecordedServer, write_platform: Any, tmp_path: Path
) -> None:
    file = write_platform(
        mlflow=observing("mlflow", url=mlflow_server.url, models=MODELS),
        argo_cd=observing("argo_cd", url=mlflow_server.url),
    )
    done = midwatch_here("systems", "export", "-f", file, "--once", "--state", tmp_path / "state")
    assert done.returncode == 3
    assert 'midwatch_source_up{source="argo_cd"} 0.0' in done.stdout
    assert 'midwatch_source_up{source="mlflow"} 1.0' in done.stdout
    assert "argo_cd: http://127.0.0.1" in done.stderr


def test_without_a_section_there_is_nothing_to_export(write_platform: Any) -> None:
    done = midwatch_here("systems", "export", "-f", write_platform(), "--once")
    assert (done.returncode, "no system has observe" in done.stderr) == (2, True)


def test_the_service_serves_the_metrics_to_whoever_has_the_token(
    mlflow_server: RecordedServer, platform_with: Any, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("secret")
    platform = platform_with(mlflow=observing("mlflow", url=mlflow_server.url, models=MODELS))
    sources = service.of_platform(platform, tmp_path / "state")
    service.poll_once(sources)
    answers: dict[str, int | str] = {}

    def ask(url: str) -> None:
        for name, headers in (("nobody", {}), ("prometheus", {"Authorization": "Bearer secret"})):
            try:
                with urllib.request.urlopen(urllib.request.Request(f"{url}/metrics", headers=headers)) as answer:
                    answers[name] = answer.read().decode()
            except urllib.error.HTTPError as error:
                answers[name] = error.code
                error.close()
        os.kill(os.getpid(), signal.SIGTERM)

    def started(url: str) -> None:
        asyncio.get_running_loop().run_in_executor(None, ask, url)

    address = service.Address(host="127.0.0.1", port=0, token_file=tmp_path / "token")
    asyncio.run(service.serve(sources, address, started))
    assert answers["nobody"] == 401
    assert 'registry_champions{model="fraud"} 1.0' in str(answers["prometheus"])


def test_off_loopback_a_token_is_needed(platform_with: Any, tmp_path: Path) -> None:
    sources = service.of_platform(platform_with(mlflow=observing("mlflow")), tmp_path)
    with pytest.raises(MidwatchError, match="not a loopback address"):
        asyncio.run(service.serve(sources, service.Address(host="0.0.0.0", port=0), str))


def test_prometheus_scrapes_it_with_the_same_token_and_keeps_its_labels(platform_with: Any) -> None:
    platform = platform_with(mlflow=observing("mlflow"))
    (job,) = [one for one in jobs.of_platform(platform) if one.name == jobs.SYSTEMS]
    (config,) = yaml.safe_load(prometheus.render(platform, [job], "127.0.0.1:9093"))["scrape_configs"]
    assert config["static_configs"] == [{"targets": ["127.0.0.1:9540"]}]
    assert config["honor_labels"] is True


# History -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def seen_once(mlflow_server: RecordedServer, write_platform: Any, tmp_path: Path) -> tuple[Path, Path]:
    """The platform file and the state of an exporter that has looked once."""
    file = write_platform(mlflow=observing("mlflow", url=mlflow_server.url, models=MODELS))
    state = tmp_path / "state"
    assert midwatch_here("systems", "export", "-f", file, "--once", "--state", state).returncode == 0
    return file, state


def test_history_says_who_was_champion_as_far_as_somebody_looked(seen_once: tuple[Path, Path]) -> None:
    file, state = seen_once
    words = ("systems", "history", "-f", file, "--model", "fraud", "--state", state)
    whole = midwatch_here(*words)
    assert (whole.returncode, "alias champion was 3 at the first look" in whole.stdout) == (0, True)
    before = midwatch_here(*words, "--at", "2020-01-01T00:00:00Z")
    assert (before.returncode, "nobody can say: nobody had looked yet" in before.stdout) == (3, True)
    after = midwatch_here(*words, "--at", "2120-01-01T00:00:00+00:00", "--json")
    assert (after.returncode, '"reason": "nobody has looked since"' in after.stdout) == (3, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "frod"), "there is no model 'frod'"),
        (("--model", "fraud", "--at", "yesterday"), "'yesterday' is not a time"),
        (("--model", "fraud", "--at", "2026-11-02T14:00:00"), "has no time zone"),
    ],
)
def test_history_says_what_it_cannot_be_asked(
    words: tuple[str, ...], said: str, write_platform: Any, tmp_path: Path
) -> None:
    file = write_platform(mlflow=observing("mlflow"))
    done = midwatch_here("systems", "history", "-f", file, "--state", tmp_path, *words)
    assert (done.returncode, said in done.stderr) == (2, True)


def test_a_history_that_was_changed_is_a_failure(seen_once: tuple[Path, Path]) -> None:
    file, state = seen_once
    log = state / "mlflow" / "registry.ndjson"
    log.write_text(log.read_text().replace('"after":["3"]', '"after":["2"]'))
    done = midwatch_here("systems", "history", "-f", file, "--model", "fraud", "--state", state)
    assert (done.returncode, "not what was written" in done.stderr) == (1, True)


# The platform file -------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a system that nothing is observed of": (
        {"loki": {"owner": "ml", "targets": ["a:1"], "observe": {}}},
        "systems.loki.observe: nothing is observed of loki; remove it",
    ),
    "an unknown key": ({"mlflow": observing("mlflow", alais="x")}, "systems.mlflow.observe.alais: unknown key"),
    "a key of another system": (
        {"mlflow": observing("mlflow", namespace="argocd")},
        "systems.mlflow.observe.namespace: unknown key",
    ),
    "no address": (
        {"mlflow": {"owner": "ml", "targets": ["a:1"], "observe": {}}},
        "systems.mlflow.observe.url: missing",
    ),
    "an unknown model": (
        {"mlflow": observing("mlflow", models={"frau": "x"})},
        "systems.mlflow.observe.models.frau: there is no model 'frau'; did you mean fraud?",
    ),
    "an alias and a stage": (
        {"mlflow": observing("mlflow", alias="a", stage="Production")},
        "systems.mlflow.observe: needs at most one of alias and stage",
    ),
    "a pattern without a group": (
        {"argo_cd": observing("argo_cd", carries={"fraud-server": {"model": "fraud", "image": "fraud:.*"}})},
        "systems.argo_cd.observe.carries.fraud-server.image: 'fraud:.*' has 0 groups",
    ),
    "an application that is not listed": (
        {"argo_cd": observing("argo_cd", carries={"fraud": {"model": "fraud", "label": "v"}})},
        "systems.argo_cd.observe.carries.fraud: there is no application 'fraud'",
    ),
    "two ways to Argo CD": (
        {"argo_cd": observing("argo_cd", namespace="argocd")},
        "systems.argo_cd.observe: needs exactly one of url and namespace",
    ),
    "no mapping": (
        {"mlflow": {"owner": "ml", "targets": ["a:1"], "observe": "yes"}},
        "systems.mlflow.observe: 'yes' is not a mapping",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_in_a_section_is_said_with_its_place(what: str, platform_with: Any) -> None:
    systems, said = WRONG[what]
    with pytest.raises(InvalidInputError) as error:
        platform_with(**systems)
    assert said in str(error.value)


def test_every_source_metric_has_a_help_of_a_sentence() -> None:
    for metric in (metrics.SOURCE_UP, metrics.SOURCE_LAST_SUCCESS, metrics.SOURCE_LEFT_OUT):
        assert metric.help.endswith(".")
