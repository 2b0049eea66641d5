"""Probes: what is measured, what cannot be decided, and who was told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed

from chaos import notices, probes
from chaos.causes import Causes
from chaos.run import current
from midwatch.prometheus import QueryError, Sample

OBJECTIVES = [
    {"name": "availability", "good": "ga", "total": "ta", "objective": 0.9},
    {"name": "latency", "good": "gl", "total": "tl", "objective": 0.9},
]


class Prometheus:
    """Answers by query: values by version."""

    def __init__(self, answers: Mapping[str, Mapping[str, float]]) -> None:
        self._answers = answers

    def query(self, expr: str) -> list[Sample]:
        if expr not in self._answers:
            raise QueryError(expr, "no answer")
        return [
            Sample(labels={"version": version}, value=value, time=0.0) for version, value in self._answers[expr].items()
        ]


def asked(
    monkeypatch: pytest.MonkeyPatch, place: Any, mark: Any = None, causes: Causes | None = None, there: Any = ()
) -> None:
    run = SimpleNamespace(
        place=place, mark=lambda: mark, of_another_cause=lambda pages: (causes or Causes()).others(pages, there)
    )
    monkeypatch.setattr(current, "of_process", lambda _configuration: run)


def measured(monkeypatch: pytest.MonkeyPatch, answers: Any, **changes: Any) -> Any:
    asked(monkeypatch, SimpleNamespace(prometheus=Prometheus(answers)))
    return probes.keeps_objectives([one | changes for one in OBJECTIVES])


def test_all_objectives_are_looked_at_not_only_the_first_that_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"ga": {"v1": 50.0}, "ta": {"v1": 100.0}, "gl": {"v1": 80.0}, "tl": {"v1": 100.0}}
    said = measured(monkeypatch, answers)
    assert (said["met"], said["short"]) == (False, ["availability", "latency"])
    assert [one["ratio"] for one in said["objectives"]] == [0.5, 0.8]
    assert not probes.is_met(said)


def test_only_the_versions_asked_for_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    good, total = {"v1": 99.0, "v2": 0.0}, {"v1": 100.0, "v2": 100.0}
    answers = {"ga": good, "ta": total, "gl": good, "tl": total}
    assert probes.is_met(measured(monkeypatch, answers, versions=["v1"]))
    assert not probes.is_met(measured(monkeypatch, answers))


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"ga": {}, "ta": {}, "gl": {}, "tl": {}},
        {"ga": {"v1": 0.0}, "ta": {"v1": 0.0}, "gl": {"v1": 0.0}, "tl": {"v1": 0.0}},
        {"ga": {"v1": float("nan")}, "ta": {"v1": float("nan")}, "gl": {}, "tl": {}},
    ],
    ids=["no answer", "no series", "no traffic", "nan"],
)
def test_what_cannot_be_measured_is_no_proof(monkeypatch: pytest.MonkeyPatch, answers: Any) -> None:
    with pytest.raises(ActivityFailed):
        measured(monkeypatch, answers)


@pytest.mark.parametrize("value", [None, True, {}, {"met": 1}, {"met": "yes"}])
def test_only_a_clear_yes_is_met(value: Any) -> None:
    assert not probes.is_met(value)


# Who was told --------------------------------------------------------------------------------------------------------


class Alerting(Prometheus):
    """Alerts fire there: the deadman's switch at least."""

    def __init__(self) -> None:
        super().__init__({})

    def query(self, expr: str) -> list[Sample]:
        return [Sample(labels={"alertname": "MidwatchDeadman"}, value=1.0, time=0.0)]


def delivery(channel: str, status: str = "firing", name: str = "ModelErrorsHigh", at: str = "t1", **labels: str) -> str:
    entry = {
        "status": status,
        "labels": {"alertname": name, "severity": "page", **labels},
        "startsAt": at,
        "fingerprint": name + str(sorted(labels.items())),
    }
    return json.dumps({"channel": channel, "delivery": {"alerts": [entry]}}) + "\n"


def told(monkeypatch: pytest.MonkeyPatch, file: Path, before: str, after: str, **causes: Any) -> None:
    file.write_text(before)
    sink = notices.Sink(file)
    mark = sink.mark()
    with file.open("a") as opened:
        opened.write(after)
    asked(monkeypatch, SimpleNamespace(notices=sink, prometheus=Alerting()), mark, **causes)


@pytest.mark.parametrize(
    ("after", "met"),
    [
        (delivery("oncall", model="fraud"), True),
        ("", False),
        (delivery("chat", model="fraud"), False),
        (delivery("oncall", model="other"), False),
        (delivery("oncall", name="ModelLatencyHigh", model="fraud"), False),
        (delivery("oncall", at="t0", model="fraud"), False),
        (delivery("oncall", model="fraud")[:-9], False),
    ],
    ids=["told", "silence", "wrong receiver", "other model", "other alert", "an old one again", "half a line"],
)
def test_an_alert_counts_when_it_is_new_ours_and_reached_its_receivers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, after: str, met: bool
) -> None:
    told(monkeypatch, tmp_path / "d.jsonl", delivery("oncall", at="t0", model="fraud"), after)
    said = probes.noticed("ModelErrorsHigh", ["oncall"], 0.2, {"model": "fraud"})
    assert probes.is_met(said) is met


def test_an_alert_has_to_reach_every_receiver_and_be_resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    both = delivery("oncall", model="fraud") + delivery("chat", model="fraud")
    told(monkeypatch, tmp_path / "d.jsonl", "", both)
    assert probes.is_met(probes.noticed("ModelErrorsHigh", ["chat", "oncall"], 0.2, {"model": "fraud"}))
    assert not probes.is_met(probes.resolved("ModelErrorsHigh", 0.2, {"model": "fraud"}))
    told(monkeypatch, tmp_path / "d.jsonl", "", both + delivery("oncall", "resolved", model="fraud"))
    assert probes.is_met(probes.resolved("ModelErrorsHigh", 0.2, {"model": "fraud"}))


def test_an_alert_that_could_not_have_come_is_not_one_that_did_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sink = notices.Sink(tmp_path / "d.jsonl")
    for prometheus in (Prometheus({}), Prometheus({"ALERTS": {"v1": 1.0}})):
        asked(monkeypatch, SimpleNamespace(notices=sink, prometheus=prometheus), sink.mark())
        with pytest.raises(ActivityFailed, match="it is not known"):
            probes.noticed("ModelErrorsHigh", ["oncall"], 0.0)


def test_a_page_where_none_was_expected_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told(monkeypatch, tmp_path / "d.jsonl", "", delivery("oncall", model="fraud"))
    assert probes.nobody_paged(0.0) == {"met": False, "pages": ["ModelErrorsHigh"]}
    told(monkeypatch, tmp_path / "d.jsonl", "", "")
    assert probes.is_met(probes.nobody_paged(0.0))


BEFORE = [{"alertname": "PrometheusCannotNotify", "severity": "page", "instance": "a:1"}]


@pytest.mark.parametrize(
    ("page", "causes"),
    [
        (delivery("oncall", name="PrometheusCannotNotify", instance="a:1"), Causes()),
        (delivery("oncall", name="CheckoutFails"), Causes(alerts=["ExporterDown"], models=["fraud"])),
        (delivery("oncall", model="other"), Causes(alerts=["ExporterDown"], models=["fraud"])),
    ],
    ids=["pending before the fault", "a team's own", "another model's"],
)
def test_a_page_of_another_cause_is_no_proof_that_the_fault_was_felt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: str, causes: Causes
) -> None:
    told(monkeypatch, tmp_path / "d.jsonl", "", page, causes=causes, there=BEFORE)
    with pytest.raises(ActivityFailed, match="a page of another cause"):
        probes.nobody_paged(0.0)
    both = page + delivery("oncall", model="fraud")
    told(monkeypatch, tmp_path / "d.jsonl", "", both, causes=causes, there=BEFORE)
    assert probes.nobody_paged(0.0) == {"met": False, "pages": ["ModelErrorsHigh"]}


@pytest.mark.parametrize(("severity", "met"), [("page", True), ("ticket", False)])
def test_in_a_cluster_a_receiver_stands_for_its_channels(
    monkeypatch: pytest.MonkeyPatch, make_platform: Any, severity: str, met: bool
) -> None:
    alertmanager = notices.Alertmanager("http://127.0.0.1:1", notices.channels_of(make_platform()))
    labels = {"alertname": "ModelErrorsHigh", "model": "fraud"}

    def alert(number: int) -> dict[str, Any]:
        receivers = [{"name": f"ml-{severity}"}]
        state = {"state": "active"}
        return {"labels": labels, "receivers": receivers, "status": state, "fingerprint": "f", "startsAt": f"t{number}"}

    found = [alert(0)]
    monkeypatch.setattr(alertmanager, "_alerts", lambda: found)
    asked(monkeypatch, SimpleNamespace(notices=alertmanager, prometheus=Alerting()), alertmanager.mark())
    assert not probes.is_met(probes.noticed("ModelErrorsHigh", ["oncall"], 0.1)), "it was there before"
    found.append(alert(1))
    assert probes.is_met(probes.noticed("ModelErrorsHigh", ["oncall"], 0.1)) is met
    del found[1]
    assert probes.is_met(probes.resolved("ModelErrorsHigh", 0.1))


def test_an_alertmanager_that_is_gone_is_no_proof_that_nobody_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    place = SimpleNamespace(notices=notices.Alertmanager("http://127.0.0.1:1"))
    asked(monkeypatch, place, {"known": []})
    for probe in (lambda: probes.noticed("A", [], 0.0), lambda: probes.nobody_paged(0.0)):
        with pytest.raises(ActivityFailed, match="no answer"):
            probe()


def test_for_an_outside_watcher_no_answer_is_silence_and_not_a_return(monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, SimpleNamespace(alertmanager=notices.Alertmanager("http://127.0.0.1:1")))
    assert probes.is_met(probes.deadman_silent(60.0))
    assert not probes.is_met(probes.deadman_back(0.2))
