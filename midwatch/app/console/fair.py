"""The promises of fairness of a model as the evaluator judged them last, asked of Prometheus.

What nobody has judged is not known: a promise of the platform file is listed also when there is nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from midwatch import keyed_hash, metrics, promql, signals
from midwatch.app.console import drawing
from midwatch.app.console.page import Context
from midwatch.app.console.queries import Answer, Question
from midwatch.errors import MidwatchError
from midwatch.html.intervals import Interval
from midwatch.metrics import FAIRNESS_PROMISE, Metric
from midwatch.platform_files import base_folder
from midwatch.spec.fairness import CROSS, Fairness
from midwatch.spec.model import Model

BY = FAIRNESS_PROMISE[1:]
"""What tells the judged rates of a model apart: version, attribute, measure, rate, limit."""

STATES = {1.0: ("good", "shown fair"), 0.0: ("unsure", "not known yet"), -1.0: ("bad", "shown unfair")}
"""Class and words of each verdict since counting began."""
LATELY = ("bad", "unfair lately")
NOT_JUDGED = ("unsure", "not judged")
NOT_NOW = ("unsure", "shown fair then")

Ends = tuple[float, float, float]
"""Low end, estimate and high end."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names of hashed groups, and why there are none."""

    by_hash: Mapping[str, str] = field(default_factory=dict)
    why: str = ""

    def of(self, group: str) -> str:
        """A group by its name where that is known, each part of an intersection by its own."""
        return CROSS.join(self.by_hash.get(part, part) for part in group.split(CROSS))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A rate of a promise as it was judged of a version; `verdict` is None where nobody judged the promise.

    `difference` and `ratio` are the worst pair's: of `above` and `below`, within `stratum` if there are several.
    """

    version: str
    attribute: str
    measure: str
    rate: str
    limit: str
    verdict: float | None
    is_lately: bool = False
    promised: float | None = None
    above: str = ""
    below: str = ""
    stratum: str = ""
    difference: Ends | None = None
    ratio: Ends | None = None
    rows_needed: float | None = None
    unlabelled: float | None = None
    smallest: float | None = None
    groups: tuple[Interval, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it apart."""
        return self.version, self.attribute, self.measure, self.rate, self.limit

    @property
    def is_of_ratio(self) -> bool:
        """Whether its limit is a ratio."""
        return self.limit.startswith("ratio")

    @property
    def gap(self) -> Ends | None:
        """The worst pair's gap, as its limit measures it."""
        return self.ratio if self.is_of_ratio else self.difference

    def state(self, *, is_old: bool) -> tuple[str, str]:
        """Class and words of the verdict since counting began; what was fair need not be now."""
        if self.verdict is None:
            return NOT_JUDGED
        if self.verdict > 0 and is_old:
            return NOT_NOW
        return STATES.get(self.verdict, STATES[0.0])

    @property
    def is_unfair(self) -> bool:
        """Whether it is shown broken, since counting began or lately."""
        return self.is_lately or (self.verdict is not None and self.verdict < 0)

    @property
    def is_fair(self) -> bool:
        """Whether it is shown kept, and nothing says otherwise lately."""
        return self.verdict is not None and self.verdict > 0 and not self.is_lately


def names(context: Context) -> Names:
    """Names of hashed groups, from the key's file and what promises list; or why it cannot be read."""
    personal = context.platform.exporter.personal
    values = [value for model in context.platform.models for promise in model.fairness for value in promise.values]
    if personal.key_file is None or not values:
        return Names()
    try:
        key = keyed_hash.read_key(base_folder(context.file) / personal.key_file)
    except MidwatchError:
        return Names(why="Groups are shown by their hashes: this console cannot read the key's file.")
    return Names(by_hash={keyed_hash.digest(value, key): value for value in values})


def questions(model: Model) -> Iterator[tuple[str, Question]]:
    """What is asked of a model's promises."""
    if not model.fairness:
        return
    where = {"model": model.name}
    asked: dict[str, tuple[Metric, tuple[str, ...]]] = {
        "lately": (metrics.FAIRNESS_BECAME_UNFAIR, ()),
        "promised": (metrics.FAIRNESS_LIMIT, ()),
        "pair": (metrics.FAIRNESS_WORST_PAIR, ("above", "below", "stratum")),
        "difference": (metrics.FAIRNESS_DIFFERENCE, ("bound",)),
        "ratio": (metrics.FAIRNESS_RATIO, ("bound",)),
        "rows": (metrics.FAIRNESS_ROWS_NEEDED, ()),
        "unlabelled": (metrics.FAIRNESS_UNLABELLED, ()),
        "smallest": (metrics.FAIRNESS_SMALLEST_GROUP, ()),
        "rates": (metrics.FAIRNESS_GROUP_RATE, ("group", "bound")),
    }
    for name, (metric, by) in asked.items():
        yield _key(name), drawing.now(promql.max_by(signals.series(metric, where), *BY, *by))
    yield _key("verdict"), drawing.now(promql.min_by(signals.series(metrics.FAIRNESS_VERDICT, where), *BY))


def state_questions(model: Model) -> Iterator[tuple[str, Question]]:
    """What is asked for the verdicts alone."""
    for name, question in questions(model):
        if name in (_key("verdict"), _key("lately")):
            yield name, question


def _key(name: str) -> str:
    """Name of an answer among those of a page."""
    return f"fairness {name}"


def judged(model: Model, answers: Mapping[str, Answer], known: Names) -> list[Judged]:
    """Every rate that was judged, and promises of which nothing was; the worst first."""
    if not model.fairness:
        return []
    mark = _key("")
    own = {name.removeprefix(mark): answer for name, answer in answers.items() if name.startswith(mark)}
    read = _Read(own, known)
    found = [read.judged(key, verdict) for key, verdict in read.by_promise("verdict").items()]
    said = {(one.attribute, one.measure, one.limit) for one in found}
    found += [_nothing(promise) for promise in model.fairness if promise.key not in said]
    return sorted(found, key=lambda one: (not one.is_unfair, one.is_fair, one.key))


def _nothing(promise: Fairness) -> Judged:
    attribute, measure, limit = promise.key
    return Judged(version="", attribute=attribute, measure=measure, rate="", limit=limit, verdict=None)


class _Read:
    """Answers by promise."""

    def __init__(self, answers: Mapping[str, Answer], known: Names) -> None:
        self._answers, self._names = answers, known

    def by_promise(self, name: str) -> dict[tuple[str, ...], float]:
        """A value of each promise; nothing where it was not asked for."""
        return drawing.values(self._answers[name], *BY) if name in self._answers else {}

    def _ends(self, name: str, key: tuple[str, ...]) -> Ends | None:
        if name not in self._answers:
            return None
        told = _with_ends(self._answers[name], *BY)
        return told.get(key)

    def judged(self, key: tuple[str, ...], verdict: float) -> Judged:
        above, below, stratum = self._pair(key)
        version, attribute, measure, rate, limit = key
        return Judged(
            version=version,
            attribute=attribute,
            measure=measure,
            rate=rate,
            limit=limit,
            verdict=verdict,
            is_lately=self.by_promise("lately").get(key) == 1,
            promised=self.by_promise("promised").get(key),
            above=above,
            below=below,
            stratum=stratum,
            difference=self._ends("difference", key),
            ratio=self._ends("ratio", key),
            rows_needed=self.by_promise("rows").get(key),
            unlabelled=self.by_promise("unlabelled").get(key),
            smallest=self.by_promise("smallest").get(key),
            groups=self._groups(key),
        )

    def _pair(self, key: tuple[str, ...]) -> tuple[str, str, str]:
        if "pair" not in self._answers:
            return "", "", ""
        told = drawing.values(self._answers["pair"], *BY, "above", "below", "stratum")
        named = [self._names.of(one) for one in next((one[-3:] for one in told if one[:-3] == key), ("", "", ""))]
        return named[0], named[1], named[2]

    def _groups(self, key: tuple[str, ...]) -> tuple[Interval, ...]:
        if "rates" not in self._answers:
            return ()
        told = _with_ends(self._answers["rates"], *BY, "group")
        found = [
            Interval(name=self._names.of(group), low=low, estimate=estimate, high=high)
            for (*of, group), (low, estimate, high) in told.items()
            if tuple(of) == key
        ]
        return tuple(sorted(found, key=lambda one: (one.estimate, one.name)))


def _with_ends(answer: Answer, *by: str) -> dict[tuple[str, ...], Ends]:
    """Low end, estimate and high end by some labels; what has no estimate is left out, a missing end is open."""
    told: dict[tuple[str, ...], dict[str, float]] = {}
    for sample in answer.samples:
        key = tuple(sample.labels.get(name, "") for name in by)
        told.setdefault(key, {})[sample.labels.get("bound", "")] = sample.value
    return {
        key: (ends.get("low", -math.inf), ends["estimate"], ends.get("high", math.inf))
        for key, ends in told.items()
        if "estimate" in ends
    }
