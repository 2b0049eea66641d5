"""`midwatch status`, of a real Prometheus and Alertmanager."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from midwatch import alertmanager, prometheus
from midwatch.app.status.records import Alert, Overview, Standing, State, Told
from tests.conftest import free_port, midwatch_here
from tests.status.conftest import CALM, Plane, records, wait_until


def calm(plane: Plane) -> Overview:
    return wait_until(plane.overview, lambda seen: seen.state is State.CALM)


def of(overview: Overview, name: str, severity: str = "") -> Alert:
    (found,) = [one for one in overview.alerts if one.name == name and severity in ("", one.severity)]
    return found


def told(alert: Alert) -> list[tuple[str, Told]]:
    return [(one.receiver, one.told) for one in alert.telling]


def status(plane: Plane, *words: str) -> Any:
    return midwatch_here("status", "-f", plane.file, *words)


def test_a_platform_whose_promises_are_kept_is_calm(plane: Plane) -> None:
    seen = calm(plane)
    assert [(one.name, one.state, one.least_left) for one in seen.subjects] == [
        ("churn", State.CALM, 0.5),
        ("fraud", State.CALM, 0.8),
    ]
    (version,) = seen.subjects[1].versions
    assert (version.version, version.requests, version.errors) == ("v1", 10.0, 0.1)
    assert {one.name: one.answers for one in seen.systems} == {
        "midwatch-exporter": True,
        "alertmanager": True,
        "prometheus": True,
    }
    done = status(plane)
    assert (done.returncode, done.stdout.splitlines()[0].split("   ")[0]) == (0, "test: calm"), done


def test_of_what_fires_it_says_who_was_told_and_what_held_the_others_back(plane: Plane) -> None:
    plane.fire("failing", "burn-page", "burn-ticket", "no-data", "accuracy", "others")
    now = datetime.now(UTC)
    silence = plane.alertmanager.silence(
        [alertmanager.Matcher(name="alertname", value="ModelAccuracyLow")],
        starts_at=now,
        ends_at=now + timedelta(hours=2),
        created_by="eve",
        comment="retraining",
    )

    def has_arrived(seen: Overview) -> bool:
        is_silenced = told(of(seen, "ModelAccuracyLow")) == [("ml-ticket", Told.SILENCED)]
        is_told = all(
            told(of(seen, name, "page")) == [("ml-page", Told.DELIVERED)]
            for name in ("ModelFailing", "ErrorBudgetBurn")
        )
        return is_silenced and is_told and len(seen.reasons) == 2

    seen = wait_until(plane.overview, has_arrived)
    (page,) = of(seen, "ModelFailing").telling
    assert page.integrations == ("webhook",)
    assert "by webhook since it fires, none failed" in page.by
    assert told(of(seen, "ErrorBudgetBurn", "page")) == [("ml-page", Told.DELIVERED)]
    (inhibited,) = of(seen, "ErrorBudgetBurn", "ticket").telling
    assert inhibited.told is Told.INHIBITED
    assert inhibited.by == "ErrorBudgetBurn page fraud availability (inhibit_rules[0])"
    (muted,) = of(seen, "ModelNoData").telling
    assert (muted.told, muted.by) == (Told.MUTED, "the time interval every-day is now")
    (silenced,) = of(seen, "ModelAccuracyLow").telling
    assert silenced.by.startswith(f"silence {silence} of eve, ")
    assert silenced.by.endswith(": retraining")
    assert of(seen, "ModelAccuracyLow").silences == (silence,)
    assert "DiskFull" not in {one.name for one in seen.alerts}, "it is another platform's"
    assert "MidwatchDeadman" not in {one.name for one in seen.alerts}
    assert [one.id for one in seen.silences] == [silence]
    fraud, churn = seen.subjects
    assert (fraud.name, fraud.state, fraud.pages, fraud.tickets) == ("fraud", State.ACT, 2, 0)
    assert (churn.name, churn.state, churn.tickets) == ("churn", State.CALM, 0), "it is muted on purpose"
    assert seen.state is State.ACT
    assert sorted(seen.reasons) == [
        "ErrorBudgetBurn fraud fires (page of ml)",
        "ModelFailing fraud fires (page of ml)",
    ]


def test_what_is_held_back_on_purpose_leaves_it_calm(plane: Plane) -> None:
    plane.fire("no-data")
    seen = wait_until(plane.overview, lambda seen: seen.alerts and seen.state is State.CALM)
    assert told(of(seen, "ModelNoData")) == [("ml-ticket", Told.MUTED)]


def test_a_spent_budget_is_for_somebody_to_act_on(plane: Plane) -> None:
    plane.show([*CALM[7:], *records("fraud", left=-0.2, burn=3)])
    said = ("fraud/availability has spent its budget of the 30d",)
    seen = wait_until(plane.overview, lambda seen: seen.reasons == said)
    assert seen.state is State.ACT
    assert [one.name for one in seen.subjects] == ["fraud", "churn"]
    (objective,) = seen.subjects[0].objectives
    assert (objective.standing, objective.budget_left, objective.events) == (Standing.EXHAUSTED, -0.2, 1000)
    done = status(plane, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit"], document["state"]) == (1, 1, "act")
    assert document["subjects"][0]["objectives"][0]["burn_rate"] == 3


def test_an_objective_that_nobody_records_is_not_known(plane: Plane) -> None:
    plane.show(records("fraud", left=0.8))
    seen = wait_until(plane.overview, lambda seen: seen.reasons == ("no record of churn/availability",))
    assert seen.state is State.UNKNOWN
    assert [(one.name, one.state) for one in seen.subjects] == [("churn", State.UNKNOWN), ("fraud", State.CALM)]
    assert status(plane).returncode == 3


def test_rules_that_are_not_evaluated_are_no_calm(plane: Plane) -> None:
    calm(plane)
    plane.firing = set()
    said = ("MidwatchDeadman does not fire: the platform's rules are not evaluated there",)
    assert wait_until(plane.overview, lambda seen: seen.reasons == said).state is State.UNKNOWN


def test_without_a_platform_file_all_that_they_have_is_shown(plane: Plane) -> None:
    plane.fire("others")
    urls = ("--prometheus", plane.prometheus_url, "--alertmanager", plane.alertmanager_url)
    wait_until(lambda: plane.overview(platform=None), lambda seen: len(seen.alerts) == 1)
    done = midwatch_here("status", *urls, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert [one["name"] for one in document["alerts"]] == ["DiskFull"]
    assert {one["name"] for one in document["subjects"]} == {"fraud", "churn"}


def test_an_alertmanager_that_is_away_is_no_calm(plane: Plane) -> None:
    calm(plane)
    away = f"http://127.0.0.1:{free_port()}"
    done = status(plane, "--alertmanager", away)
    assert done.returncode == 3
    assert f"Alertmanager {away}: no answer: ConnectionError; not known: alerts and who is told, routes" in done.stdout
    assert "fraud" in done.stdout, "what Prometheus says is shown all the same"


def test_an_alert_that_did_not_arrive_at_alertmanager_is_named(plane: Plane) -> None:
    plane.fire("failing")
    wait_until(plane.overview, lambda seen: seen.state is State.ACT)

    class Empty(alertmanager.Client):
        def alerts(self) -> list[alertmanager.Alert]:
            return []

    seen = plane.overview(alertmanager=Empty(plane.alertmanager_url))
    assert told(of(seen, "ModelFailing")) == [("", Told.NOT_THERE)]
    assert seen.reasons[0] == "MidwatchDeadman does not arrive at Alertmanager: nobody is told of anything"
    assert "ModelFailing fraud fires (page of ml, not at Alertmanager)" in seen.reasons


def test_a_prometheus_that_is_away_is_no_calm_and_says_nothing_of_what_it_would_know(plane: Plane) -> None:
    plane.fire("failing")
    away = f"http://127.0.0.1:{free_port()}"
    seen = plane.overview(prometheus=prometheus.Client(away, retries=0), prometheus_url=away)
    assert seen.state is State.ACT, "Alertmanager has an alert"
    assert (told(of(seen, "ModelFailing")), seen.prometheus_at) == ([("ml-page", Told.UNKNOWN)], None)
    assert (seen.systems, seen.drills) == ((), ())
    plane.fire()
    seen = plane.overview(prometheus=prometheus.Client(away, retries=0), prometheus_url=away)
    assert (seen.state, len(seen.reasons)) == (State.UNKNOWN, 1), seen.reasons


def test_a_page_of_somebody_else_is_not_taken_for_an_answer(plane: Plane) -> None:
    done = status(plane, "--prometheus", f"{plane.alertmanager_url}", "--alertmanager", plane.prometheus_url)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr + done.stdout


def test_addresses_or_a_file_are_needed(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIDWATCH_FILE", raising=False)
    done = midwatch_here("status", "--prometheus", "http://127.0.0.1:9")
    assert (done.returncode, done.stderr) == (
        2,
        "give a platform file with -f, or both --prometheus and --alertmanager\n",
    )
    assert midwatch_here("status", "--json", "--watch").returncode == 2
