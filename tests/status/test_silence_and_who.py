"""`midwatch silence` and `midwatch who`, of a real Alertmanager."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from midwatch import alertmanager
from midwatch.alertmanager import Matcher, Silence, fits
from midwatch.app.status import whose
from midwatch.app.status.ask import OfAlertmanager
from tests.conftest import free_port, midwatch_here
from tests.status.conftest import Plane, wait_until


def silence(plane: Plane, *words: str) -> Any:
    return midwatch_here("silence", *words, "-f", plane.file)


def active(plane: Plane) -> list[Silence]:
    return [one for one in plane.alertmanager.silences() if one.state == "active"]


def who(plane: Plane, *words: str) -> Any:
    return midwatch_here("who", *words, "-f", plane.file)


def test_a_silence_says_whose_it_is_and_why_and_holds_the_alert_back(plane: Plane) -> None:
    plane.fire("failing", "burn-page")
    done = silence(
        plane, "ModelFailing", "--for", "2h", "--why", "rolled back", "--by", "eve", "--label", "model=fraud"
    )
    assert done.returncode == 0, done.stderr
    (made,) = active(plane)
    assert done.stdout == f"{made.id}\n"
    assert f"{plane.alertmanager_url}/#/silences/{made.id} holds back 1 alert that fires until" in done.stderr
    assert (made.created_by, made.comment) == ("eve", "rolled back http://grafana.test/d/failing")
    assert [str(one) for one in made.matchers] == ['alertname="ModelFailing"', 'model="fraud"']
    assert timedelta(minutes=119) < made.ends_at - datetime.now(UTC) <= timedelta(hours=2)
    held = wait_until(
        plane.alertmanager.alerts, lambda alerts: [one for one in alerts if one.status.silenced_by == (made.id,)]
    )
    assert {one.labels["alertname"] for one in held if one.status.silenced_by} == {"ModelFailing"}


def test_the_same_again_makes_it_longer_under_the_same_id_and_anothers_is_left_alone(plane: Plane) -> None:
    plane.fire("failing")
    words = ("ModelFailing", "--why", "x", "--by", "eve", "--json")
    first = json.loads(silence(plane, *words, "--for", "1h").stdout)
    again = json.loads(silence(plane, *words, "--for", "3h").stdout)
    assert (again["id"], again["extended"], first["extended"]) == (first["id"], True, False)
    other = json.loads(silence(plane, "ModelFailing", "--why", "y", "--by", "bob", "--json", "--for", "1h").stdout)
    assert other["id"] != first["id"]
    assert {one.id: one.created_by for one in active(plane)} == {first["id"]: "eve", other["id"]: "bob"}
    assert first["holds_back"][0]["model"] == "fraud"


def test_what_matches_nothing_that_fires_is_refused_unless_it_is_ahead(plane: Plane) -> None:
    plane.fire("failing")
    done = silence(plane, "ModelFialing", "--for", "1h", "--why", "x")
    assert (done.returncode, active(plane)) == (1, [])
    assert 'no alert fires with alertname="ModelFialing"; did you mean ModelFailing?' in done.stderr
    done = silence(plane, "ModelFailing", "--for", "1h", "--why", "x", "--label", "model=churn")
    assert done.returncode == 1
    assert 'alertname="ModelFailing", model="churn"; of that name fires: ' in done.stderr
    assert "model=fraud of=failing owner=ml severity=page. Correct --label, or give --ahead" in done.stderr
    done = silence(plane, "ModelFailing", "--for", "1h", "--why", "x", "--label", "model=churn", "--ahead")
    assert (done.returncode, len(active(plane))) == (0, 1), done.stderr


def test_a_silence_is_ended_by_its_id(plane: Plane) -> None:
    plane.fire("failing")
    made = silence(plane, "ModelFailing", "--for", "1h", "--why", "x").stdout.strip()
    done = silence(plane, "--expire", made)
    assert (done.returncode, active(plane)) == (0, []), done.stderr
    unknown = "00000000-0000-4000-8000-000000000000"
    done = silence(plane, "--expire", unknown)
    for wrong in (unknown, "no id", ""):
        done = silence(plane, "--expire", wrong)
        assert (done.returncode, f"there is no silence {wrong!r}" in done.stderr) == (2, True), done


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ModelFailing", "--for", "1h"), "give the alert's name, --for and --why"),
        (("ModelFailing", "--for", "1h", "--why", " "), "give the alert's name, --for and --why"),
        (("ModelFailing", "--why", "x"), "give the alert's name, --for and --why"),
        (("ModelFailing", "--for", "soon", "--why", "x"), "--for: "),
        (("ModelFailing", "--for", "0s", "--why", "x"), "holds nothing back"),
        (("ModelFailing", "--for", "1h", "--why", "x", "--label", "model"), "'model' is not a label"),
        (("ModelFailing", "--for", "1h", "--why", "x", "--label", "model="), "matches whatever lacks it"),
        (("ModelFailing", "--expire", "x"), "leave the alert's name out"),
    ],
)
def test_what_cannot_be_silenced_is_said_in_one_line(plane: Plane, words: tuple[str, ...], said: str) -> None:
    done = silence(plane, *words)
    assert (done.returncode, said in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr


def test_without_an_answer_of_alertmanager_nothing_is_taken_for_silenced(plane: Plane) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    done = silence(plane, "ModelFailing", "--for", "1h", "--why", "x", "--alertmanager", away)
    assert (done.returncode, done.stderr) == (3, f"{away}: no answer: ConnectionError\n")


@pytest.mark.parametrize(
    ("matcher", "labels", "is_fitting"),
    [
        (Matcher(name="a", value="x"), {"a": "x"}, True),
        (Matcher(name="a", value="x"), {}, False),
        (Matcher(name="a", value="x", is_equal=False), {}, True),
        (Matcher(name="a", value="x|y", is_regex=True), {"a": "y"}, True),
        (Matcher(name="a", value="x", is_regex=True), {"a": "xy"}, False),
        (Matcher(name="a", value=".*", is_regex=True, is_equal=False), {"a": "x"}, False),
        (Matcher(name="a", value="(", is_regex=True), {"a": "("}, False),
    ],
)
def test_matchers_of_silences_mean_what_they_mean_to_alertmanager(
    matcher: Matcher, labels: dict[str, str], is_fitting: bool
) -> None:
    assert fits([matcher], labels) is is_fitting


# Who ------------------------------------------------------------------------------------------------------------


def test_who_is_told_of_an_alert_is_its_owner_by_the_channels_of_the_platform_file(plane: Plane) -> None:
    done = who(plane, "ModelTrafficVanished", "--label", "model=fraud", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["routes_of"]) == (0, "Alertmanager")
    (one,) = document["alerts"]
    assert (one["owner"], one["fires"]) == ("ml", False)
    assert one["channels"] == [{"name": "oncall", "kind": "pagerduty"}]
    assert [(told["receiver"], told["integrations"]) for told in one["telling"]] == [("ml-page", ["webhook"])]
    assert one["paths"] == [["default", '{owner="ml", severity="page"}']]


def test_of_two_alerts_of_a_name_each_is_answered_and_one_that_nobody_hears_of_fails(plane: Plane) -> None:
    done = who(plane, "ModelNoData")
    assert done.returncode == 1
    assert "ml-ticket (webhook): told: nothing holds it back; again every 4h" in done.stdout
    assert "ml-ticket (webhook): muted: the time interval every-day is then" in done.stdout


def test_what_fires_and_what_is_silenced_shows_in_who_is_told(plane: Plane) -> None:
    plane.fire("burn-page", "burn-ticket")
    tickets = ("ErrorBudgetBurn", "--label", "model=fraud", "--label", "severity=ticket")
    # Alertmanager's inhibitor hears of an alert a little after its API tells it.
    done = wait_until(lambda: who(plane, *tickets), lambda told: "inhibited: " in told.stdout)
    assert done.returncode == 1
    assert "inhibited: ErrorBudgetBurn page fraud availability (inhibit_rules[0])" in done.stdout
    assert "fires now; owner ml" in done.stdout
    silence(plane, "ErrorBudgetBurn", "--for", "1h", "--why", "known", "--by", "eve")
    done = who(plane, "ErrorBudgetBurn", "--label", "model=fraud", "--label", "severity=page")
    assert (done.returncode, "silenced: " in done.stdout, "of eve: known" in done.stdout) == (1, True, True)
    later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    done = who(plane, "ErrorBudgetBurn", "--label", "model=fraud", "--label", "severity=page", "--at", later)
    assert done.returncode == 0, "the silence has ended by then"


def test_without_alertmanager_the_routes_of_the_file_are_followed_and_it_is_not_decided(plane: Plane) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    done = who(plane, "ModelTrafficVanished", "--label", "model=fraud", "--alertmanager", away)
    assert done.returncode == 3
    assert "routes of alertmanager.yml of the platform file" in done.stdout
    assert "not known whether it fires" in done.stdout
    assert "ml-page (pagerduty): told: no route holds it back; whether a silence or" in done.stdout
    assert "nothing holds it back" not in done.stdout


def test_of_an_alertmanager_that_does_not_say_what_fires_no_alert_is_called_unknown(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    monkeypatch.chdir(tmp_path)
    for done in (
        midwatch_here("who", "DiskFull", "--alertmanager", away),
        who(plane, "DiskFull", "--alertmanager", away),
    ):
        assert done.returncode == 3, done
        assert (
            f"Alertmanager {away}: no answer: ConnectionError; not known: alerts and who is told, routes" in done.stderr
        )


def test_routes_that_nobody_can_read_are_not_taken_for_those_of_the_file(plane: Plane) -> None:
    status = msgspec.convert({"config": {"original": "route: {receiver: one"}}, alertmanager.Status)
    asked = OfAlertmanager(alerts=[], silences=[], status=status)
    found = whose.answer(plane.platform, asked, "ErrorBudgetBurn", {"model": "fraud"}, datetime.now(UTC))
    assert found and found.unanswered == ("the configuration that Alertmanager runs cannot be read; not known: routes",)


def test_an_alert_that_nobody_knows_is_an_error_with_the_nearest_name(plane: Plane, tmp_path: Path) -> None:
    done = who(plane, "ModelTrafficVanishes")
    assert (done.returncode, "did you mean ModelTrafficVanished?" in done.stderr) == (2, True), done.stderr
    done = who(plane, "ModelNoData", "--label", "model=none")
    assert (done.returncode, done.stderr) == (2, "no alert ModelNoData has these labels; correct --label\n")
    assert who(plane, "ModelNoData", "--at", "noon").returncode == 2
