"""Whether a new version of a model helped: everything that is asked for the verdict, and the verdict as a document."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from midwatch.errors import InvalidInputError, Problem
from midwatch.spec.model import Model, Platform
from midwatch.spec.promotion import Promotion
from monitors.canary import ask
from monitors.canary.question import Question
from monitors.canary.series import Querier
from monitors.loop import better, rollback, traffic
from monitors.loop.better import Evaluation, Helped, Verdict
from monitors.loop.rollback import Command


def model_of(platform: Platform, name: str) -> Model:
    """A model of the platform file; InvalidInputError when there is none of that name."""
    named = {one.name: one for one in platform.models}
    if name not in named:
        known = ", ".join(named) or "none"
        raise InvalidInputError(
            [Problem(file="MODEL", message=f"there is no model {name!r}", remedy=f"known: {known}")]
        )
    return named[name]


def judged(
    querier: Querier | None,
    platform: Platform,
    model: Model,
    *,
    old: str,
    new: str,
    start: float | None = None,
    end: float | None = None,
    evaluation: Evaluation | None = None,
) -> Helped:
    """The verdict on `new` against `old`, versions as servers call them.

    Traffic is compared where there is a Prometheus to ask, since `start` (the new version's first traffic, without it)
    until `end`, both in seconds since the epoch. What cannot be asked is not yet known, and no error.
    """
    question = Question(
        model=model.name, baseline=old, canary=new, start=start, end=end, served=ask.served_by(platform, model.name)
    )
    settings = (model.promotion or Promotion()).better
    return better.compare(
        model.name,
        old,
        new,
        settings,
        evaluation=evaluation,
        traffic=None
        if querier is None
        else lambda alpha: traffic.compared(querier, platform, model, question, alpha, clock=time.time()),
        drift_goes_on=None if querier is None else traffic.drift_goes_on(querier, model.name, new),
    )


def recommended(helped: Helped, platform: Platform, model: Model, file: Path) -> list[Command]:
    """How to go back, when the new version is worse."""
    if helped.verdict is not Verdict.WORSE:
        return []
    return rollback.commands(platform, model, old=helped.old, new=helped.new, file=file)


def document(helped: Helped, back: Sequence[Command]) -> dict[str, Any]:
    """A verdict as JSON: what was compared, what follows, and the commands of a rollback that is recommended."""
    return {
        "model": helped.model,
        "old": helped.old,
        "new": helped.new,
        "verdict": helped.verdict.value,
        "reason": helped.reason,
        "reading": helped.reading,
        "drift_is_upstream": helped.is_upstream,
        "rows_needed": helped.needed,
        "comparisons": [asdict(one) for one in helped.comparisons],
        "notes": list(helped.notes),
        "rollback": [asdict(one) for one in back],
    }
