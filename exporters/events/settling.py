"""Predictions of equal age: each is settled once, when it is as old as the labels of its model need, and not before.

Wrong answers are often labelled later than right ones, or sooner: what has come by now speaks of different predictions
than what is still to come. So predictions are kept in cohorts, those that arrived in the same stretch of time. A label
counts for its cohort when it arrives while the prediction is at most as old as the model's maturity; when the whole
cohort is older, its counts are settled, with what has no label as unlabelled. Labels that come later are counted by
themselves.

Age is measured from arrival to arrival, by the journal's times, so that a replay settles the same. A maturity that the
platform file does not state is a quantile of the measured delays (`maturity`).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

import msgspec

from exporters.events.group_sums import Deviation, GroupSums
from exporters.events.outcomes import Grouped, Outcome, Outcomes, count_groups, sums
from exporters.events.series import ModelSeries
from exporters.events.waiting import WaitingPrediction
from midwatch import metrics
from midwatch.spec import model as spec
from midwatch.spec.fairness import BY_ERROR

QUANTILE = 0.95
"""Of the measured delays of labels: the maturity of a model whose platform file states none."""
LEAST_LABELS = 100
"""Labels whose delays tell a quantile."""
MOST_LABELS = 1_000_000
"""Labels from which all counts of delays are halved, so that a change of the delays is learned."""
DELAYS = tuple(0.25 * 2 ** (step / 4) for step in range(96))
"""Seconds, up to 40 days: delays are told to a fifth."""
COHORTS = 32
"""Cohorts within a maturity: a prediction is settled at most so small a part of it late."""
SHORTEST = 1.0
"""Seconds of a cohort, at least, and between two looks at what is old enough."""


class Cohort(msgspec.Struct, array_like=True):
    """Predictions of a stretch of time until `ended`, by version: how many of each class, and labelled in time."""

    ended: float
    predicted: dict[str, dict[str, int]] = {}
    labelled: dict[str, Outcomes] = {}
    grouped: dict[str, Grouped] = {}
    sums: dict[str, GroupSums] = {}

    def sums_of(self, version: str) -> GroupSums:
        """Sums by group of a version."""
        known = self.sums.get(version)
        if known is None:
            known = self.sums[version] = GroupSums()
        return known

    def outcomes_of(self, version: str) -> Outcomes:
        """Outcomes of a version."""
        known = self.labelled.get(version)
        if known is None:
            known = self.labelled[version] = Outcomes()
        return known


class Settled(msgspec.Struct):
    """What was settled of a version: unlabelled by predicted class, outcomes, and all by group; and later labels."""

    unlabelled: dict[str, int] = {}
    outcomes: Outcomes = msgspec.field(default_factory=Outcomes)
    late: dict[str, int] = {}
    waiting: int = 0
    grouped: Grouped = {}
    sums: GroupSums = msgspec.field(default_factory=GroupSums)


class Progress(msgspec.Struct):
    """How far a model is: predictions that arrived before `until` are settled, the others are in cohorts.

    `since` is when it was first seen, `looked` when it was last looked at, and `delays` how many labels took up to each
    of `DELAYS`. `maturity` is None until it is known. `begun` says when each cohort began, `full` when the newest ends.
    """

    since: float
    until: float
    looked: float
    delays: list[int]
    maturity: float | None = None
    begun: list[float] = []
    cohorts: list[Cohort] = []
    full: float = 0.0

    def begin(self, time: float, seconds: float) -> None:
        """Begin a cohort of so many seconds."""
        self.begun.append(time)
        self.cohorts.append(Cohort(time))
        self.full = time + seconds

    def cohort(self, time: float) -> Cohort:
        """The cohort of what arrived at a time; the oldest for what seems older, when the clock was set back."""
        return self.cohorts[max(0, bisect_right(self.begun, time) - 1)]


class Settling:
    """Models' progress, by name, and what is settled of each version; that of `added_to` is added to.

    With `is_fixed` maturities are not measured, and cohorts begin at whole multiples of their length: what is settled
    at a time depends on the predictions alone, and not on where somebody began to count them.
    """

    def __init__(
        self,
        settings: spec.Exporter,
        models: Sequence[spec.Model],
        *,
        is_fixed: bool = False,
        added_to: Settling | None = None,
    ) -> None:
        self._retention = settings.label_retention
        self._stated = {model.name: model.label_maturity for model in models if model.label_maturity}
        self._of_errors = frozenset(
            model.name
            for model in models
            if model.task == "regression" and any(promise.measure in BY_ERROR for promise in model.fairness)
        )
        self._is_fixed = is_fixed
        self.progress: dict[str, Progress] = {}
        self._versions: dict[tuple[str, str], Settled] = {} if added_to is None else added_to._versions

    def maturities(self) -> dict[str, float]:
        """Seconds after which predictions are settled, by model; without those that are not known yet."""
        return {name: one.maturity for name, one in self.progress.items() if one.maturity is not None}

    def settled(self) -> list[tuple[str, str, Settled]]:
        """What was settled, and how many are still too young, by model and version."""
        return [(model, version, one) for (model, version), one in self._versions.items()]

    def restore(self, settled: Sequence[tuple[str, str, Settled]], progress: dict[str, Progress]) -> None:
        """Go on where a snapshot stands."""
        self._versions = {(model, version): one for model, version, one in settled}
        self.progress = progress
        for one in self._versions.values():
            one.waiting = 0
        for name, model_progress in progress.items():
            for cohort in model_progress.cohorts:
                for version, classes in cohort.predicted.items():
                    self._settled(name, version).waiting += sum(classes.values())

    def add_waiting(self, sign: int) -> None:
        """Count the predictions of all cohorts among those that are too young, or take them away (-1)."""
        for name, progress in self.progress.items():
            for cohort in progress.cohorts:
                for version, classes in cohort.predicted.items():
                    self._settled(name, version).waiting += sign * sum(classes.values())

    def versions(self) -> set[tuple[str, str]]:
        """Models and versions of the predictions that are not settled."""
        return {
            (name, version)
            for name, progress in self.progress.items()
            for cohort in progress.cohorts
            for version in cohort.predicted
        }

    def rename(self, names: Mapping[tuple[str, str], tuple[str, str]]) -> None:
        """Let predictions of some models and versions be settled under other ones; their cohorts are equally long."""
        renamed: dict[str, Progress] = {}
        for name, progress in self.progress.items():
            for cohort, begun in zip(progress.cohorts, progress.begun, strict=True):
                for version in cohort.predicted:
                    model, known = names.get((name, version), (name, version))
                    kept = renamed.setdefault(model, msgspec.structs.replace(progress, begun=[], cohorts=[]))
                    _add_to_cohort(kept, begun, cohort, version, known)
        self.progress = renamed

    # Counting --------------------------------------------------------------------------------------------------------

    def settles(self, entry: WaitingPrediction) -> bool:
        """Whether a prediction is settled: one of a class is, an amount where promises are of errors by group."""
        return type(entry.predicted) is str or entry.model in self._of_errors

    def predict(
        self, entry: WaitingPrediction, groups: Mapping[str, str], scored: Mapping[str, str], count: int = 1
    ) -> None:
        """Let a prediction wait until it is old enough, if it is settled; or `count` that are alike.

        `groups` are by attribute, and `scored` those that its score is counted in: one such is counted alone.
        """
        if not self.settles(entry):
            return
        predicted = entry.predicted if type(entry.predicted) is str else metrics.AMOUNT
        progress = self.progress.get(entry.model) or self._begin(entry.model, entry.received)
        time = entry.received
        if time < progress.until:  # the clock was set back by more than predictions wait
            progress.since = min(progress.since, time)
            settled = self._settled(entry.model, entry.version)
            if entry.model not in self._of_errors:
                _count(settled.unlabelled, predicted, count)
            count_groups(settled.grouped, groups, predicted, count)
            if scored and entry.score is not None:
                settled.sums.predict(scored, entry.score)
            return
        if time >= progress.full or not progress.cohorts:
            self._begin_cohort(progress, time)
        cohort = progress.cohorts[-1] if time >= progress.begun[-1] else progress.cohort(time)
        cohort.ended = max(cohort.ended, time)
        classes = cohort.predicted.get(entry.version)
        if classes is None:
            classes = cohort.predicted[entry.version] = {}
        _count(classes, predicted, count)
        if groups:
            count_groups(cohort.grouped.setdefault(entry.version, {}), groups, predicted, count)
        if scored and entry.score is not None:
            cohort.sums_of(entry.version).predict(scored, entry.score)
        self._settled(entry.model, entry.version).waiting += count

    def _begin_cohort(self, progress: Progress, time: float) -> None:
        seconds = max(SHORTEST, (progress.maturity or self._retention) / COHORTS)
        if not self._is_fixed:
            progress.begin(time, seconds)
            return
        begun = time // seconds * seconds
        progress.begin(begun, seconds)
        progress.cohorts[-1].ended = begun + seconds

    def label(self, entry: WaitingPrediction, outcome: Outcome | Deviation | None, time: float, count: int = 1) -> None:
        """Count the label of a prediction that arrived at `time`; no outcome is a label that says nothing.

        Or `count` labels that are alike, of predictions that are and arrived together, without scores.
        """
        progress = self.progress.get(entry.model)
        if progress is None or not self.settles(entry) or entry.received < progress.since:
            return
        delay = max(0.0, time - entry.received)
        progress.delays[bisect_left(DELAYS, delay)] += count
        if outcome is None:
            return
        if _is_late(progress, entry.received, delay):
            if isinstance(outcome, Outcome):
                late = self._settled(entry.model, entry.version).late
                _count(late, "right" if outcome.is_right else "wrong", count)
            return
        cohort = progress.cohort(entry.received)
        if isinstance(outcome, Deviation):
            cohort.sums_of(entry.version).deviate(outcome)
            return
        if outcome.scored:
            cohort.sums_of(entry.version).label(outcome)
        cohort.outcomes_of(entry.version).count(outcome, count)

    def outcomes_in_time(self, entry: WaitingPrediction, time: float) -> Outcomes | None:
        """Where `label` counts the outcome of a prediction whose label arrived at `time`; None where it does not."""
        progress = self.progress.get(entry.model)
        if progress is None or entry.received < progress.since:
            return None
        if _is_late(progress, entry.received, max(0.0, time - entry.received)):
            return None
        return progress.cohort(entry.received).outcomes_of(entry.version)

    def _begin(self, model: str, time: float) -> Progress:
        stated = self._stated.get(model, self._retention if self._is_fixed else None)
        begun = Progress(since=time, until=time, looked=time, delays=[0] * (len(DELAYS) + 1), maturity=stated)
        self.progress[model] = begun
        return begun

    def _settled(self, model: str, version: str) -> Settled:
        names = model, version
        known = self._versions.get(names)
        if known is None:
            known = self._versions[names] = Settled()
        return known

    # Settling --------------------------------------------------------------------------------------------------------

    def settle(self, time: float, models: Mapping[str, ModelSeries]) -> None:
        """Settle the cohorts that are old enough at a time; `models` say how many predictions wait for a label."""
        for name, progress in self.progress.items():
            if 0 <= time - progress.looked < SHORTEST:
                continue
            progress.looked = time
            self._learn(progress, time, self._known(name, progress, time, models[name].waiting))
            while progress.cohorts and self._is_ripe(progress, time, progress.maturity):
                self._close(name, progress)

    def is_due(self, time: float, models: Mapping[str, ModelSeries]) -> bool:
        """Whether a cohort is old enough now: then an empty group is worth writing."""
        return any(
            progress.cohorts
            and time - progress.looked >= SHORTEST
            and self._is_ripe(progress, time, self._known(name, progress, time, models[name].waiting))
            for name, progress in self.progress.items()
        )

    def _known(self, name: str, progress: Progress, time: float, waiting: int) -> float | None:
        """A model's maturity as it is known at a time."""
        if (stated := self._stated.get(name)) is not None:
            return stated
        if self._is_fixed:
            return self._retention
        is_complete = time - progress.since >= self._retention
        learned = maturity(progress.delays, 0 if is_complete else waiting, self._retention)
        return progress.maturity if learned is None else learned

    def _is_ripe(self, progress: Progress, time: float, known: float | None) -> bool:
        """Whether every prediction of the oldest cohort is older than a maturity, or than any label is waited for."""
        return time - progress.cohorts[0].ended > (self._retention if known is None else known)

    def _learn(self, progress: Progress, time: float, known: float | None) -> None:
        if known != progress.maturity and progress.cohorts:
            # What arrives from now on is settled apart: cohorts of another maturity may be much longer.
            progress.full = time
        progress.maturity = known
        if sum(progress.delays) > MOST_LABELS:
            progress.delays = [count // 2 for count in progress.delays]

    def _close(self, name: str, progress: Progress) -> None:
        cohort = progress.cohorts.pop(0)
        del progress.begun[0]
        following = progress.begun[0] if progress.begun else math.nextafter(cohort.ended, math.inf)
        progress.until = max(progress.until, following)
        for version, classes in cohort.predicted.items():
            settled = self._settled(name, version)
            settled.waiting -= sum(classes.values())
            labelled = cohort.labelled.get(version, Outcomes())
            settled.outcomes.add(labelled)
            settled.grouped = sums(settled.grouped, cohort.grouped.get(version, {}))
            if version in cohort.sums:
                settled.sums.add(cohort.sums[version])
            if name in self._of_errors:
                continue  # an amount is neither right nor wrong
            told = labelled.by_predicted()
            for predicted, count in classes.items():
                missing = max(0, count - told.get(predicted, 0))
                settled.unlabelled[predicted] = settled.unlabelled.get(predicted, 0) + missing


def _add_to_cohort(progress: Progress, begun: float, cohort: Cohort, version: str, known: str) -> None:
    """Add the counts of a version of a cohort to the cohort that began then, under the version's other name."""
    place = bisect_left(progress.begun, begun)
    if place == len(progress.begun) or progress.begun[place] != begun:
        progress.begun.insert(place, begun)
        progress.cohorts.insert(place, Cohort(cohort.ended))
    mine = progress.cohorts[place]
    mine.predicted[known] = sums(mine.predicted.get(known, {}), cohort.predicted[version])
    mine.grouped[known] = sums(mine.grouped.get(known, {}), cohort.grouped.get(version, {}))
    mine.labelled.setdefault(known, Outcomes()).add(cohort.labelled.get(version, Outcomes()))
    if version in cohort.sums:
        mine.sums_of(known).add(cohort.sums[version])


def maturity(delays: Sequence[int], waiting: int, longest: float) -> float | None:
    """Seconds within which `QUANTILE` of the labels come, None while that cannot be told; at most `longest`.

    A prediction that waits may be labelled later than all others: counting it so, the quantile is not too small when
    only the quick labels have come.

    >>> maturity([0, 0, 0, 0, 190], waiting=10, longest=3600.0)
    0.5
    >>> maturity([0, 0, 0, 0, 190], waiting=11, longest=3600.0)
    """
    labels = sum(delays)
    if labels < LEAST_LABELS:
        return None
    reached = 0
    for bound, count in zip(DELAYS, delays, strict=False):
        reached += count
        if reached >= QUANTILE * (labels + waiting):
            return min(bound, longest)
    return longest if not waiting else None


def _is_late(progress: Progress, received: float, delay: float) -> bool:
    """Whether a label came when its prediction was settled, or older than the labels that are waited for."""
    return received < progress.until or (progress.maturity is not None and delay > progress.maturity)


def _count(counts: dict[str, int], name: str, count: int = 1) -> None:
    counts[name] = counts.get(name, 0) + count
