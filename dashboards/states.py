"""States that several pages show: the text, sign and colour of a budget, and of a verdict of drift."""

from __future__ import annotations

from dashboards import style
from dashboards.style import State

AT_RISK = 0.25
"""Share of the error budget below which it is marked: a quarter left (SRE Workbook, chapter 4, on budget policies)."""

BUDGET = [
    State(text="▼ breached", color=style.BAD, high=0.0),
    State(text="◆ at risk", color=style.WATCH, low=0.0, high=AT_RISK),
    State(text="● met", color=style.GOOD, low=AT_RISK),
]

DRIFT_VERDICTS = [
    State(text="● stable", color=style.GOOD, value=0),
    State(text="▲ drift", color=style.BAD, value=1),
]
