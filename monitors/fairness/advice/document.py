"""Proposals as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from monitors.canary.times import moment
from monitors.fairness.advice.advise import Advice
from monitors.fairness.advice.effect import Effect
from monitors.fairness.advice.proposal import Proposal
from monitors.fairness.fetch import Window


def document(advice: Sequence[Advice], window: Window) -> dict[str, Any]:
    """What is proposed from one window's counts."""
    return {
        "start": moment(window.start),
        "end": moment(window.end),
        "promises": [_promise(one) for one in advice],
    }


def _promise(one: Advice) -> dict[str, Any]:
    first = one.findings[0]
    return {
        "model": first.model,
        "version": first.version,
        "attribute": first.promise.compared,
        "measure": first.promise.measure,
        "limit": first.promise.limit_text,
        "findings": [
            {
                "rate": finding.rate,
                "verdict": finding.judgement.verdict.value,
                "became_unfair": finding.judgement.became_unfair,
                "reason": finding.reason,
            }
            for finding in one.findings
        ],
        "proposals": [_proposal(proposal) for proposal in one.proposals],
    }


def _proposal(one: Proposal) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "fits": one.fits,
        "why": one.why,
        "steps": list(one.steps),
        "effects": [_effect(effect) for effect in one.effects],
        "notes": list(one.notes),
    }


def _effect(one: Effect) -> dict[str, Any]:
    return {
        "what": one.what,
        "now": _finite(one.now),
        "expected": _finite(one.expected),
        "interval": [_finite(end) for end in one.interval],
        "events": one.events,
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
