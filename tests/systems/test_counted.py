"""`<counted X over W>` sees the birth of a counter at 1, and takes nothing else for one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from alerts.proofs import case
from midwatch.spec.placeholders import PlaceholderError, filled, names
from tests.conftest import need_program

EXPR = filled("sum(<counted failures_total over 10m>) > 0", {"job": "a"})
RULE = {"alert": "Failed", "expr": EXPR, "labels": {"severity": "ticket"}}
UP, FAILURES = 'up{job="a", instance="a:1"}', 'failures_total{job="a", instance="a:1", app="x"}'

SERIES: dict[str, tuple[Mapping[str, str], list[float], list[float]]] = {
    "the first failure": ({UP: "1x160", FAILURES: "_x60 1x100"}, [960.0, 1400.0], [840.0, 1800.0]),
    "another failure": ({UP: "1x160", FAILURES: "3x60 4x100"}, [960.0], [840.0, 1800.0]),
    "a failure after a restart that removed the series": (
        {UP: "1x200", FAILURES: "3x40 _x80 1x80"},
        [1860.0],
        [600.0, 1500.0],
    ),
    "old failures after a gap in what was scraped": (
        {UP: "1x40 _x80 1x80", FAILURES: "3x40 _x80 3x80"},
        [],
        [600.0, 900.0, 1830.0, 2100.0, 2400.0, 2700.0],
    ),
    "old failures at the first scrape of all": (
        {UP: "_x40 1x120", FAILURES: "_x40 3x120"},
        [],
        [630.0, 900.0, 1215.0, 1800.0],
    ),
}


@pytest.mark.parametrize("what", SERIES)
def test_a_birth_counts_and_a_gap_does_not(what: str) -> None:
    need_program("promtool")
    series, fires_at, silent_at = SERIES[what]
    one = case.Case(
        series=series,
        interval=15.0,
        evaluation=15.0,
        alert="Failed",
        severity="ticket",
        fires_at=fires_at,
        silent_at=silent_at,
    )
    failed, said = case.failures({"name": "g", "rules": [RULE]}, [one])
    assert not failed, said


def test_placeholders_inside_it_are_filled() -> None:
    text = 'sum(<counted x_total{a=~"<pattern>"} over <wait>>)'
    assert names(text) == {"pattern", "wait", "job"}
    assert 'x_total{a=~"b\\\\.c"}' in filled(text, {"pattern": "b\\.c", "wait": "5m", "job": "j"}, quoted=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<other>", "<other> is no setting"),
        ("<name + 5m>", "cannot be computed"),
        ("<name:seconds>", "only a duration"),
    ],
)
def test_what_cannot_be_filled_is_said(text: str, message: str) -> None:
    with pytest.raises(PlaceholderError, match=message):
        filled(text, {"name": "value"})
