"""What caused a stretch of harm: what somebody confirmed, else what changed before it, with its probability.

The changes and their ranking are `midwatch explain`'s, asked for the time at which the stretch began. Below an even
chance no change is named: "not clear" is an answer, and so is "none of the changes that are known".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from midwatch.app.incident import explain
from midwatch.app.report.records import Harm
from midwatch.errors import MidwatchError

WITHIN_SECONDS = 10.0
"""A report may wait longer than somebody at three in the morning."""
LEAST = 0.5
MOST = 5
"""Stretches that are asked about: those that spent most."""
NOTICED_SECONDS = 600.0
"""An alert on a stretch fires about so long after its begin."""

NOT_CLEAR, NONE, NOTHING = "not clear", "none of the changes that are known", "no change is known of that time"


def of_harms(sources: explain.Sources | None, harms: Sequence[Harm], now: float) -> list[Harm]:
    """Stretches of harm with their causes, as far as they can be told; `harms` are ordered by what they spent."""
    if sources is None:
        return list(harms)
    models = {one.name for one in sources.platform.models}
    patient = replace(sources, within=WITHIN_SECONDS)
    return [
        replace(harm, cause=_cause(patient, harm, now)) if place < MOST and harm.subject in models else harm
        for place, harm in enumerate(harms)
    ]


def _cause(sources: explain.Sources, harm: Harm, now: float) -> str:
    """The cause in words; empty where nobody could be asked."""
    at = min(harm.start + NOTICED_SECONDS, harm.end)
    try:
        incident = explain.of_model(sources, harm.subject, {}, at, now)
    except MidwatchError:
        return ""
    if not incident.suspects:
        return ""
    first = incident.suspects[0]
    if first.change is None and len(incident.suspects) == 1 and not incident.rejected:
        return NOTHING
    if first.probability < LEAST:
        return NOT_CLEAR
    what = NONE if first.change is None else first.change.what
    return f"{what} ({first.probability:.0%})"
