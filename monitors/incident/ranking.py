"""Ranks changes by how probably each caused an incident; "none of these" is ranked with them.

The posterior of a change is proportional to its kind's weight x the sum, over the bins in which the harm may have begun
and the cells that may be hurt, of the chance of that lag x the chance that such a change hurts these cells x how well
the counts fit. "None of these" begins in any bin alike, and hurts any natural part of the platform.

Weights are scaled so that, before the counts are looked at, an onset in the bins that are searched was caused by a
listed change with 1 - the share of none: a hundred changes of yesterday take nothing from one of this hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from monitors.incident import kinds
from monitors.incident.counts import Counts, Mask, Numbers, matches
from monitors.incident.kinds import MINUTE, Signal
from monitors.incident.likelihood import Likelihood
from monitors.incident.records import Change, Onset

SHARE_OF_NONE = 0.35
"""Of incidents whose cause is not listed, before any was closed here: a quarter of Google's were no change (SRE
Workbook, appendix C), and collectors miss some."""

EXACTLY, WITHIN, BEYOND = 0.8, 0.18, 0.02
"""How a change hurts: all that it touches, a part of that, or other cells that depend on it."""

PERHAPS = 0.3
"""Chance that a change touches what the alert is about, where no label says so."""

MOST_PARTS = 40
"""Natural parts of a platform that are looked at; an alert on one of 200 models has few."""

USUAL_WEIGHT = 3.0
"""Weight of the changes around a usual incident: one alone is not taken for the cause because there is no other."""

USUAL_SECONDS = 7200.0
"""Time in which the harm of a usual incident may have begun, by which the share of none is meant."""

LEAST_PART = 0.1
"""What is left of the share of none, however short the time: just after a start much happens that nobody lists."""

POSITIONS = 5
"""Moments of the interval of a change whose own moment nobody knows."""

ENDS = ((0.0, 0.35), (MINUTE, 0.25), (5 * MINUTE, 0.2), (20 * MINUTE, 0.1), (np.inf, 0.1))
"""When harm ends after its cause was taken back, in seconds, and how often: caches drain, queues empty, or never."""

LASTING = ((np.inf, 0.7), (5 * MINUTE, 0.15), (15 * MINUTE, 0.15))
"""How long harm lasts whose cause is not known, in seconds, and how often: mostly it goes on."""

INTERVAL = 0.8

EDGE = 0.03
"""Share of the searched bins, at their begin, within which an onset may be earlier still."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: the alert's labels, when it fired, and from when on its harm may have begun.

    `delay` is how long after the moment of an event it is counted, such as the age at which predictions are settled.
    """

    scope: Mapping[str, str]
    fired_at: float
    earliest: float
    signal: Signal = Signal.OTHER
    delay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """A part of the platform: its labels, and its cells."""

    scope: Mapping[str, str]
    cells: Mask


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Probabilities in the order of the changes, that of none, the onset, and the place that is most probably hurt."""

    probabilities: tuple[float, ...]
    none: float
    onset: Onset
    hurt: Place | None


class Ranking:
    """Of one question over one table of counts; without counts time, scope and kind decide alone."""

    def __init__(
        self,
        question: Question,
        changes: Sequence[Change],
        counts: Counts | None,
        *,
        share_of_none: float = SHARE_OF_NONE,
    ) -> None:
        self.question, self.changes, self.share_of_none = question, tuple(changes), share_of_none
        self.counts = counts
        self.likelihood = (
            Likelihood(counts, counts.index(question.earliest), counts.touched(question.scope)) if counts else None
        )
        self._fits: dict[tuple[bytes, bytes, float], Numbers] = {}

    # Bins ----------------------------------------------------------------------------------------------------------

    @cached_property
    def begins(self) -> Numbers:
        """When each bin begins in which the harm may have begun."""
        if self.counts is None:
            return np.linspace(self.question.earliest, self.question.fired_at, 60, endpoint=False)
        return self.counts.times[self.counts.index(self.question.earliest) : self.counts.index(self._latest) + 1]

    @property
    def _latest(self) -> float:
        return self.question.fired_at

    @cached_property
    def step(self) -> float:
        """Length of a bin in seconds."""
        if self.counts is not None:
            return self.counts.step
        return max((self.question.fired_at - self.question.earliest) / 60, 1e-3)

    def lag_chances(self, change: Change) -> Numbers:
        """Chance of each bin as that in which the change begins to hurt."""
        about = kinds.KINDS[change.kind]
        moments = np.linspace(change.at, max(change.latest, change.at), POSITIONS if change.latest > change.at else 1)
        edges = np.append(self.begins, self.begins[-1] + self.step) - self.question.delay
        lags = np.maximum(edges[None, :] - moments[:, None], 0.0)
        later = about.later(lags)
        return np.asarray((later[:, :-1] - later[:, 1:]).mean(axis=0))

    # Parts of the platform -----------------------------------------------------------------------------------------

    @cached_property
    def alerted(self) -> Mask:
        """Cells that the alert is about."""
        if self.counts is None:
            raise AssertionError("there are no cells without counts")
        return self.counts.touched(self.question.scope)

    @cached_property
    def places(self) -> list[Place]:
        """Cells that may be hurt together: all, each value of a label, those of the alert's own model."""
        if self.counts is None:
            return []
        values = sorted({(name, value) for cell in self.counts.cells for name, value in cell.items()})
        own = {name: value for name, value in self.question.scope.items() if name in self.counts.names}
        scopes = [own, {}, *({**base, name: value} for base in ({}, own) for name, value in values if name not in base)]
        found: dict[bytes, Place] = {}
        for scope in scopes:
            mask = self.counts.touched(scope)
            if (mask & self.alerted).any():
                found.setdefault(mask.tobytes(), Place(scope=scope, cells=mask))
        return list(found.values())[:MOST_PARTS]

    @property
    def parts(self) -> list[Mask]:
        """The cells of each place."""
        return [place.cells for place in self.places]

    def lasts(self, place: Place) -> float:
        """How long the harm of a place most probably lasted, in seconds: infinite while it goes on."""
        return max(LASTING, key=lambda each: float(np.logaddexp.reduce(self.fit(place.cells, lasting=each[0]))))[0]

    def touched(self, change: Change) -> Mask | None:
        """Cells that a change touches; None where the counts do not tell them apart."""
        if self.counts is None or not self.counts.tells_apart(change.scope):
            return None
        return self.counts.touched(change.scope)

    def is_elsewhere(self, change: Change) -> bool:
        """Whether a change touches nothing that the alert is about."""
        touched = self.touched(change)
        if touched is None:
            return not matches(change.scope, self.question.scope)
        return not (touched & self.alerted).any() or not matches(change.scope, self.question.scope)

    def _hurt_by(self, change: Change) -> Iterator[tuple[float, Mask]]:
        """Sets of cells that a change may hurt, and the chance of each."""
        touched = self.touched(change)
        if touched is None:
            yield from ((PERHAPS / len(self.parts), part) for part in self.parts)
            return
        same = touched.tobytes()
        inside = [part for part in self.parts if part.tobytes() != same and not (part & ~touched).any()]
        beyond = [part for part in self.parts if (part & ~touched).any()]
        yield EXACTLY, touched
        yield from ((WITHIN / len(inside), part) for part in inside)
        yield from ((BEYOND / len(beyond), part) for part in beyond)

    # Fits ----------------------------------------------------------------------------------------------------------

    def fit(self, hurt: Mask, effect: Numbers | None = None, lasting: float = np.inf) -> Numbers:
        """Log-likelihood of each bin in which harm may have begun that lasts so many seconds, against no harm."""
        if self.likelihood is None or self.counts is None:
            return np.zeros(len(self.begins))
        key = hurt.tobytes(), b"" if effect is None else effect.tobytes(), lasting
        if key not in self._fits:
            first = self.counts.index(self.question.earliest)
            bins = None if lasting == np.inf else max(round(lasting / self.counts.step), 1)
            logs = self.likelihood.log_ratios(hurt, effect, bins if bins and bins < self.counts.bins else None)
            self._fits[key] = logs[first : first + len(self.begins)]
        return self._fits[key]

    def _of_any_length(self, hurt: Mask) -> Numbers:
        """The same for harm of which nothing is known but where it is: it may be over."""
        fits = [np.log(chance) + self.fit(hurt, lasting=seconds) for seconds, chance in LASTING]
        return np.asarray(np.logaddexp.reduce(fits, axis=0))

    def effects(self, change: Change) -> Iterator[tuple[float, Numbers | None]]:
        """Shapes that the harm of a change may have over time, and the chance of each."""
        if self.counts is None:
            yield 1.0, None
            return
        reach = None if not change.doses else _reach(change, self.counts)
        if change.ended is None or not self._is_over(change):
            yield 1.0, reach
            return
        for after, chance in ENDS:
            lasts = (self.counts.times < change.ended + after).astype(float)
            yield chance, lasts if reach is None else lasts * reach

    def _fit_of(self, change: Change, hurt: Mask) -> Numbers:
        """Log-likelihood by bin of harm as the change can do it: with its reach, until its end, or of any length."""
        if not change.doses and not self._is_over(change):
            return self._of_any_length(hurt)
        fits = [np.log(chance) + self.fit(hurt, effect) for chance, effect in self.effects(change)]
        return np.asarray(np.logaddexp.reduce(fits, axis=0))

    def _is_over(self, change: Change) -> bool:
        return self.counts is not None and change.ended is not None and change.ended < self.counts.end

    def _weight(self, change: Change) -> Numbers:
        """Logarithm of the change's weight by bin, without the scale of its kind."""
        chances = self.lag_chances(change)
        with np.errstate(divide="ignore"):
            logs = np.log(chances)
        if self.counts is None:
            return np.asarray(logs + np.log(_nearness(change.scope, self.question.scope)))
        fits = [np.log(chance) + self._fit_of(change, hurt) for chance, hurt in self._hurt_by(change)]
        return np.asarray(logs + np.logaddexp.reduce(fits, axis=0))

    # Answers -------------------------------------------------------------------------------------------------------

    @cached_property
    def _none(self) -> Numbers:
        """Logarithm of the weight of "none of these" by bin."""
        flat = np.full(len(self.begins), -np.log(len(self.begins)))
        if self.counts is None:
            return flat
        fits = [self._of_any_length(part) for part in self.parts]
        return np.asarray(flat + np.logaddexp.reduce(fits, axis=0) - np.log(len(fits)))

    @cached_property
    def ranked(self) -> Ranked:
        """The probabilities."""
        scales = np.array([self._scale(change) for change in self.changes])
        masses = np.array([self.lag_chances(change).sum() for change in self.changes])
        expected = max(float((scales * masses).sum()), USUAL_WEIGHT)
        weights = np.full(len(self.changes) + 1, -np.inf)
        for number, change in enumerate(self.changes):
            if scales[number] and masses[number]:
                scale = np.log((1 - self.share_of_none) * scales[number] / expected)
                weights[number] = scale + np.logaddexp.reduce(self._weight(change))
        weights[-1] = np.log(self._prior_of_none) + np.logaddexp.reduce(self._none)
        shares = np.exp(weights - np.logaddexp.reduce(weights))
        return Ranked(
            probabilities=tuple(map(float, shares[:-1])), none=float(shares[-1]), onset=self._onset, hurt=self._hurt
        )

    @cached_property
    def evidence(self) -> float:
        """Logarithm of how much better any harm fits than none; 0 without counts."""
        return float(np.logaddexp.reduce(self._none)) if self.counts is not None else 0.0

    @property
    def begins_at_edge(self) -> bool:
        """Whether the harm may have begun before the bins that are searched."""
        if self.counts is None:
            return False
        return bool(self._onset.earliest < self.begins[0] + EDGE * len(self.begins) * self.step)

    @property
    def _prior_of_none(self) -> float:
        """The share of none, less where the harm began in a shorter time than that it is of: it comes at any moment."""
        if self.counts is None:
            return self.share_of_none
        part = len(self.begins) * self.step / USUAL_SECONDS
        return self.share_of_none * min(max(part, LEAST_PART), 1.0)

    def _scale(self, change: Change) -> float:
        if self.is_elsewhere(change):
            return 0.0
        return kinds.KINDS[change.kind].weight_for(self.question.signal)

    @cached_property
    def _onset(self) -> Onset:
        """The likeliest bins by the counts alone, which hold 80%."""
        shares = np.exp(self._none - np.logaddexp.reduce(self._none))
        order = np.argsort(-shares, kind="stable")
        kept = order[: int(np.searchsorted(np.cumsum(shares[order]), INTERVAL)) + 1]
        return Onset(
            earliest=float(self.begins[kept.min()]),
            latest=float(self.begins[kept.max()] + self.step),
            likeliest=float(self.begins[order[0]]),
            is_counted=self.counts is not None,
        )

    @cached_property
    def _hurt(self) -> Place | None:
        """The place that fits best over all onsets."""
        if not self.places:
            return None
        return max(self.places, key=lambda place: float(np.logaddexp.reduce(self._of_any_length(place.cells))))


def _reach(change: Change, counts: Counts) -> Numbers:
    """Share of its scope's traffic that a change reached in each bin."""
    doses = sorted(change.doses, key=lambda dose: dose.at)
    times = np.array([dose.at for dose in doses])
    shares = np.array([0.0, *(dose.share for dose in doses)])
    return np.asarray(shares[np.searchsorted(times, counts.times + counts.step, side="left")])


def _nearness(scope: Mapping[str, str], alert: Mapping[str, str]) -> float:
    """How far a scope is the alert's, where no counts say what is hurt."""
    return 1.0 if any(alert.get(name) == value for name, value in scope.items()) else PERHAPS
