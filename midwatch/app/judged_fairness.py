"""What the evaluator says of promises of fairness, read from its metrics: verdicts, worst pairs, groups by name.

The console shows it as it is, the report of a month as it was; both ask Prometheus in their own way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from midwatch import keyed_hash, metrics, promql
from midwatch.errors import MidwatchError
from midwatch.html import numbers
from midwatch.html.charts import Rule
from midwatch.html.intervals import Interval, Intervals
from midwatch.metrics import FAIRNESS_PROMISE, Metric
from midwatch.platform_files import base_folder
from midwatch.prometheus import Sample
from midwatch.promql import Expr
from midwatch.spec.fairness import CROSS
from midwatch.spec.model import Platform

Key = tuple[str, ...]
"""Values of the labels of a judged rate: model, version, attribute, measure, rate, limit."""
Ends = tuple[float, float, float]
"""Low end, estimate and high end."""

VERDICT, LATELY, RATES = "verdict", "lately", "rates"
ASKED: Mapping[str, tuple[Metric, tuple[str, ...]]] = {
    LATELY: (metrics.FAIRNESS_BECAME_UNFAIR, ()),
    "promised": (metrics.FAIRNESS_LIMIT, ()),
    "pair": (metrics.FAIRNESS_WORST_PAIR, ("above", "below", "stratum")),
    "difference": (metrics.FAIRNESS_DIFFERENCE, ("bound",)),
    "ratio": (metrics.FAIRNESS_RATIO, ("bound",)),
    "rows": (metrics.FAIRNESS_ROWS_NEEDED, ()),
    "unlabelled": (metrics.FAIRNESS_UNLABELLED, ()),
    "ungrouped": (metrics.FAIRNESS_UNGROUPED, ()),
    "smallest": (metrics.FAIRNESS_SMALLEST_GROUP, ()),
    RATES: (metrics.FAIRNESS_GROUP_RATE, ("group", "bound")),
}
"""What is asked beside the verdict: the metric, and its labels beside those of a judged rate."""


def expressions(**where: str) -> dict[str, Expr]:
    """Every question; evaluators that disagree on a verdict are not calm."""
    verdict = promql.select(metrics.FAIRNESS_VERDICT, "", **where)
    asked = {
        name: promql.max_by(promql.select(metric, "", **where), *FAIRNESS_PROMISE, *by)
        for name, (metric, by) in ASKED.items()
    }
    return {VERDICT: promql.min_by(verdict, *FAIRNESS_PROMISE), **asked}


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names of hashed groups, and why there are none."""

    by_hash: Mapping[str, str] = field(default_factory=dict)
    why: str = ""

    def of(self, group: str) -> str:
        """A group by its name where that is known, each part of an intersection by its own."""
        return CROSS.join(self.by_hash.get(part, part) for part in group.split(CROSS))


def names(platform: Platform, file: Path) -> Names:
    """Names of hashed groups, from the key's file and what promises list; or why it cannot be read."""
    personal = platform.exporter.personal
    values = [value for model in platform.models for promise in model.fairness for value in promise.values]
    if personal.key_file is None or not values:
        return Names()
    try:
        key = keyed_hash.read_key(base_folder(file) / personal.key_file)
    except MidwatchError:
        return Names(why="Groups are shown by their hashes: the key's file cannot be read here.")
    return Names(by_hash={keyed_hash.digest(value, key): value for value in values})


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A rate of a promise as it was judged of a version; `verdict` is None where nobody judged the promise.

    `difference` and `ratio` are the worst pair's: of `above` and `below`, within `stratum` if there are several.
    """

    model: str
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
    ungrouped: float | None = None
    smallest: float | None = None
    groups: tuple[Interval, ...] = ()

    @property
    def key(self) -> Key:
        """What tells it apart."""
        return self.model, self.version, self.attribute, self.measure, self.rate, self.limit

    @property
    def of(self) -> str:
        """Its promise in words."""
        return f"{self.measure.replace('_', ' ')} of {self.attribute}"

    @property
    def is_of_ratio(self) -> bool:
        """Whether its limit is a ratio."""
        return self.limit.startswith("ratio")

    @property
    def gap(self) -> Ends | None:
        """The worst pair's gap, as its limit measures it."""
        return self.ratio if self.is_of_ratio else self.difference

    @property
    def is_unfair(self) -> bool:
        """Whether it is shown broken, since counting began or lately."""
        return self.is_lately or (self.verdict is not None and self.verdict < 0)

    @property
    def is_fair(self) -> bool:
        """Whether it is shown kept, and nothing says otherwise lately."""
        return self.verdict is not None and self.verdict > 0 and not self.is_lately

    @property
    def worst(self) -> str:
        """The worst pair, and how far it is apart; empty where nothing is known of it."""
        if self.gap is None:
            return ""
        low, estimate, high = (numbers.number(end, "ratio") for end in self.gap)
        within = f" within {self.stratum}" if self.stratum else ""
        if self.is_of_ratio:
            return f"{self.below} has {estimate} of {self.above}{within} ({low} to {high})"
        return f"{self.above} {estimate} above {self.below}{within} ({low} to {high})"

    @property
    def rules(self) -> list[Rule]:
        """What is promised, for a picture."""
        word = "promised at least" if self.is_of_ratio else "promised at most"
        return [Rule(name=word, at=self.promised)] if self.promised is not None else []


def read(answers: Mapping[str, Iterable[Sample]], known: Names) -> list[Judged]:
    """Every rate that was judged, the worst first; `answers` are those of `expressions`, or some of them."""
    values = {name: _values(answers.get(name, ()), ASKED[name][1]) for name in ASKED}
    found = [_judged(key, verdict, values, known) for (key, _), verdict in _values(answers[VERDICT], ()).items()]
    return sorted(found, key=worst_first)


def worst_first(one: Judged) -> tuple[bool, bool, Key]:
    """Its place among others."""
    return not one.is_unfair, one.is_fair, one.key


_Values = dict[tuple[Key, Key], float]
"""Values by the labels of a judged rate, and the others."""


def _values(samples: Iterable[Sample], by: Sequence[str]) -> _Values:
    return {
        (_labels(sample, FAIRNESS_PROMISE), _labels(sample, by)): sample.value
        for sample in samples
        if not math.isnan(sample.value)
    }


def _labels(sample: Sample, by: Sequence[str]) -> Key:
    return tuple(sample.labels.get(name, "") for name in by)


def _judged(key: Key, verdict: float, values: Mapping[str, _Values], known: Names) -> Judged:
    model, version, attribute, measure, rate, limit = key
    above, below, stratum = next((pair for of, pair in values["pair"] if of == key), ("", "", ""))
    ends = {name: _ends(values[name], key).get(()) for name in ("difference", "ratio")}
    groups = [
        Interval(name=known.of(group), low=low, estimate=estimate, high=high)
        for (group,), (low, estimate, high) in _ends(values[RATES], key).items()
    ]
    return Judged(
        model=model,
        version=version,
        attribute=attribute,
        measure=measure,
        rate=rate,
        limit=limit,
        verdict=verdict,
        is_lately=values[LATELY].get((key, ())) == 1,
        promised=values["promised"].get((key, ())),
        above=known.of(above),
        below=known.of(below),
        stratum=known.of(stratum),
        difference=ends["difference"],
        ratio=ends["ratio"],
        rows_needed=values["rows"].get((key, ())),
        unlabelled=values["unlabelled"].get((key, ())),
        ungrouped=values["ungrouped"].get((key, ())),
        smallest=values["smallest"].get((key, ())),
        groups=tuple(sorted(groups, key=lambda one: (one.estimate, one.name))),
    )


def _ends(values: _Values, key: Key) -> dict[Key, Ends]:
    """Low end, estimate and high end by the other labels; a missing end is open, and without an estimate is nothing."""
    told: dict[Key, dict[str, float]] = {}
    for (of, (*others, bound)), value in values.items():
        if of == key:
            told.setdefault(tuple(others), {})[bound] = value
    return {
        others: (ends.get("low", -math.inf), ends["estimate"], ends.get("high", math.inf))
        for others, ends in told.items()
        if "estimate" in ends
    }


# Pictures -------------------------------------------------------------------------------------------------------------

_MEASURED = {
    "mean_absolute_error_parity": "mean error in parts of the error bound",
    "calibration_within_groups": "positives above what the scores say",
    "exposure_parity": "mean exposure, of which the first place has 1",
}
"""What a group's rate is, where it is no share of events."""


def groups_of(one: Judged) -> Intervals:
    """Each group's rate with its interval."""
    return Intervals(
        title=f"Groups of {one.version}: {one.rate} by {one.attribute}, {one.limit}",
        of=one.attribute,
        rows=one.groups,
        note=f"each group's {_MEASURED.get(one.measure, 'share')} with the interval that holds at every look",
        queries=[_query(metrics.FAIRNESS_GROUP_RATE, one)],
    )


def gap_of(one: Judged) -> Intervals:
    """The worst pair's gap beside what is promised; a ratio has to be above it, a difference below."""
    metric = metrics.FAIRNESS_RATIO if one.is_of_ratio else metrics.FAIRNESS_DIFFERENCE
    kind = "bad" if one.is_unfair else "good" if one.is_fair else "unsure"
    rows = []
    if one.gap is not None:
        low, estimate, high = one.gap
        pair = f"{one.below} of {one.above}" if one.is_of_ratio else f"{one.above} above {one.below}"
        within = f" within {one.stratum}" if one.stratum else ""
        rows.append(Interval(name=f"{pair}{within}", low=low, estimate=estimate, high=high, kind=kind))
    return Intervals(
        title=f"Worst pair of {one.version}: {one.rate} by {one.attribute}, {one.limit}",
        of="pair",
        rows=rows,
        rules=one.rules,
        note="its interval holds for all pairs, since these two were chosen by looking",
        queries=[_query(metric, one)],
    )


def _query(metric: Metric, one: Judged) -> str:
    return str(promql.select(metric, "", **dict(zip(FAIRNESS_PROMISE, one.key, strict=True))))
