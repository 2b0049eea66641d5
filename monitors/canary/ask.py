"""One question, one judgement: what Prometheus cannot answer is inconclusive, with its reason."""

from __future__ import annotations

from midwatch import serving
from midwatch.errors import InvalidInputError, Problem
from midwatch.prometheus import QueryError
from midwatch.serving import Profile
from midwatch.spec import canary as spec
from midwatch.spec import model as platform_spec
from monitors.canary import fetch, judge
from monitors.canary.counts import Counts, Doubt
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


def served_by(platform: platform_spec.Platform, model: str) -> Profile | None:
    """The counters of a model's server, None where Midwatch's own are compared."""
    named = next((one for one in platform.models if one.name == model), None)
    if named is None or named.canary is None or named.canary.source != "servers" or named.serving == "midwatch":
        return None
    return serving.profile_of(named)


def ask(
    querier: Querier, question: Question, settings: spec.Canary, *, interval: float, two_sided: bool = False
) -> tuple[Counts, Judgement]:
    """Counts and judgement of a question."""
    try:
        counts = fetch.fetch(querier, question, settings, interval=interval)
    except QueryError as error:
        counts = unanswered(question, interval, str(error))
    return counts, judge.judge(counts, settings, two_sided=two_sided)


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
