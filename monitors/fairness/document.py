"""Findings as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from monitors.canary.times import moment
from monitors.fairness.fetch import Window
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Pair


def document(findings: Sequence[Finding], window: Window, queries: Sequence[str]) -> dict[str, Any]:
    """All findings of one window, and the queries that gave them."""
    return {
        "start": moment(window.start),
        "end": moment(window.end),
        "block_seconds": window.block,
        "findings": [_finding(one) for one in findings],
        "queries": list(queries),
    }


def _finding(one: Finding) -> dict[str, Any]:
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
        "worst": None if said.worst is None else _pair(said.worst),
        "groups": [
            {"group": rate.group, "events": rate.events, "rate": rate.rate, "interval": list(rate.interval)}
            for rate in said.rates
        ],
        "left_out": list(said.left_out),
        "rows_needed": said.rows_needed,
        "labelled": dict(one.labelled),
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "above": pair.above,
        "below": pair.below,
        "stratum": pair.stratum or None,
        "difference": pair.difference,
        "difference_interval": list(pair.difference_interval),
        "ratio": _finite(pair.ratio),
        "ratio_interval": [_finite(end) for end in pair.ratio_interval],
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
