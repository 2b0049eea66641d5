"""Parts of the status that need no program: counters, who was told, questions, and the view."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from alerts.routing import configuration
from midwatch import alertmanager, prometheus, tables
from midwatch.app.status import fairness, goings_on, promises, read, telling, view
from midwatch.app.status.ask import Answers, Counters, OfAlertmanager, Question
from midwatch.app.status.records import (
    Alert,
    Kind,
    Objective,
    Overview,
    Standing,
    State,
    Subject,
    Telling,
    Told,
    Unanswered,
)
from midwatch.prometheus import Client, Sample
from tests.conftest import midwatch_here, platform, platform_document

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
CONFIG = configuration.running(
    """
route: {receiver: both, group_wait: 30s, group_interval: 5m, repeat_interval: 4h}
receivers:
- name: both
  webhook_configs: [{url: "http://x/"}]
  slack_configs: [{api_url: "<secret>", channel: "#x"}]
""",
    (0, 25),
)

Course = Sequence[tuple[float, float]]


def counters(
    attempts: Mapping[str, Course], failures: Mapping[str, Course] | None = None, **tries: Mapping[str, Course]
) -> Counters:
    end = NOW.timestamp()
    return Counters(start=end - 7200, end=end, step=60, attempts=attempts, failures=failures or {}, **tries)


def rising(*values: float) -> Course:
    """Values, a minute apart, the last one now."""
    return [(NOW.timestamp() - 60 * back, value) for back, value in zip(range(len(values))[::-1], values, strict=True)]


def became(
    minutes: float, counted: Counters | None, config: Any = CONFIG, others: Mapping[str, float] | None = None
) -> Telling:
    """What became of an alert X of some minutes; `others` are names of alerts and their minutes."""
    sent, *rest = (
        alertmanager.Alert(
            fingerprint=f"f{number}",
            labels={"alertname": name, "number": str(number)},
            starts_at=NOW - timedelta(minutes=age),
            status=alertmanager.AlertStatus(state="active"),
        )
        for number, (name, age) in enumerate([("X", minutes), *(others or {}).items()])
    )
    firing = telling.Firing(labels=sent.labels, active_since=None, sent=sent, is_in_prometheus=True)
    teller = telling.Teller(config=config, asked=OfAlertmanager(alerts=[*rest, sent]), counters=counted, now=NOW)
    (one,) = teller.telling(firing)
    return one


FLAT = [5.0] * 121


@pytest.mark.parametrize(
    ("minutes", "webhook", "slack", "failed", "told", "said"),
    [
        (60, [*FLAT[:-30], *[6.0] * 30], [*FLAT[:-30], *[7.0] * 30], FLAT, Told.DELIVERED, "3 notifications by"),
        (60, [*FLAT[:-30], *[6.0] * 30], FLAT, FLAT, Told.FAILED, "no notification by slack since it fires"),
        (2, FLAT, FLAT, FLAT, Told.WAITING, "its group waits up to 5m"),
        (60, [*FLAT[:-1], 6.0], [*FLAT[:-1], 6.0], [*FLAT[:-1], 6.0], Told.UNKNOWN, "1 of 2 notifications by webhook"),
        (90, [*FLAT[:-1], 2.0], [*FLAT[:-1], 1.0], FLAT, Told.DELIVERED, "3 notifications"),  # it was restarted
    ],
    ids=["both", "one-silent", "young", "some-failed", "restarted"],
)
def test_what_became_of_an_alert_follows_from_what_was_counted_since(
    minutes: float, webhook: list[float], slack: list[float], failed: list[float], told: Told, said: str
) -> None:
    found = became(
        minutes, counters({"webhook": rising(*webhook), "slack": rising(*slack)}, {"webhook": rising(*failed)})
    )
    assert (found.told, said in found.by) == (told, True), found


def test_an_integration_that_is_still_tried_has_delivered_nothing() -> None:
    one_more = [*FLAT[:-4], *[6.0] * 4]

    def became_with(tries: list[float], tries_failed: list[float]) -> Telling:
        counted = counters(
            {"webhook": rising(*one_more), "slack": rising(*one_more)},
            tries={"webhook": rising(*tries), "slack": rising(*one_more)},
            tries_failed={"webhook": rising(*tries_failed)},
        )
        return became(6, counted)

    repeated = became_with([*FLAT[:-4], *[12.0] * 4], [*FLAT[:-4], *[12.0] * 4])
    assert (repeated.told, "did not arrive yet, after 7 tries that failed" in repeated.by) == (Told.UNKNOWN, True)
    assert became_with([*FLAT[:-4], *[13.0] * 4], [*FLAT[:-4], *[12.0] * 4]).told is Told.DELIVERED, "at the eighth"
    slow = became_with(FLAT, FLAT)
    assert (slow.told, slow.by) == (Told.WAITING, "webhook did not answer yet")
    alone = {"webhook": rising(*one_more), "slack": rising(*one_more)}
    none = {"webhook": rising(*FLAT[:-4], *[8.0] * 4), "slack": rising(*FLAT[:-4], *[9.0] * 4)}
    assert became(6, counters(alone, tries=none, tries_failed=none)).told is Told.FAILED


GROUPED = configuration.running(
    """
route: {receiver: one, group_by: [alertname], group_wait: 10m, group_interval: 20m, repeat_interval: 4h}
receivers: [{name: one, webhook_configs: [{url: "http://x/"}]}]
""",
    (0, 25),
)


@pytest.mark.parametrize(
    ("minutes", "others", "told", "said"),
    [
        (2, {}, Told.WAITING, "its group waits up to 10m"),
        (2, {"Y": 60}, Told.WAITING, "its group waits up to 10m"),
        (2, {"X": 9}, Told.WAITING, "its group waits up to 10m"),
        (3, {"X": 12}, Told.DELIVERED, "2 notifications"),
        (2, {"X": 60}, Told.UNKNOWN, "2 notifications by webhook since it fires may be of others: its group"),
        (21, {"X": 60}, Told.DELIVERED, "2 notifications"),
    ],
    ids=["new", "of-other-group", "of-one-group", "went-out-with-it", "joined", "joined-long-ago"],
)
def test_what_others_notified_of_is_not_taken_for_an_alert_whose_group_waits(
    minutes: float, others: Mapping[str, float], told: Told, said: str
) -> None:
    counted = counters({"webhook": rising(*FLAT[:-1], 7.0)})
    found = became(minutes, counted, GROUPED, others)
    assert (found.told, said in found.by) == (told, True), found


def test_where_all_attempts_failed_it_was_not_told() -> None:
    up = [*FLAT[:-10], *[9.0] * 10]
    courses = {"webhook": rising(*up), "slack": rising(*up)}
    assert became(60, counters(courses, courses)).told is Told.FAILED


def test_an_integration_that_is_counted_from_its_first_notification_on_is_counted() -> None:
    late = {"webhook": rising(*[6.0] * 30), "slack": rising(*[*FLAT[:-30], *[6.0] * 30])}
    assert became(60, counters(late)).told is Told.DELIVERED


def test_without_counters_or_routes_nothing_is_taken_for_delivered() -> None:
    assert became(60, None).told is Told.UNKNOWN
    assert became(60, counters({})).by == "Prometheus has no counters of Alertmanager: scrape it"
    sent = alertmanager.Alert(fingerprint="f", labels={"alertname": "X"}, starts_at=NOW)
    firing = telling.Firing(labels=sent.labels, active_since=None, sent=sent, is_in_prometheus=True)
    teller = telling.Teller(config=None, asked=OfAlertmanager(alerts=[sent]), counters=None, now=NOW)
    assert list(teller.telling(firing)) == [], "Alertmanager says no receiver"


def test_an_alert_of_both_is_one_though_external_labels_were_added_and_others_dropped() -> None:
    def series(name: str, **labels: str) -> Sample:
        return Sample(labels={"__name__": name, **labels}, value=1_700_000_000, time=0)

    base = {"alertname": "X", "severity": "page", "model": "m"}
    samples = [
        series("ALERTS", **base, alertstate="firing", replica="a"),
        series("ALERTS_FOR_STATE", **base, replica="a"),
        series("ALERTS", **{**base, "model": "other"}, alertstate="pending"),
    ]
    sent = [
        alertmanager.Alert(fingerprint="1", labels={**base, "cluster": "eu"}, starts_at=NOW),
        alertmanager.Alert(fingerprint="2", labels={**base, "model": "third"}, starts_at=NOW),
    ]
    found = telling.firing(samples, sent)
    assert [(one.sent.fingerprint if one.sent else "", one.is_in_prometheus) for one in found] == [
        ("1", True),
        ("2", False),
    ]
    assert found[0].active_since == datetime.fromtimestamp(1_700_000_000, UTC)


# Questions ------------------------------------------------------------------------------------------------------


class Recorder(Client):
    """A Prometheus that has nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9")
        self.asked: list[str] = []

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        self.asked.append(str(expr))
        return []


class Quiet(alertmanager.Client):
    """An Alertmanager that has nothing."""

    def alerts(self) -> list[alertmanager.Alert]:
        return []

    def silences(self) -> list[alertmanager.Silence]:
        return []

    def status(self) -> alertmanager.Status:
        return alertmanager.Status()


def test_two_hundred_models_are_asked_for_in_as_many_questions_as_one() -> None:
    def questions(models: int) -> list[str]:
        client = Recorder()
        slos = [{"name": "availability", "sli": "availability", "objective": "99%"}]
        model = {"owner": "ml", "task": "classification", "slos": slos}
        made = platform(models=[{**model, "name": f"m{number}"} for number in range(models)])
        sources = read.Sources(
            prometheus=client, prometheus_url="x", alertmanager=Quiet("http://127.0.0.1:9"), platform=made
        )
        assert len(read.overview(sources, NOW).subjects) == models
        return sorted(client.asked)

    assert questions(1) == questions(200)


def answers(**samples: list[Sample]) -> Answers:
    return Answers(samples={Question[name]: found for name, found in samples.items()}, unanswered=())


def recorded(name: str, value: float, **labels: str) -> Sample:
    return Sample(labels={"__name__": name, **labels}, value=value, time=0)


def test_objectives_in_sloths_form_stand_as_others_do() -> None:
    labels = {"sloth_service": "shop", "sloth_slo": "requests", "owner": "web"}
    samples = [
        recorded("slo:objective:ratio", 0.999, **labels),
        recorded("slo:period_error_budget_remaining:ratio", -0.5, **labels),
        recorded("slo:current_burn_rate:ratio", 2.5, **labels),
    ]
    (one,) = promises.of_objectives(answers(OBJECTIVES=samples), None)
    assert (one.key, one.owner, one.standing) == ("shop/requests", "web", Standing.EXHAUSTED)
    assert (one.budget_left, one.burn_rate) == (-0.5, 2.5)


def test_an_objective_by_version_has_a_row_for_each_and_a_replica_none() -> None:
    slos = [{"name": "latency", "sli": {"latency": {"threshold": "250ms"}}, "objective": "99%", "by": ["version"]}]
    made = platform(models=[{"name": "fraud", "owner": "ml", "task": "classification", "slos": slos}])
    samples = [
        recorded(
            "slo:error_budget_remaining:ratio", left, model="fraud", slo="latency", version=version, replica=replica
        )
        for version, left in (("v1", 0.9), ("v2", 0.1))
        for replica in ("a", "b")
    ]
    found = promises.of_objectives(answers(OBJECTIVES=samples), made)
    assert [(one.key, one.budget_left) for one in found] == [
        ("fraud/latency/version=v1", 0.9),
        ("fraud/latency/version=v2", 0.1),
    ]


def test_a_promise_of_fairness_stands_as_it_is_judged_by_version_and_is_unknown_without_a_verdict() -> None:
    promise = {"attribute": "country", "measure": "demographic_parity", "ratio": "80%", "public": True}
    model = platform_document()["models"][0] | {"groups": ["country"]}
    fair = platform(models=[model | {"fairness": [promise, promise | {"ratio": "70%"}]}])
    where = {"model": "fraud", "attribute": "country", "measure": "demographic_parity", "limit": "ratio 80%"}

    def said(version: str, verdict: float, lately: float, rate: str = "selected") -> list[Sample]:
        labels = {**where, "version": version, "rate": rate}
        names = {"ml_fairness_verdict": verdict, "ml_fairness_became_unfair": lately}
        return [recorded(name, value, **labels) for name, value in names.items()]

    samples = [*said("v1", 1, 0), *said("v2", 1, 1), *said("v3", -1, 0), *said("v4", 1, 0), *said("v4", 0, 0, "within")]
    found = fairness.of_promises(answers(FAIRNESS=samples), fair)
    assert {(one.name.rpartition(" ")[2], one.group.get("version")): one.standing.value for one in found} == {
        ("80%", "v1"): "kept",
        ("80%", "v2"): "broken",
        ("80%", "v3"): "broken",
        ("80%", "v4"): "undecided",
        ("70%", None): "unknown",
    }
    (subject,) = promises.of_subjects(answers(ALERTS=[]), fair, found, [])
    assert subject.state.value == "act"
    assert "fairness country demographic_parity ratio 80% broken" in subject.reasons


def test_an_open_episode_says_which_step_the_loop_waits_for() -> None:
    drift = {"model": "fraud", "version": "v1"}
    found = goings_on.episodes(
        answers(
            EPISODES=[
                recorded("ml_drift_episode", 1, **drift),
                recorded("ml_drift_episode_onset_timestamp_seconds", NOW.timestamp() - 3600, **drift),
                recorded("ml_drift_votes", 2, **drift),
                recorded("ml_drift_quorum", 2, model="fraud"),
                recorded("ml_drift_episode", 0, model="churn", version="v1"),
            ],
            LOOP=[
                recorded("ml_loop_episode_open", 1, model="fraud"),
                recorded("ml_loop_episode_info", 1, **drift, episode="e", new_version="", outcome="open", cause=""),
                recorded(
                    "ml_loop_waiting_since_timestamp_seconds", NOW.timestamp() - 60, model="fraud", step="trained"
                ),
            ],
        ),
        frozenset({"fraud", "churn"}),
    )
    (one,) = found
    assert (one.model, one.since, one.votes, one.quorum) == ("fraud", NOW - timedelta(hours=1), 2, 2)
    assert (one.waits_for, one.waits_since) == ("trained", NOW - timedelta(minutes=1))


def test_a_drill_is_overdue_when_its_result_is_older_than_its_schedule_lets_expect() -> None:
    store = {"name": "s", "local_postgresql": {}}
    drills = [
        {"name": name, "store": "s", "fault": "kill_primary", "max_age": "7d"} for name in ("late", "timely", "never")
    ]
    recovery = {"owner": "ml", "rto": "15m", "rpo": "5m", "stores": [store], "drills": drills}
    made = platform(disaster_recovery=recovery)
    samples = [
        recorded("dr_drill_last_run_timestamp_seconds", NOW.timestamp() - days * 86_400, drill=name, store="s")
        for name, days in (("late", 8), ("timely", 6))
    ]
    found = goings_on.drills(answers(DRILLS=samples), made, NOW)
    assert [(one.name, one.is_overdue) for one in found] == [("late", True), ("never", None), ("timely", False)]


# The view -------------------------------------------------------------------------------------------------------

LONG = "a-very-long-name-of-a-model-that-somebody-chose-with-care-" * 2


def overview(state: State = State.ACT, **changes: Any) -> Overview:
    objective = Objective(
        subject=LONG,
        name="availability",
        owner="ml",
        group={},
        standing=Standing.BURNING,
        period="30d",
        budget_left=0.25,
        burn_rate=12.5,
    )
    alert = Alert(
        name="ErrorBudgetBurn",
        severity="page",
        owner="ml",
        labels={"model": LONG},
        annotations={},
        since=NOW - timedelta(minutes=12),
        sources=("prometheus",),
        telling=(Telling(receiver="ml-page", integrations=("pagerduty",), told=Told.FAILED, by="2 of 2 failed " * 9),),
    )
    model: dict[str, Any] = {"kind": Kind.MODEL, "owner": "ml"}
    worst = Subject(name=LONG, **model, state=State.ACT, trouble=200, objectives=(objective,), pages=1)
    calm = [Subject(name=f"m{number}", **model, state=State.CALM, trouble=0.1) for number in range(199)]
    given: dict[str, Any] = {
        "platform": "test",
        "as_of": NOW,
        "state": state,
        "reasons": ("x fires " * 30,),
        "prometheus": "p",
        "alertmanager": "a",
        "prometheus_at": NOW,
        "subjects": (worst, *calm),
        "alerts": (alert,),
    }
    return Overview(**{**given, **changes})


def shown(found: Any, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(found)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


@pytest.mark.parametrize("width", [80, 200])
def test_the_view_fits_its_terminal_and_shows_trouble_first(width: int) -> None:
    lines = shown(view.page(overview(), width), width)
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("test: somebody should act   2026-11-27 03:00:00 UTC")
    assert any("for 12m" in line for line in lines)
    assert any("availability 25.0%" in line and "12.5x" in line for line in lines)
    assert lines[-1] == "and 180 more, all calm (--all shows them)"
    assert len(lines) < 60


def test_of_many_reasons_none_that_is_not_known_is_lost() -> None:
    many = overview(
        reasons=tuple(f"reason {number}" for number in range(30)),
        unanswered=(Unanswered(what="silences", of="Alertmanager x", why="no answer"),),
    )
    lines = shown(view.page(many, 80), 80)
    assert "  and 18 more" in lines
    assert "silences: Alertmanager x: no answer" in lines


def test_a_watch_goes_on_through_an_outage_and_says_how_old_what_it_shows_is(monkeypatch: pytest.MonkeyPatch) -> None:
    later = NOW + timedelta(minutes=3)
    gone = overview(State.UNKNOWN, reasons=("no answer",), prometheus_at=None, as_of=later, subjects=(), alerts=())
    seen = iter([overview(), gone])
    output = io.StringIO()
    monkeypatch.setattr(read, "overview", lambda *_: next(seen))
    monkeypatch.setattr(
        tables, "make_console", lambda **_: Console(file=output, force_terminal=True, width=100, height=50)
    )
    naps = iter([None])

    def sleep(_: float) -> None:
        if next(naps, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    done = midwatch_here(
        "status", "--watch", "--prometheus", "http://127.0.0.1:9", "--alertmanager", "http://127.0.0.1:9"
    )
    assert done.returncode == 3, done.stderr
    assert "as it was 3m ago, when Prometheus answered last" in output.getvalue()


def test_a_watch_without_a_terminal_says_what_changes_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([overview(), overview(), overview(State.CALM, reasons=())])
    monkeypatch.setattr(read, "overview", lambda *_: next(seen))
    naps = iter([None, None])

    def sleep(_: float) -> None:
        if next(naps, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    done = midwatch_here(
        "status", "--watch", "--prometheus", "http://127.0.0.1:9", "--alertmanager", "http://127.0.0.1:9"
    )
    assert (done.returncode, [line.split()[1] for line in done.stdout.splitlines()]) == (0, ["somebody", "calm"])


def test_prometheus_credentials_are_told_to_an_alertmanager_of_the_same_origin_alone(tmp_path: Any) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    auth = {"token_file": str(token)}
    made = platform(
        prometheus={"url": "http://127.0.0.1:9/prometheus", "auth": auth},
        alertmanager={"url": "http://127.0.0.1:9/alertmanager"},
    )
    assert alertmanager.Client.of(made)._auth is not None
    assert alertmanager.Client.of(made, "http://127.0.0.1:10/alertmanager")._auth is None
    assert prometheus.Client.of(made.prometheus)._auth is not None
