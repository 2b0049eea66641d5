"""One question, one judgement: what Prometheus cannot answer is inconclusive, with its reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import promql_parser

from midwatch import serving
from midwatch.errors import InvalidInputError, Problem
from midwatch.prometheus import QueryError
from midwatch.serving import Profile
from midwatch.spec import canary as spec
from midwatch.spec import model as platform_spec
from monitors.canary import fetch, judge
from monitors.canary.counts import Counts, Doubt
from monitors.canary.expressions import Expressions
from monitors.canary.finished import NOTHING, Finished
from monitors.canary.judge import Judgement
from monitors.canary.question import Question
from monitors.canary.series import Querier


def settings_of(platform: platform_spec.Platform, model: str) -> tuple[spec.Canary, float]:
    """Canary section of a model, and the interval of its looks in seconds; InvalidInputError when there is none."""
    named = {one.name: one for one in platform.models}.get(model)
    if named is None or named.canary is None:
        known = ", ".join(one.name for one in platform.models if one.canary) or "none"
        what = "there is no model" if named is None else "no canary section for model"
        raise InvalidInputError([Problem(file="--model", message=f"{what} {model!r}", remedy=f"known: {known}")])
    return named.canary, named.canary.interval or platform.prometheus.scrape_interval


def ensure_two_arms(question: Question, settings: spec.Canary) -> None:
    """InvalidInputError when both arms are the same series: what is compared with itself is always equal."""
    baseline, canary = Expressions(question, settings).matchers()
    if _series(baseline) == _series(canary):
        message = f"{question.baseline!r} and {question.canary!r} select the same series: {{{canary}}}"
        raise InvalidInputError(
            [Problem(file="--canary", message=message, remedy="name two versions, or mend the selectors")]
        )


def _series(matchers: str) -> list[str]:
    """Matchers as a sorted list, however they were written; as they stand when they are none of PromQL."""
    try:
        parsed: Any = promql_parser.parse(f"x{{{matchers}}}")
    except ValueError:
        return [matchers]
    return sorted(f"{one.name} {one.op} {one.value}" for one in parsed.matchers.matchers)


def placed(question: Question, platform: platform_spec.Platform, region: str | None) -> Question:
    """The question for one region: that of the plane, or at the view the one that is named.

    InvalidInputError for another one, and for none at the view: versions of two regions have two kinds of traffic.
    """
    regions = platform.regions
    if regions is None and region is None:
        return question
    if regions is None:
        message = f"there is no region {region!r}: the platform file has no regions"
        raise InvalidInputError([Problem(file="--region", message=message, remedy="leave it out")])
    known = sorted(regions.planes) if regions.is_view else [regions.here]
    wanted = region or (None if platform.is_view else regions.here)
    if wanted not in known:
        message = "missing: the view has the series of all regions" if region is None else f"not {region!r} here"
        remedy = f"one of {', '.join(map(str, known))}"
        raise InvalidInputError([Problem(file="--region", message=message, remedy=remedy)])
    return replace(question, region=wanted, is_labelled=platform.is_view)


def served_by(platform: platform_spec.Platform, model: str) -> Profile | None:
    """The counters of a model's server, None where Midwatch's own are compared."""
    named = next((one for one in platform.models if one.name == model), None)
    if named is None or named.canary is None or named.canary.source != "servers" or named.serving == "midwatch":
        return None
    return serving.profile_of(named)


def ask(
    querier: Querier,
    question: Question,
    settings: spec.Canary,
    *,
    interval: float,
    two_sided: bool = False,
    finished: Finished = NOTHING,
    clock: float | None = None,
) -> tuple[Counts, Judgement]:
    """Counts and judgement of a question; `finished` has what earlier looks at the same analysis computed.

    With our `clock` (seconds since the epoch) a Prometheus that is behind decides nothing.
    """
    try:
        counts = fetch.fetch(querier, question, settings, interval=interval, clock=clock)
    except QueryError as error:
        counts = unanswered(question, interval, str(error))
    return counts, judge.judge(counts, settings, two_sided=two_sided, finished=finished)


def unanswered(question: Question, interval: float, why: str) -> Counts:
    """Counts of a question that has no answer."""
    import numpy as np

    return Counts(
        model=question.model,
        baseline=question.baseline,
        canary=question.canary,
        start=question.start or 0.0,
        interval=interval,
        baseline_requests=np.zeros(0, dtype=np.int64),
        canary_requests=np.zeros(0, dtype=np.int64),
        doubts=(Doubt(text=why, fatal=True),),
    )
