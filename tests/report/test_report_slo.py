"""`midwatch report slo` over a month of known incidents, from a real Prometheus."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from midwatch.app.report import month as months
from midwatch.app.report import quality
from midwatch.app.report.records import Figures, Firing, Gap, Harm, ModelMonth, Promise, Share, SloReport
from midwatch.evidence import Log
from tests.conftest import free_port, midwatch_here
from tests.report.conftest import DAY, HOUR, at


def report(file: Path, *words: object) -> Any:
    nobody = f"http://127.0.0.1:{free_port()}"
    return midwatch_here("report", "slo", "-f", file, "--month", "2026-10", "--alertmanager", nobody, *words)


@pytest.fixture(scope="session")
def document(file_of_month: Path) -> dict[str, Any]:
    done = report(file_of_month, "--json")
    assert done.returncode == 1, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def promise(document: dict[str, Any], subject: str, month: str = "now") -> dict[str, Any]:
    (found,) = [one for one in document[month]["promises"] if one["subject"] == subject]
    return dict(found)


def test_a_budget_is_what_was_counted_each_event_once(document: dict[str, Any]) -> None:
    tiles = 31 * 288 - 6 * 12  # six hours were not counted
    bad = 36 * 500 + 12 * 1000 + 12 * 200 + (tiles - 60)
    fraud = promise(document, "fraud")
    assert fraud["good"] == {"some": tiles * 1000 - bad, "of": tiles * 1000}
    assert fraud["budget"] == pytest.approx(tiles * 10)
    assert fraud["spent"] == pytest.approx(bad / (tiles * 10))
    assert (fraud["kept"], fraud["sure"], fraud["objectives"]) == (True, True, [0.99])
    assert promise(document, "fraud", "before")["spent"] == pytest.approx(0.1)


def test_an_objective_that_was_changed_allows_what_each_part_of_the_month_did(document: dict[str, Any]) -> None:
    churn = promise(document, "churn")
    assert churn["objectives"] == [0.98, 0.99]
    assert churn["budget"] == pytest.approx(5 * 288 * 0.02 + 5 * 288 * 0.01)
    assert (churn["good"], churn["kept"]) == ({"some": 2880 - 60, "of": 2880}, False)


def test_what_nobody_counted_is_not_known_and_never_kept(document: dict[str, Any]) -> None:
    new = promise(document, "new")
    assert (new["kept"], new["spent"], new["attained"]) == (None, None, None)
    assert (document["now"]["kept"], document["now"]["broken"], document["now"]["unknown"]) == (1, 1, 1)


def test_what_spent_a_budget_is_found_without_the_alerts(document: dict[str, Any]) -> None:
    assert {one["cause"] for one in document["now"]["harms"]} == {"no change is known of that time"}
    harms = document["now"]["harms"]
    found = [(one["subject"], one["start"], one["end"], round(one["bad"])) for one in harms]
    assert found == [
        ("fraud", at(10, 2), at(10, 5), 18_000),
        ("fraud", at(20, 12), at(20, 13), 12_000),
        ("fraud", at(15, 10), at(15, 11), 2_400),
    ]
    assert [one["during"] for one in harms] == [[], [], ["experiment kill-replica"]]
    assert [one["told"] for one in harms] == [["ErrorBudgetBurn page"], [], ["ModelFailing page"]]
    assert harms[0]["paged_after"] == pytest.approx(0.25 * HOUR, abs=60)


def test_a_stretch_has_the_cause_that_was_most_likely_and_one_that_nothing_explains_says_so(
    file_of_month: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def of_model(_: Any, model: str, labels: Any, when: float, now: float) -> Any:
        asked.append((model, when))
        named = SimpleNamespace(change=SimpleNamespace(what="v7 was deployed"), probability=0.82)
        nothing = SimpleNamespace(change=None, probability=0.9)
        unclear = SimpleNamespace(change=named.change, probability=0.3)
        return SimpleNamespace(suspects=(([named], [nothing, named], [unclear])[len(asked) - 1]), rejected=())

    monkeypatch.setattr("midwatch.app.incident.explain.of_model", of_model)
    harms = json.loads(report(file_of_month, "--json").stdout)["now"]["harms"]
    causes = [one["cause"] for one in harms]
    assert causes == ["v7 was deployed (82%)", "none of the changes that are known (90%)", "not clear"]
    assert asked == [("fraud", at(10, 2) + 600), ("fraud", at(20, 12) + 600), ("fraud", at(15, 10) + 600)]


def test_pages_and_tickets_are_those_that_somebody_was_told(document: dict[str, Any]) -> None:
    now = document["now"]
    assert (now["pages"], now["tickets"]) == (2, 4)
    held = [(one["alert"], one["severity"], one["held_by"]) for one in now["firings"] if one["held_by"]]
    assert held == [("ErrorBudgetBurn", "ticket", "inhibited by ErrorBudgetBurn")]
    assert [one["alert"] for one in now["firings"] if one["began_before"]] == ["ModelAccuracyLow"]
    (owner,) = now["owners"]
    assert (owner["pages"], owner["at_night"], owner["tickets"], owner["held"]) == (2, 1, 4, 1)
    assert owner["most_in_a_shift"] == 1


def test_night_is_where_the_people_are(file_of_month: Path) -> None:
    done = report(file_of_month, "--json", "--time-zone", "Asia/Tokyo")
    (owner,) = json.loads(done.stdout)["now"]["owners"]
    assert owner["at_night"] == 0, "it was a quarter past eleven in the morning there"


def test_alerts_are_worth_the_harm_that_was_behind_them(document: dict[str, Any]) -> None:
    now = document["now"]
    assert now["precision"] == {"some": 1, "of": 5}, "the experiment's page is left out"
    assert (now["recall"], now["recall_by_page"]) == ({"some": 1, "of": 2}, {"some": 1, "of": 2})
    alerts = {(one["alert"], one["severity"]): one for one in now["alerts"]}
    flapping = alerts["ModelNoData", "ticket"]
    assert (flapping["fired"], flapping["flapped"], flapping["repeated"]) == (4, 4, 3)
    assert flapping["precision"] == {"some": 0, "of": 4}
    assert alerts["ModelFailing", "page"]["on_purpose"] == 1
    assert alerts["ErrorBudgetBurn", "page"]["precision"] == {"some": 1, "of": 1}
    advice = " ".join(document["suggestions"])
    assert "ModelNoData of ml flapped in 4 of 4 firings" in advice
    assert "fraud/availability lost 14% of its budget and nobody was told" in advice
    assert "ModelTrafficVanished" in document["never_fired"]
    assert "ModelFailing" not in document["never_fired"]
    assert document["looked_back"] == pytest.approx(41 * DAY, abs=DAY)


def test_what_is_not_known_is_said(document: dict[str, Any], file_of_month: Path) -> None:
    (gap,) = document["now"]["gaps"]
    assert (gap["start"], gap["end"]) == (at(25), at(25, 6))
    assert document["now"]["covered"] == pytest.approx(1 - 6 / (31 * 24), abs=0.001)
    assert any(one.startswith("silences: ") for one in document["now"]["missing"])
    assert document["now"]["owners"][0]["acted"]["of"] == 0, "nobody can know whether somebody acted"
    text = report(file_of_month).stdout
    assert "Of 0.8% of the month there are no counts." in text
    assert "Next to nothing was counted from 2026-10-25 00:00 UTC for 6 h." in text
    assert "no answer: ConnectionError" in text


def test_evidence_logs_say_what_was_run_and_done(
    file_of_month: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, key = tmp_path / "evidence.jsonl", tmp_path / "key"
    key.write_text("secret")
    for when, kind, data in (
        ("2026-10-10T03:00:00+00:00", "loop-episode-began", {"episode": "e", "model": "fraud"}),
        ("2026-10-10T04:00:00+00:00", "loop-asked", {"episode": "e", "result": "sent"}),
        ("2026-10-22T04:00:00+00:00", "drill-ended", {"drill": "lose-primary", "store": "s", "verdict": "MET"}),
    ):
        then = datetime.fromisoformat(when)
        monkeypatch.setattr("midwatch.evidence.datetime", SimpleNamespace(now=lambda _, then=then: then))
        Log(log, key=b"secret").append(kind, **data)
    words = ("--json", "--evidence", log, "--key-file", key)
    now = json.loads(report(file_of_month, *words).stdout)["now"]
    assert [(one["kind"], one["name"], one["verdict"]) for one in now["runs"]] == [("recovery", "lose-primary", "met")]
    acted = {one["alert"]: one["acted"] for one in now["firings"] if one["severity"] == "page"}
    assert acted == {"ErrorBudgetBurn": "a retraining was asked for", "ModelFailing": ""}
    assert now["owners"][0]["acted"] == {"some": 1, "of": 6}
    assert not any(str(log) in one for one in now["missing"])
    log.write_text(log.read_text().replace("lose-primary", "lose-nothing"))
    now = json.loads(report(file_of_month, *words).stdout)["now"]
    assert any(f"{log}: a problem with the evidence" in one for one in now["missing"]), now["missing"]


def test_the_page_stands_alone_in_plain_words(file_of_month: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    done = report(file_of_month, "--html", "-o", file)
    assert (done.returncode, done.stdout) == (1, "")
    page = file.read_text()
    assert "1 of 3 promises were kept, 1 was broken, of 1 nothing was counted; 2 pages and 4 tickets were sent." in page
    assert "look at churn/availability, which spent 139% of its budget, little by little." in page
    assert "<h2>What is not known</h2>" in page
    assert "experiment kill-replica" in page
    assert "Newest point that was restored and verified: s 2 h old." in page
    assert not any(word in page for word in ("src=", 'href="http', "url(http", "@import"))


def test_the_same_report_is_two_pages_of_pdf(
    file_of_month: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weasyprint = pytest.importorskip("weasyprint", reason="weasyprint is missing: pip install 'midwatch[reports]'")
    laid_out: list[Any] = []
    render = weasyprint.HTML.render
    monkeypatch.setattr(
        weasyprint.HTML, "render", lambda *one, **more: laid_out.append(render(*one, **more)) or laid_out[-1]
    )
    file = tmp_path / "report.pdf"
    assert report(file_of_month, "--pdf", "-o", file).returncode == 1
    assert file.read_bytes().startswith(b"%PDF-")
    assert [len(one.pages) for one in laid_out] == [2]


def test_two_hundred_models_of_forty_owners_are_two_pages_as_well() -> None:
    weasyprint = pytest.importorskip("weasyprint", reason="weasyprint is missing: pip install 'midwatch[reports]'")
    from midwatch.app.report import page

    promises = tuple(
        Promise(
            subject=f"recommendation-model-{number:03d}",
            name="availability",
            kind="fairness" if number % 2 else "availability",
            owner=f"team-{number % 40:02d}",
            objectives=(0.99,),
            good=Share(some=9_900 - number, of=10_000),
            budget=100,
            covered=0.5,
        )
        for number in range(200)
    )
    harms = tuple(
        Harm(
            subject=one.subject,
            name=one.name,
            owner=one.owner,
            start=at(3),
            end=at(4),
            bad=9,
            spent=0.3,
            told=("X page",),
        )
        for one in promises
    )
    firings = tuple(
        Firing(
            alert=f"AlertNumber{number}",
            severity="page",
            owner=one.owner,
            subject=one.subject,
            slo="",
            version="",
            start=at(5, number),
            end=at(5, number) + 60,
            harmed=False,
        )
        for number, one in enumerate(promises)
    )
    month = months.named("2026-10", ZoneInfo("UTC"), now=datetime(2026, 11, 2, tzinfo=UTC))
    figures = Figures(
        month="2026-10",
        start=at(1),
        end=at(1, month=11),
        is_over=True,
        promises=promises,
        harms=harms,
        firings=firings,
        alerts=tuple(quality.of_alerts(firings, month)),
        owners=tuple(quality.of_owners(promises, firings, month)),
        models=tuple(
            ModelMonth(model=one.subject, owner="", accuracy=Share(some=9, of=10), episodes=1, drifting=0.1)
            for one in promises
        ),
        overdue=tuple(f"drill-{number} of store-{number}" for number in range(30)),
        covered=0.9,
        gaps=tuple(Gap(start=at(day), end=at(day, 2)) for day in range(1, 20)),
        days=(1.0, 2.0),
        spent_by_day={one.key: (0.1, 0.2) for one in promises},
        missing=tuple(f"something: {number}" for number in range(20)),
    )
    made = SloReport(
        platform="test",
        zone="UTC",
        made_at=0.0,
        prometheus="p",
        now=figures,
        before=figures,
        never_fired=tuple(f"Alert{number}" for number in range(50)),
        suggestions=(*quality.suggestions(figures), *(f"AlertNumber{number} flapped: hold it." for number in range(9))),
    )
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    assert len(weasyprint.HTML(string=page.html(made)).render().pages) == 2


def test_without_weasyprint_one_line_says_how_it_is_got(
    file_of_month: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    done = report(file_of_month, "--pdf", "-o", tmp_path / "report.pdf")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install 'midwatch[reports]'" in done.stderr
    assert not (tmp_path / "report.pdf").exists()


def test_a_prometheus_that_is_away_makes_no_report_of_kept_promises(file_of_month: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    done = report(file_of_month, "--prometheus", away)
    assert done.returncode == 3
    assert "0 of 3 promises were kept, of 3 nothing was counted; whether pages and" in done.stdout
    assert f"objectives: {away}: no answer" in done.stdout


def test_of_a_month_that_prometheus_does_not_keep_no_page_is_called_never_sent(file_of_month: Path) -> None:
    words = ("report", "slo", "-f", file_of_month, "--month", "2026-07", "--time-zone", "Europe/Berlin")
    done = midwatch_here(*words, "--alertmanager", f"http://127.0.0.1:{free_port()}", "--json")
    now = json.loads(done.stdout)["now"]
    assert (done.returncode, now["pages"], now["tickets"], now["knows_alerts"]) == (3, None, None, False)
    shown = midwatch_here(*words, "--alertmanager", f"http://127.0.0.1:{free_port()}").stdout
    assert "of 3 nothing was counted; whether pages and tickets were sent is not known." in " ".join(shown.split())
    assert "0 pages" not in shown
    assert "Next to nothing was counted from 2026-07-01 00:00 CEST for 31 d." in " ".join(shown.split())
    page = midwatch_here(*words, "--alertmanager", f"http://127.0.0.1:{free_port()}", "--html").stdout
    assert "Times are in Europe/Berlin." in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--month", "October"), "--month: 'October' is not a month such as 2026-10"),
        (("--month", "2026-13"), "is not a month"),
        (("--month", "2999-01"), "2999-01 has not begun"),
        (("--time-zone", "Middle-earth"), "is not a time zone such as Europe/Berlin"),
        (("--html", "--json"), "give one of --html, --pdf and --json"),
        (("--pdf",), "--pdf needs a file"),
        (("--evidence", "/nowhere"), "/nowhere"),
    ],
)
def test_what_cannot_be_reported_is_said_in_one_line(file_of_month: Path, words: tuple[str, ...], said: str) -> None:
    done = report(file_of_month, *words)
    assert (done.returncode, said in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr


@pytest.mark.parametrize(
    ("some", "of", "interval"),
    [(0, 0, None), (0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (3, 4, (0.3006, 0.9544))],
)
def test_an_interval_is_wilsons(some: int, of: int, interval: tuple[float, float] | None) -> None:
    found = Share(some=some, of=of).interval
    assert found == (interval and pytest.approx(interval, abs=1e-4))


def test_promises_of_fairness_are_of_the_report_as_the_evaluator_showed_them(
    file_of_month: Path, tmp_path: Path
) -> None:
    platform = yaml.safe_load(file_of_month.read_text())
    promised = {"attribute": "country", "measure": "demographic_parity", "public": True}
    fairness = [promised | {"ratio": f"{ratio}%"} for ratio in (80, 70, 60, 50)]
    platform["models"][0] |= {"groups": ["country"], "positive": "fraud", "fairness": fairness}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform))
    done = report(file, "--json")
    assert done.returncode == 1, done.stderr
    found = {one["name"]: one["kept"] for one in json.loads(done.stdout)["now"]["promises"] if one["kind"] != "slo"}
    shown = {name.rpartition(" ")[2]: kept for name, kept in found.items() if name.startswith("fairness ")}
    assert shown == {"80%": False, "70%": True, "60%": None, "50%": None}


def test_a_promise_of_fairness_is_kept_or_broken_as_it_was_shown_in_the_month() -> None:
    from midwatch.app.report import read, words
    from midwatch.app.report.records import FAIRNESS_VERDICT

    cases = {(1, 1, 0): True, (-1, 1, 0): False, (1, 1, 1): False, (0, 1, 0): True, (0, 0, 0): None}
    assert {case: read._shown_kept(*case) for case in cases} == cases
    assert read._shown_kept(None, None, None) is None
    said = [
        Promise(
            subject="credit",
            name=f"fairness {number}",
            kind=FAIRNESS_VERDICT,
            owner="ml",
            objectives=(),
            good=Share(some=0, of=0),
            budget=0,
            covered=0,
            shown_kept=kept,
        )
        for number, kept in enumerate((True, None, False))
    ]
    figures = Figures(month="October", start=0, end=1, is_over=True, promises=tuple(said))
    assert (figures.kept, figures.broken, figures.unknown) == (1, 1, 1)
    assert [words.verdict(one) for one in words.chosen(said)] == ["broken", "kept", "not known"]
    assert "1 is not decided" in words.meaning(figures)
    assert "credit/fairness 2" in words.todo(figures)
