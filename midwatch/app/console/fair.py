"""The promises of fairness of a model as the evaluator judged them last, asked of Prometheus.

What nobody has judged is not known: a promise of the platform file is listed also when there is nothing of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from midwatch.app import judged_fairness
from midwatch.app.console import drawing
from midwatch.app.console.queries import Answer, Question
from midwatch.app.judged_fairness import Judged, Names
from midwatch.prometheus import Sample
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


def questions_of_all() -> Iterator[tuple[str, Question]]:
    """What is asked of all models at once: everything but the rates of groups."""
    for name, expr in judged_fairness.expressions().items():
        if name != judged_fairness.RATES:
            yield _key(name), drawing.now(expr)


def _key(name: str) -> str:
    """Name of an answer among those of a page."""
    return f"fairness {name}"


def judged(model: Model, answers: Mapping[str, Answer], known: Names) -> list[Judged]:
    """Every rate that was judged, and promises of which nothing was; the worst first."""
    return judged_each([model], answers, known)[model.name]


def judged_each(models: Iterable[Model], answers: Mapping[str, Answer], known: Names) -> dict[str, list[Judged]]:
    """The same of some models, by name."""
    mark = _key("")
    own: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for name, answer in answers.items():
        for sample in answer.samples if name.startswith(mark) else ():
            own[sample.labels.get("model", "")][name.removeprefix(mark)].append(sample)
    return {model.name: _judged(model, own[model.name], known) for model in models}


def _judged(model: Model, samples: Mapping[str, Sequence[Sample]], known: Names) -> list[Judged]:
    if not model.fairness:
        return []
    found = judged_fairness.read({judged_fairness.VERDICT: (), **samples}, known)
    said = {(one.attribute, one.measure, one.limit) for one in found}
    found += [_nothing(model, promise) for promise in model.fairness if promise.key not in said]
    return sorted(found, key=judged_fairness.worst_first)


def _nothing(model: Model, promise: Fairness) -> Judged:
    attribute, measure, limit = promise.key
    return Judged(
        model=model.name, version="", attribute=attribute, measure=measure, rate="", limit=limit, verdict=None
    )
