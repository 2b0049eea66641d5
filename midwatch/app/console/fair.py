"""The promises of fairness of a model as the evaluator judged them last, asked of Prometheus.

What nobody has judged is not known: a promise of the platform file is listed also when there is nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from midwatch.app import judged_fairness
from midwatch.app.console import drawing
from midwatch.app.console.queries import Answer, Question
from midwatch.app.judged_fairness import Judged, Names
from midwatch.spec.fairness import Fairness
from midwatch.spec.model import Model

STATES = {1.0: ("good", "shown fair"), 0.0: ("unsure", "not known yet"), -1.0: ("bad", "shown unfair")}
"""Class and words of each verdict since counting began."""
LATELY = ("bad", "unfair lately")
NOT_JUDGED = ("unsure", "not judged")
NOT_NOW = ("unsure", "shown fair then")


def state(one: Judged, *, is_old: bool) -> tuple[str, str]:
    """Class and words of the verdict since counting began; what was fair need not be now."""
    if one.verdict is None:
        return NOT_JUDGED
    if one.verdict > 0 and is_old:
        return NOT_NOW
    return STATES.get(one.verdict, STATES[0.0])


def questions(model: Model) -> Iterator[tuple[str, Question]]:
    """What is asked of a model's promises."""
    if model.fairness:
        for name, expr in judged_fairness.expressions(model=model.name).items():
            yield _key(name), drawing.now(expr)


def state_questions(model: Model) -> Iterator[tuple[str, Question]]:
    """What is asked for the verdicts alone."""
    for name, question in questions(model):
        if name in (_key(judged_fairness.VERDICT), _key(judged_fairness.LATELY)):
            yield name, question


def _key(name: str) -> str:
    """Name of an answer among those of a page."""
    return f"fairness {name}"


def judged(model: Model, answers: Mapping[str, Answer], known: Names) -> list[Judged]:
    """Every rate that was judged, and promises of which nothing was; the worst first."""
    if not model.fairness:
        return []
    mark = _key("")
    own = {name.removeprefix(mark): answer.samples for name, answer in answers.items() if name.startswith(mark)}
    found = judged_fairness.read(own, known)
    said = {(one.attribute, one.measure, one.limit) for one in found}
    found += [_nothing(model, promise) for promise in model.fairness if promise.key not in said]
    return sorted(found, key=judged_fairness.worst_first)


def _nothing(model: Model, promise: Fairness) -> Judged:
    attribute, measure, limit = promise.key
    return Judged(
        model=model.name, version="", attribute=attribute, measure=measure, rate="", limit=limit, verdict=None
    )
