"""Series that proofs are made of: they are found by one selector, and not by another."""

from __future__ import annotations

import pytest

from alerts import expressions
from alerts.expressions import Selector
from alerts.proofs import series


def selector(text: str) -> Selector:
    """The one selector of an expression."""
    (found,) = expressions.selectors(expressions.parse(text))
    return found


@pytest.mark.parametrize(
    ("whole", "part", "made"),
    [
        ('ends{reason=~"Aborted|Completed"}', 'ends{reason="Aborted"}', 'ends{reason="Completed"}'),
        ('ends{reason=~"Completed|Aborted"}', 'ends{reason=~"Aborted|Error"}', 'ends{reason="Completed"}'),
        ("ends", 'ends{outcome!="success"}', 'ends{outcome="success"}'),
        ("ends", 'ends{outcome!~"done|success"}', 'ends{outcome="done"}'),
    ],
    ids=["of-two-reasons", "of-patterns-that-overlap", "of-all-but-one", "of-all-but-a-pattern"],
)
def test_a_series_of_the_whole_that_is_not_of_the_part_is_found(whole: str, part: str, made: str) -> None:
    assert series.instance(selector(whole), unlike=selector(part)) == made


def test_a_part_that_is_the_whole_leaves_no_other_series() -> None:
    with pytest.raises(series.NoInstanceError, match="every series of ends"):
        series.instance(selector('ends{reason="Aborted"}'), unlike=selector('ends{reason="Aborted"}'))
