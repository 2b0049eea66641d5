"""Which features explain what happened to a model: those whose attributions moved, or why that is not known.

Figures are the evaluator's, asked of Prometheus; pages of models, canaries and fairness show them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

from midwatch import grafana, metrics, promql, signals
from midwatch.app.console import drawing
from midwatch.app.console.page import Context
from midwatch.app.console.queries import Answer, Question
from midwatch.app.judged_fairness import Names
from midwatch.metrics import Metric
from midwatch.promql import Expr
from midwatch.spec.model import Model

MOST_FEATURES = 8
"""Features of a table: those that moved most."""

INPUTS, USE = "inputs", "use"
BY = ("version", "question")

STATES = {1.0: ("good", "as before"), 0.0: ("unsure", "not known"), -1.0: ("bad", "changed")}
"""Class and words of each verdict."""

QUESTIONS = {INPUTS: "Have its inputs moved?", USE: "Does it use them otherwise than the version it replaces?"}


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature: its share of all attribution before and now with the interval of the change, and its signed mean.

    `spreads` is how far it moved, in spreads of the windows before; 0 where it did not.
    """

    name: str
    spreads: float
    before: float | None
    now: float | None
    low: float | None
    high: float | None
    mean_before: float | None
    mean_now: float | None


@dataclass(frozen=True, kw_only=True)
class Said:
    """What is said of a version in answer to one question; `words` say what follows, or why it is not known."""

    version: str
    question: str
    verdict: float
    words: str
    features: list[Feature]

    @property
    def state(self) -> tuple[str, str]:
        """Class and words of the verdict."""
        return STATES.get(self.verdict, STATES[0.0])

    @property
    def asks(self) -> str:
        """The question in words."""
        return QUESTIONS.get(self.question, self.question)

    @property
    def moved(self) -> list[Feature]:
        """Features that moved."""
        return [one for one in self.features if one.spreads > 0]


@dataclass(frozen=True, kw_only=True)
class Explained:
    """All that is said of a model; `why` says why there is nothing, `dashboard` is the page of Grafana."""

    said: list[Said]
    why: str
    dashboard: str = ""


def questions(model: Model) -> Iterator[tuple[str, Question]]:
    """What is asked of a model; nothing of one without explanations."""
    if model.explanations is None:
        return
    named = ("feature",)
    asked: dict[str, tuple[Metric, tuple[str, ...]]] = {
        "share": (metrics.ATTRIBUTION_SHARE, (*named, "side")),
        "mean": (metrics.ATTRIBUTION_MEAN, (*named, "side")),
        "change": (metrics.ATTRIBUTION_SHARE_CHANGE, (*named, "bound")),
        "moved": (metrics.ATTRIBUTION_MOVED, named),
        "windows": (metrics.ATTRIBUTION_WINDOWS, ()),
    }
    for name, (metric, by) in asked.items():
        yield _key(name), drawing.now(_latest(metric, model, *BY, *by))
    verdict = signals.series(metrics.ATTRIBUTION_VERDICT, {"model": model.name})
    yield _key("verdict"), drawing.now(promql.min_by(verdict, *BY))
    yield _key("explained"), drawing.now(_latest(metrics.ATTRIBUTION_EXPLAINED, model, "version"))
    yield _key("drifting"), drawing.now(_latest(metrics.DRIFT_DETECTED, model, "version"))


def _latest(metric: Metric, model: Model, *by: str) -> Expr:
    return promql.max_by(signals.series(metric, {"model": model.name}), *by)


def _key(name: str) -> str:
    """Name of an answer among those of a page."""
    return f"attribution {name}"


def explained(context: Context, model: Model, answers: Mapping[str, Answer]) -> Explained:
    """What the answers say: the versions whose attributions changed first."""
    if model.explanations is None:
        why = f"{model.name} has no explanations section, so that no attributions are counted"
        return Explained(said=[], why=f"Which features explain it is not known: {why}.")
    own = {name: answers[_key(name)] for name in _NAMES}
    verdicts = drawing.values(own["verdict"], *BY)
    said = [
        Said(
            version=version,
            question=question,
            verdict=verdict,
            words=_words(model, own, (version, question), verdict),
            features=_features(own, (version, question)),
        )
        for (version, question), verdict in verdicts.items()
    ]
    said.sort(key=lambda one: (one.verdict, one.version, one.question))
    why = own["verdict"].why or "nobody has judged its attributions; is midwatch evaluate serve running?"
    return Explained(
        said=said,
        why="" if said else f"Which features explain it is not known: {why}",
        dashboard=grafana.dashboard_url(context.platform, grafana.Page.EXPLANATIONS, model=model.name),
    )


_NAMES = ("share", "mean", "change", "moved", "windows", "verdict", "explained", "drifting")


def _features(own: Mapping[str, Answer], of: tuple[str, str]) -> list[Feature]:
    """Features of one comparison, those that moved most first, then by how much of the answers is theirs."""
    share, mean = (drawing.values(own[name], *BY, "feature", "side") for name in ("share", "mean"))
    change = drawing.values(own["change"], *BY, "feature", "bound")
    found = [
        Feature(
            name=feature,
            spreads=spreads,
            before=share.get((*of, feature, "before")),
            now=share.get((*of, feature, "now")),
            low=change.get((*of, feature, "low")),
            high=change.get((*of, feature, "high")),
            mean_before=mean.get((*of, feature, "before")),
            mean_now=mean.get((*of, feature, "now")),
        )
        for (*key, feature), spreads in drawing.values(own["moved"], *BY, "feature").items()
        if tuple(key) == of
    ]
    return sorted(found, key=lambda one: (-one.spreads, -(one.now or 0.0), one.name))[:MOST_FEATURES]


def _words(model: Model, own: Mapping[str, Answer], of: tuple[str, str], verdict: float) -> str:
    version, question = of
    if verdict == 0:
        return _unknown(own, of)
    if question == USE:
        return _OF_USE[verdict < 0]
    if model.drift is None:
        return _OF_INPUTS[verdict < 0]
    drifting = drawing.values(own["drifting"], "version").get((version,), -1.0)
    return _OF_DRIFT.get((verdict < 0, drifting), f"{_OF_INPUTS[verdict < 0]} Drift has not judged its last window.")


_OF_INPUTS = {True: "The model is the same, so its inputs moved.", False: "Its inputs do to its answers what they did."}
_OF_USE = {
    True: "On inputs that are as they were, it uses its features otherwise than the version that it replaces.",
    False: "It uses its features as the version that it replaces does.",
}
_OF_DRIFT = {
    (True, 1.0): "Its inputs moved, and drift says so, too: these features carry it into the answers.",
    (True, 0.0): "Its inputs moved, though drift sees none leave the reference: a dependence between features, or a "
    "feature that is not watched.",
    (False, 1.0): "Its inputs drifted, and its answers are made of its features as before.",
    (False, 0.0): "Its inputs do to its answers what they did, and drift sees no change of them.",
}


def _unknown(own: Mapping[str, Answer], of: tuple[str, str]) -> str:
    explained = drawing.values(own["explained"], "version").get((of[0],))
    windows = drawing.values(own["windows"], *BY).get(of)
    counted = f"{explained:,.0f} predictions of the last window were explained" if explained is not None else ""
    earlier = f"{windows:,.0f} windows before it have enough" if windows is not None else ""
    told = " and ".join(filter(None, (counted, earlier)))
    if of[1] == USE and windows is None:
        told = f"{told or 'too little is explained'}, or the inputs of the version before moved as well"
    return f"Not known: {told or 'too little is explained'}."


# Between groups -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """A feature's mean attribution in both groups, their difference, and half of its 95% interval.

    The interval is for all features at once (Bonferroni), and takes predictions for independent.
    """

    feature: str
    above: float
    below: float
    half: float

    @property
    def difference(self) -> float:
        """How much more it adds to the answers of the upper group."""
        return self.above - self.below

    @property
    def is_apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.difference) > self.half


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """A group's explained predictions, and sums of a feature over them: with its sign, and of squares."""

    count: float
    signed: float
    squares: float

    @property
    def mean(self) -> float:
        """Mean attribution."""
        return self.signed / self.count

    @property
    def variance_of_mean(self) -> float:
        """Variance of the mean, if predictions are independent."""
        return max(0.0, self.squares / self.count - self.mean**2) / self.count


def group_questions(context: Context, model: Model) -> Iterator[tuple[str, Question]]:
    """What is asked of attributions by group; nothing where they are not summed so."""
    if model.explanations is None or not model.explanations.by_group:
        return
    window = max(86_400.0, context.span)
    for name, (metric, by) in _BY_GROUP.items():
        increase = promql.increase(signals.series(metric, {"model": model.name}), window)
        yield _key(name), drawing.now(promql.sum_by(increase, *_OF_GROUP, *by))


_BY_GROUP: Mapping[str, tuple[Metric, tuple[str, ...]]] = {
    "group count": (metrics.GROUP_EXPLAINED, ()),
    "group added": (metrics.GROUP_ATTRIBUTION_ADDED, ("feature",)),
    "group taken": (metrics.GROUP_ATTRIBUTION_TAKEN, ("feature",)),
    "group squares": (metrics.GROUP_ATTRIBUTION_SQUARES, ("feature",)),
}


def between(
    answers: Mapping[str, Answer], names: Names, *, version: str, attribute: str, above: str, below: str
) -> list[Contribution]:
    """Features by how much more they add to the answers of one group than of another; nothing where nobody knows."""
    if _key("group count") not in answers:
        return []
    of = version, attribute
    counts = {
        names.of(group): count
        for (*key, group), count in drawing.values(answers[_key("group count")], *_OF_GROUP).items()
        if tuple(key) == of and count > 0
    }
    if above not in counts or below not in counts:
        return []
    sums = {name: _by_group(answers[_key(name)], names, of) for name in _BY_GROUP if name != "group count"}
    features = sorted({feature for (group, feature) in sums["group squares"] if group in (above, below)})

    def of_group(group: str, feature: str) -> _Sums:
        added, taken, squares = (own.get((group, feature), 0.0) for own in sums.values())
        return _Sums(count=counts[group], signed=added - taken, squares=squares)

    z = -NormalDist().inv_cdf(0.025 / max(1, len(features)))
    found = []
    for feature in features:
        one, other = of_group(above, feature), of_group(below, feature)
        half = z * math.sqrt(one.variance_of_mean + other.variance_of_mean)
        found.append(Contribution(feature=feature, above=one.mean, below=other.mean, half=half))
    return sorted(found, key=lambda one: (-abs(one.difference), one.feature))[:MOST_FEATURES]


_OF_GROUP = ("version", "attribute", "group")


def _by_group(answer: Answer, names: Names, of: tuple[str, str]) -> dict[tuple[str, str], float]:
    """Sums by group, by its name, and feature."""
    return {
        (names.of(group), feature): value
        for (*key, group, feature), value in drawing.values(answer, *_OF_GROUP, "feature").items()
        if tuple(key) == of
    }
