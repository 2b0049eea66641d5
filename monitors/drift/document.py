"""A verdict as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitors.drift.verdict import Finding, Judgement


def document(judgement: Judgement, not_compared: Mapping[str, str]) -> dict[str, Any]:
    """Everything that was found, and the columns that were not compared with the reason."""
    return {
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "votes": judgement.votes,
        "quorum": judgement.quorum,
        "votes_needed": judgement.needed,
        "samples": judgement.samples,
        "alpha": judgement.alpha,
        "findings": [_entry(finding) for finding in judgement.findings],
        "kinds": [_entry(finding) for finding in judgement.quality],
        "not_judged": [
            {"feature": one.feature, "why": one.why, "method": one.method, "smallest": one.smallest, "rows": one.rows}
            for one in judgement.not_judged
        ],
        "not_compared": dict(not_compared),
    }


def _entry(finding: Finding) -> dict[str, Any]:
    result = finding.result
    return {
        "feature": finding.feature,
        "method": finding.method,
        "statistic": result.statistic,
        "p_value": result.p_value,
        "effect": result.effect,
        "floor": finding.floor,
        "smallest_seen": finding.smallest,
        "votes": finding.votes,
        "direction": finding.direction,
        "reference_size": result.reference_size,
        "window_size": result.window_size,
    }
