"""A grid of states: a row for each series, a cell for each time."""

from __future__ import annotations

from dashboards.preview.answers import Answer
from dashboards.preview.drawings import Strips
from dashboards.preview.kinds import state_timeline


def draw(answer: Answer) -> Strips:
    """The grid."""
    return state_timeline.strips(answer, is_merged=False)
