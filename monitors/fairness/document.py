"""Findings as JSON."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from midwatch.spec.fairness import BY_SCORE
from monitors.canary.times import moment
from monitors.fairness import measures, small_cells
from monitors.fairness.fetch import Window
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Pair, Rate, Smallest

SHOWN_DIGITS = 2
"""Digits of the rate of a group whose number is hidden."""


def document(findings: Sequence[Finding], window: Window, queries: Sequence[str]) -> dict[str, Any]:
    """All findings of one window, and the queries that gave them."""
    hidden = small_cells.hidden_together((one.people, one.judgement.events) for one in findings)
    return {
        "start": moment(window.start),
        "end": moment(window.end),
        "block_seconds": window.block,
        "findings": [_finding(one, hidden[one.people]) for one in findings],
        "queries": list(queries),
    }


def _finding(one: Finding, hidden: Container[str]) -> dict[str, Any]:
    said, promise = one.judgement, one.promise
    limit = {"difference": promise.difference} if promise.difference is not None else {"ratio": promise.ratio}
    return {
        "model": one.model,
        "version": one.version,
        "attribute": promise.compared,
        "measure": promise.measure,
        "rate": one.rate,
        "limit": {name: float(value or 0) for name, value in limit.items()},
        "verdict": said.verdict.value,
        "became_unfair": said.became_unfair,
        "reason": one.reason,
        "worst": None if said.worst is None else _pair(said.worst, hidden),
        "measured": _measured(one, hidden),
        "groups": [_rate(rate, is_hidden=rate.group in hidden) for rate in said.rates],
        "left_out": list(said.left_out),
        "smallest": None if said.smallest is None else _smallest(said.smallest, hidden),
        "rows_needed": said.rows_needed,
        "without_group": one.ungrouped.share,
        "labelled": {group: share for group, share in one.labelled.items() if group not in hidden},
        "calibration_errors": {group: error for group, error in one.calibration_errors.items() if group not in hidden},
        "error_bound": promise.error_bound,
    }


def _measured(one: Finding, hidden: Container[str]) -> dict[str, float | None]:
    """Difference and ratio of the highest and lowest rate of the judged groups, as fairlearn has them."""
    rates = np.array([rate.rate for rate in one.judgement.rates])
    if any(rate.group in hidden for rate in one.judgement.rates):
        rates = rates.round(SHOWN_DIGITS)
    has_ratio = one.promise.measure not in BY_SCORE
    return {
        "difference": _finite(measures.difference(rates)),
        "ratio": _finite(measures.ratio(rates)) if has_ratio else None,
    }


def _rate(rate: Rate, *, is_hidden: bool) -> dict[str, Any]:
    """A group's rate; of one whose number is hidden only as much as does not give it away."""
    if is_hidden:
        return {"group": rate.group, "events": None, "rate": round(rate.rate, SHOWN_DIGITS), "interval": None}
    return {"group": rate.group, "events": rate.events, "rate": rate.rate, "interval": list(rate.interval)}


def _smallest(cell: Smallest, hidden: Container[str]) -> dict[str, Any]:
    """The smallest cell; its events are null where they are too few to be shown."""
    is_hidden = cell.group in hidden or 0 < cell.events < small_cells.LEAST
    return {"group": cell.group, "stratum": cell.stratum or None, "events": None if is_hidden else cell.events}


def _pair(pair: Pair, hidden: Container[str]) -> dict[str, Any]:
    """The worst pair; of groups whose number is hidden only as much as does not give it away."""
    names = {"above": pair.above, "below": pair.below, "stratum": pair.stratum or None}
    if small_cells.gives_away(pair.fewest, (pair.above, pair.below), hidden):
        is_shown = pair.fewest >= small_cells.LEAST
        return {
            **names,
            "difference": round(pair.difference, SHOWN_DIGITS) if is_shown else None,
            "difference_interval": None,
            "ratio": round(pair.ratio, SHOWN_DIGITS) if is_shown and math.isfinite(pair.ratio) else None,
            "ratio_interval": None,
        }
    return {
        **names,
        "difference": pair.difference,
        "difference_interval": list(pair.difference_interval),
        "ratio": _finite(pair.ratio),
        "ratio_interval": [_finite(end) for end in pair.ratio_interval],
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
