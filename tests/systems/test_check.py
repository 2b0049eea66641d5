"""`midwatch systems check` says of each system what its Prometheus has, and what to set."""

from __future__ import annotations

import json
from typing import Any

import pytest

from midwatch.app.systems import answers
from midwatch.app.systems.answers import Answer, Seen, State
from midwatch.prometheus import Sample
from midwatch.spec.system_rules import Installed
from midwatch.spec.systems import SystemFile, SystemUse
from tests.conftest import midwatch_here
from tests.systems.conftest import section
from tests.systems.test_dialects import renamed

UP = {"a:1": True}
NEW = frozenset({"queue_depth", "queue_wait_seconds_count", "queue_wait_seconds_sum"})
OLD = frozenset({"queue_length", "queue_wait_seconds_count", "queue_wait_seconds_sum"})


def queue(version: str = "3.0", **use: Any) -> Installed:
    described = {**renamed(), "switch_on": "start it with --metrics"}
    whole = {"owner": "ml", "targets": ["a:1"], "version": version, **use}
    return Installed("queue", SystemUse.model_validate(whole), SystemFile.model_validate(described), 15.0)


def judged(seen: Seen, system: Installed | None = None) -> Answer:
    return answers.judge(system or queue(), seen)


def test_a_system_that_speaks_its_version_answers() -> None:
    answer = judged(Seen(targets=UP, names={"queue": NEW}))
    assert (answer.state, answer.message, answer.missing) == (State.ANSWERS, "", ())


def test_names_of_an_older_version_name_that_version_and_the_setting() -> None:
    answer = judged(Seen(targets=UP, names={"queue": OLD}))
    assert (answer.state, answer.spoken) == (State.OTHER_VERSION, ("1.0",))
    assert answer.message == "queue_length is not of version 3.0"
    assert answer.remedy == 'write systems.queue.version: "1.0", or the one from 1.0 on that runs'


def test_names_of_a_newer_version_are_another_version_too() -> None:
    answer = judged(Seen(targets=UP, names={"queue": NEW}), queue("1.0"))
    assert (answer.state, answer.spoken) == (State.OTHER_VERSION, ("2.0", "3.0"))


def test_a_version_that_has_both_names_answers_with_both() -> None:
    assert judged(Seen(targets=UP, names={"queue": NEW | OLD}), queue("2.0")).state is State.ANSWERS
    assert judged(Seen(targets=UP, names={"queue": NEW | OLD}), queue("2.5")).state is State.OTHER_VERSION


def test_a_target_without_any_metric_says_how_it_is_switched_on() -> None:
    answer = judged(Seen(targets=UP, names={"other": NEW}))
    assert (answer.state, answer.remedy) == (State.EXPOSES_NOTHING, "start it with --metrics")


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (Seen(), "there is no job 'queue'"),
        (Seen(targets={"a:1": False, "b:1": False}), "none of its 2 targets answers"),
        (Seen(names={"mine": NEW}), "there is no job 'queue'; job 'mine' has its metrics, and no rule reads those"),
    ],
)
def test_what_is_not_scraped_says_why(seen: Seen, message: str) -> None:
    answer = judged(seen)
    assert (answer.state, answer.message) == (State.NOT_SCRAPED, message)
    assert answer.remedy


def test_labels_that_a_scrape_renames_are_a_setting() -> None:
    seen = Seen(targets=UP, names={"queue": NEW}, exported=frozenset({"pod"}))
    answer = judged(seen, queue("2.0"))
    assert (answer.state, "exported_labels: [pod]" in answer.remedy) == (State.OTHER_LABELS, True)
    assert judged(seen, queue("2.0", exported_labels=["pod"])).state is State.ANSWERS


def test_a_name_that_rules_read_and_nothing_exposes_is_listed() -> None:
    answer = judged(Seen(targets={"a:1": True, "b:1": False}, names={"queue": NEW - {"queue_wait_seconds_count"}}))
    assert (answer.state, answer.missing, answer.down) == (State.ANSWERS, ("queue_wait_seconds_count",), ("b:1",))
    assert "rules also read queue_wait_seconds_count" in answer.message


class Asked:
    """A Prometheus that has these series, and notes what it is asked."""

    def __init__(self, **answers: list[dict[str, str]]) -> None:
        self.answers = answers
        self.queries: list[str] = []

    def query(self, expr: str) -> list[Sample]:
        self.queries.append(expr)
        found = next((series for begin, series in self.answers.items() if expr.startswith(begin)), [])
        return [Sample(labels=labels, value=1.0, time=0.0) for labels in found]


def test_it_asks_for_targets_names_and_labels() -> None:
    asked = Asked(up=[{"instance": "a:1"}], count=[{"job": "queue", "__name__": "queue_depth"}])
    seen = answers.ask(asked, queue("2.0"))  # type: ignore[arg-type] # what a client is asked by
    assert seen == Seen(targets=UP, names={"queue": frozenset({"queue_depth"})}, exported=frozenset({"pod"}))
    assert any('exported_pod!=""' in query for query in asked.queries)


def test_a_prometheus_that_does_not_answer_is_inconclusive(write_platform: Any) -> None:
    file = write_platform(argo_cd=section("argo_cd"))
    done = midwatch_here("systems", "check", "-f", file, "--prometheus", "http://127.0.0.1:9", "--json")
    assert (done.returncode, done.stdout) == (3, "")
    assert "nothing is known of any system" in done.stderr


def test_a_real_prometheus_without_the_systems_fails(write_platform: Any, prometheus_server: str) -> None:
    file = write_platform(argo_cd=section("argo_cd"), vault=section("vault"))
    done = midwatch_here("systems", "check", "-f", file, "--prometheus", prometheus_server, "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"]) == (1, False)
    assert [(one["system"], one["state"]) for one in said["systems"]] == [
        ("argo_cd", "not scraped"),
        ("vault", "not scraped"),
    ]


def test_a_platform_without_systems_is_an_error(write_platform: Any) -> None:
    done = midwatch_here("systems", "check", "-f", write_platform())
    assert (done.returncode, "names no systems" in done.stderr) == (2, True)
