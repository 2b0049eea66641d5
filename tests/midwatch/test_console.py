"""What stands behind the console's pages: questions, the last good state, parts of pages, and links of alerts."""

from __future__ import annotations

import re
import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from alerts import render
from midwatch import console_links
from midwatch.app.console import page, sections
from midwatch.app.console.queries import Asked, Instant, Range
from midwatch.app.console.remembered import Remembered
from midwatch.app.console.state import State
from midwatch.app.status import records
from midwatch.prometheus import Sample, UnreachableError
from tests.conftest import midwatch_here, platform_document


class Prometheus:
    """Answers when it may; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_up = True
        self.may_answer = threading.Event()
        self.may_answer.set()

    def query(self, expr: object) -> list[Sample]:
        self.asked.append(str(expr))
        self.may_answer.wait(60)
        if not self.is_up:
            raise UnreachableError(str(expr), "no answer")
        return [Sample(labels={}, time=0.0, value=1.0)]

    def query_range(self, expr: object, **_: float) -> list[Any]:
        self.query(expr)
        return []


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def prometheus() -> Prometheus:
    return Prometheus()


@pytest.fixture
def asked(prometheus: Prometheus, clock: list[float]) -> Any:
    made = Asked(prometheus, clock=lambda: clock[0], wait_seconds=5.0)  # type: ignore[arg-type]
    yield made
    made.close()


def test_many_who_ask_the_same_cost_one_question(asked: Asked, prometheus: Prometheus) -> None:
    prometheus.may_answer.clear()
    threads = [threading.Thread(target=asked.ask, args=(Instant(expr="up"),)) for _ in range(20)]
    for thread in threads:
        thread.start()
    prometheus.may_answer.set()
    for thread in threads:
        thread.join()
    assert prometheus.asked == ["up"]


def test_an_answer_is_asked_for_again_when_it_is_old(asked: Asked, prometheus: Prometheus, clock: list[float]) -> None:
    for after, questions in ((0, 1), (4, 1), (6, 2)):
        clock[0] = 1000.0 + after
        asked.ask(Instant(expr="up"))
        assert len(prometheus.asked) == questions


def test_the_last_answer_is_handed_out_with_the_reason_while_there_is_none(
    asked: Asked, prometheus: Prometheus, clock: list[float]
) -> None:
    (good,) = asked.ask(Instant(expr="up"))
    prometheus.is_up = False
    clock[0] += 60
    (stale,) = asked.ask(Instant(expr="up"))
    assert (stale.samples, stale.at) == (good.samples, 1000.0)
    assert "no answer" in stale.why


def test_a_prometheus_that_does_not_answer_is_not_asked_for_each_chart(
    asked: Asked, prometheus: Prometheus, clock: list[float]
) -> None:
    prometheus.is_up = False
    asked.ask(Instant(expr="a"))
    (other,) = asked.ask(Range(expr="b", span=60, step=15))
    assert prometheus.asked == ["a"]
    assert "no answer" in other.why
    clock[0] += 6
    asked.ask(Instant(expr="c"))
    assert prometheus.asked == ["a", "c"]


def test_a_page_does_not_wait_for_an_answer_for_ever(prometheus: Prometheus) -> None:
    prometheus.may_answer.clear()
    asked = Asked(prometheus, wait_seconds=0.01)  # type: ignore[arg-type]
    (answer,) = asked.ask(Instant(expr="up"))
    assert answer.why == "Prometheus has not answered yet"
    prometheus.may_answer.set()
    asked.close()


# The state ------------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBJECT = records.Subject(name="fraud", kind=records.Kind.MODEL, owner="ml", state=records.State.CALM, trouble=0.0)
GOOD = records.Overview(
    platform="test",
    as_of=NOW,
    state=records.State.CALM,
    reasons=(),
    prometheus="http://p",
    alertmanager="http://a",
    prometheus_at=NOW,
    subjects=(SUBJECT,),
)
BLIND = replace(
    GOOD, state=records.State.UNKNOWN, prometheus_at=None, subjects=(), reasons=("Prometheus does not answer",)
)


def test_what_was_known_stays_and_is_never_calm_when_prometheus_is_gone() -> None:
    answers = [GOOD, BLIND, GOOD]
    state = State(lambda: answers.pop(0))
    assert state.now.stale_since is None
    gone = state.refresh()
    assert gone.overview.subjects == (SUBJECT,)
    assert (gone.stale_since, gone.overview.state) == (NOW, records.State.UNKNOWN)
    assert state.refresh().stale_since is None


def test_a_console_that_starts_blind_says_so() -> None:
    state = State(lambda: BLIND)
    assert state.now.overview.state is records.State.UNKNOWN
    assert state.now.overview.subjects == ()


def test_what_was_changed_is_read_anew_though_somebody_reads_already() -> None:
    began, may_end = threading.Event(), threading.Event()
    silences = ["before"]
    seen: list[str] = []

    def read() -> Any:
        seen.append(silences[-1])
        began.set()
        may_end.wait(60)
        return BLIND

    state = State(read)
    reader = threading.Thread(target=state.refresh)
    reader.start()
    assert began.wait(60)
    silences.append("after")
    changer = threading.Thread(target=state.refresh_after_change)
    changer.start()
    may_end.set()
    reader.join()
    changer.join()
    assert seen == ["before", "after"]


# The command ----------------------------------------------------------------------------------------------------------


AWAY = ("--prometheus", "http://127.0.0.1:9", "--alertmanager", "http://127.0.0.1:9")


@pytest.fixture
def platform_file(tmp_path: Path) -> Path:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document()))
    return file


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(platform_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = midwatch_here("console", "-f", platform_file, "--listen", address, *AWAY)
    assert done.returncode == 2
    assert f"{address}: cannot be listened on" in done.stderr
    assert "choose another by --listen" in done.stderr


def test_a_folder_of_evidence_that_is_not_there_is_an_error(platform_file: Path) -> None:
    done = midwatch_here("console", "-f", platform_file, "--evidence", "no/such", *AWAY)
    assert (done.returncode, "--evidence: no/such is no folder" in done.stderr) == (2, True)


# Parts of pages -------------------------------------------------------------------------------------------------------


def test_a_reader_gets_what_differs_from_the_state_that_it_has() -> None:
    history = sections.History()
    first = history.add({"a": "1", "b": "1"})
    history.add({"a": "1", "b": "2"})
    assert history.changed_since(first) == {"b": "2"}
    assert history.changed_since("of another console") == {"a": "1", "b": "2"}
    assert history.changed_since(history.newest) == {}


def test_an_event_is_one_whatever_line_ends_its_text_has() -> None:
    event = sections.event_of({"a": "x\r\ny\rz\n\nid: evil"}, "name").decode()
    assert event.count("\n\n") == 1
    assert [line for line in event.splitlines() if line.startswith("id:")] == ["id: name"]


def test_what_is_dear_is_made_once_and_what_fails_is_tried_again() -> None:
    now = [0.0]
    made: list[int] = []
    remembered: Remembered[int] = Remembered(10.0, clock=lambda: now[0])

    def make() -> int:
        made.append(1)
        if len(made) == 1:
            raise ValueError
        return len(made)

    with pytest.raises(ValueError):
        remembered.get("x", make)
    assert [remembered.get("x", make), remembered.get("x", make)] == [2, 2]
    now[0] = 11.0
    assert remembered.get("x", make) == 3


# Links of alerts ------------------------------------------------------------------------------------------------------


def test_alerts_lead_to_their_page_only_where_the_platform_file_says_where_that_is(make_platform: Any) -> None:
    def rules(**changes: Any) -> str:
        rendered = render.render_files(make_platform(**changes))
        return "".join(text for name, text in rendered.items() if "rules" in name)

    assert "console_url" not in rules()
    assert "console_url" not in rules(console={})
    linked = rules(console={"url": "https://console.example.com/"})
    assert linked.count("console_url") == linked.count("dashboard_url")
    assert "https://console.example.com/alerts/" in linked
    assert "/alerts/ErrorBudgetBurn?model=fraud&slo=latency'" in linked


def test_the_link_of_an_alert_is_an_address_that_the_console_has(make_platform: Any) -> None:
    platform = make_platform(console={"url": "https://console.example.com"})
    url = console_links.alert_url(platform, "X", model="fraud", version="v 1&2")
    ours = page.of_alert("X", {"alertname": "X", "model": "fraud", "version": "v 1&2"})
    linked, own = urlsplit(url or ""), urlsplit(ours)
    assert (linked.path, parse_qsl(linked.query)) == (own.path, parse_qsl(own.query))
    assert re.fullmatch(r"[!-~]+", url or "")


def test_an_objective_whose_alert_has_a_name_of_its_own_leads_to_that(make_document: Any, make_platform: Any) -> None:
    models = make_document()["models"]
    models[0]["slos"][0]["alert_name"] = "FraudIsAway"
    rendered = render.render_files(make_platform(models=models, console={"url": "https://console.example.com"}))
    assert "/alerts/FraudIsAway?model=fraud&slo=availability'" in "".join(rendered.values())
