"""Preconditions: only a clear yes is a yes."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chaos import preconditions
from chaos.run import stopping
from midwatch.errors import InvalidInputError, MidwatchError
from midwatch.prometheus import Client, Sample


def raises() -> str:
    raise RuntimeError("boom")


def exits() -> str:
    raise SystemExit(0)


def hangs() -> str:
    time.sleep(5)
    return "too late"


def without_data() -> str:
    raise preconditions.NoDataError("nothing is known")


def refuses() -> str:
    raise preconditions.RefusalError("not today")


@pytest.mark.parametrize(
    ("guard", "reason"),
    [
        (raises, "cannot tell: boom"),
        (exits, "cannot tell: 0"),
        (hangs, "no answer within 0.1 s"),
        (without_data, "cannot tell: nothing is known"),
        (refuses, "not today"),
        (lambda: False, "no clear answer: False"),
        (lambda: True, "no clear answer: True"),
        (lambda: None, "no clear answer: None"),
        (lambda: "", "no clear answer: ''"),
        (lambda: float("nan"), "no clear answer: nan"),
    ],
    ids=["raises", "exits", "hangs", "no data", "no", "false", "true", "none", "empty", "nan"],
)
def test_a_precondition_that_does_not_clearly_allow_refuses(guard: Any, reason: str) -> None:
    decision = preconditions.decide("it", guard, 0.1 if guard is hangs else 60.0)
    assert (decision.allowed, decision.reason) == (False, reason)
    assert preconditions.refusals([decision]) == [f"it: {reason}"]


def test_every_precondition_is_asked_so_that_all_reasons_are_known() -> None:
    decisions = preconditions.decide_all({"one": refuses, "two": lambda: "fine", "three": raises}, 60.0)
    assert [one.allowed for one in decisions] == [False, True, False]


@pytest.mark.parametrize(
    ("moment", "allowed"),
    [
        ("2026-11-23T09:00", True),
        ("2026-11-23T08:59", False),
        ("2026-11-27T15:59", True),
        ("2026-11-27T16:00", False),
        ("2026-11-28T10:00", False),
        ("2026-11-29T23:30", True),
    ],
)
def test_experiments_run_only_within_their_windows(moment: str, allowed: bool) -> None:
    now = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    guard = preconditions.window(["mon-fri 09:00-16:00", "sun 23:00-24:00"], lambda: now)
    assert preconditions.decide("window", guard, 60.0).allowed is allowed


def test_a_set_kill_switch_refuses(tmp_path: Path) -> None:
    guard = preconditions.kill_switch(tmp_path / "stop")
    assert preconditions.decide("switch", guard, 60.0).allowed
    (tmp_path / "stop").touch()
    assert not preconditions.decide("switch", guard, 60.0).allowed


class Answers(Client):
    """Answers as they are given."""

    def __init__(self, *alerts: tuple[str, str], budgets: dict[str, float] | None = None) -> None:
        self._samples = [
            Sample(labels={"alertname": name, "severity": severity}, value=1.0, time=0.0) for name, severity in alerts
        ] + [Sample(labels={"slo": name}, value=value, time=0.0) for name, value in (budgets or {}).items()]

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        return self._samples


DEADMAN = ("MidwatchDeadman", "none")


@pytest.mark.parametrize(
    ("alerts", "allowed"),
    [
        ((DEADMAN,), True),
        ((DEADMAN, ("A", "ticket")), True),
        ((DEADMAN, ("Expected", "page")), True),
        ((DEADMAN, ("A", "page")), False),
        ((), False),
        ((("A", "ticket"),), False),
    ],
    ids=["calm", "ticket", "expected", "page", "no data", "no deadman"],
)
def test_no_page_may_fire_and_alerting_has_to_work(alerts: tuple[tuple[str, str], ...], allowed: bool) -> None:
    assert preconditions.decide("pages", preconditions.no_page(Answers(*alerts), "Expected"), 60.0).allowed is allowed


@pytest.mark.parametrize(
    ("budgets", "allowed"),
    [
        ({"availability": 0.5, "latency": 0.1, "accuracy": 1.0}, True),
        ({"availability": 0.5, "latency": 0.09, "accuracy": 1.0}, False),
        ({"availability": 0.5, "latency": -2.0, "accuracy": 1.0}, False),
        ({"availability": 0.5, "latency": 0.5}, False),
        ({"availability": 0.5, "latency": 0.5, "accuracy": float("nan")}, False),
        ({}, False),
    ],
    ids=["left", "spent", "overspent", "one unknown", "nan", "no data"],
)
def test_enough_error_budget_has_to_be_left(make_platform: Any, budgets: dict[str, float], allowed: bool) -> None:
    guard = preconditions.error_budget(Answers(budgets=budgets), make_platform().models[0], 0.1)
    assert preconditions.decide("budget", guard, 60.0).allowed is allowed


def test_a_prometheus_that_is_gone_refuses(make_platform: Any) -> None:
    client = Client("http://127.0.0.1:1", timeout=0.2)
    for guard in (preconditions.no_page(client), preconditions.error_budget(client, make_platform().models[0], 0.1)):
        decision = preconditions.decide("it", guard, 60.0)
        assert not decision.allowed
        assert "no answer" in decision.reason


@pytest.mark.parametrize("text", ["monday", "mon 9-10", "mon-fri 16:00-09:00", "mon 09:00-25:00"])
def test_a_window_that_is_none_is_named(load_text: Any, make_document: Any, text: str) -> None:
    import yaml

    with pytest.raises(InvalidInputError, match=r"window|ends before"):
        load_text(yaml.safe_dump(make_document(chaos={"guard": {"windows": [text]}})))


def test_a_stop_in_a_folder_that_nobody_uses_does_not_say_that_all_is_quiet(tmp_path: Path) -> None:
    with pytest.raises(MidwatchError, match="no such state folder, so nothing was stopped"):
        stopping.stop(tmp_path / "mistyped", None, "local")
    assert not (tmp_path / "mistyped").exists()
