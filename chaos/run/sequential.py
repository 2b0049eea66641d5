"""A stop condition that may be looked at all the time: e-processes on error rates.

An e-process is a bet against "the rate is at most so much" that on average does not win while that is true. By Ville's
inequality (Ville 1939; Ramdas, Grünwald, Vovk, Shafer 2023, section 2) it ever reaches 1/alpha with probability at most
alpha, however often one looks. Here each is a mixture of likelihood ratios over rates above the tolerated one.

The target's errors stop an experiment when they are beyond what is tolerated *and* beyond the control's, so that an
outage of everything is not blamed on the fault; the control's errors stop it when they are beyond what is tolerated,
because then the fault has leaked. Both share the rate of false stops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

FACTORS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 25.0)
"""Rates that are bet on, as multiples of the tolerated one: from just above it to an outage."""


@dataclass(frozen=True)
class Counts:
    """Requests and errors of one arm, since the last look."""

    requests: float
    errors: float


@dataclass
class RateTest:
    """E-process against "the error rate is at most `tolerated`" (0 to 1, exclusive)."""

    tolerated: float
    _logs: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 < self.tolerated < 1:
            raise ValueError(f"a tolerated rate of {self.tolerated} cannot be tested: it has to be between 0 and 1")
        highest = (1 + self.tolerated) / 2
        self._rates = sorted({min(self.tolerated * factor, highest) for factor in FACTORS})
        self._logs = [0.0] * len(self._rates)

    def observe(self, counts: Counts) -> None:
        """Take in what came since the last look."""
        good = counts.requests - counts.errors
        for index, rate in enumerate(self._rates):
            self._logs[index] += counts.errors * math.log(rate / self.tolerated)
            self._logs[index] += good * math.log((1 - rate) / (1 - self.tolerated))

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value."""
        return _log_mean(self._logs)


@dataclass
class RatioTest:
    """E-process against "the target's error rate is at most the control's".

    Of the errors of both arms, the share that falls on the target is compared with its share of the requests. That
    number is hypergeometric when the rates are equal, and the bet is convex in it, so that the binomial bounds it
    (Hoeffding 1963, theorem 4).
    """

    _logs: list[float] = field(default_factory=lambda: [0.0] * len(FACTORS))

    def observe(self, target: Counts, control: Counts) -> None:
        """Take in what came since the last look."""
        if not target.requests or not control.requests:
            return
        null = target.requests / (target.requests + control.requests)
        for index, factor in enumerate(FACTORS):
            share = target.requests * factor / (target.requests * factor + control.requests)
            self._logs[index] += target.errors * math.log(share / null)
            self._logs[index] += control.errors * math.log((1 - share) / (1 - null))

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value."""
        return _log_mean(self._logs)


def _log_mean(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / len(logs))


class StopCondition:
    """Says when to stop, with at most `false_stops` (0 to 1) probability ever while nothing is wrong.

    `target_tolerated` is None where errors of the target are what the fault does; the control is watched all the same.
    """

    def __init__(self, *, target_tolerated: float | None, control_tolerated: float, false_stops: float) -> None:
        self._threshold = math.log(2 / false_stops)
        self._target = None if target_tolerated is None else RateTest(target_tolerated)
        self._control, self._ratio = RateTest(control_tolerated), RatioTest()
        self._has_control = False

    def observe(self, target: Counts, control: Counts) -> None:
        """Take in what came since the last look."""
        self._has_control = self._has_control or control.requests > 0
        if self._target is not None:
            self._target.observe(target)
        self._control.observe(control)
        self._ratio.observe(target, control)

    def reason(self) -> str:
        """Why to stop now, empty when there is no reason."""
        if self._control.log_e >= self._threshold:
            return f"the control has more than {self._control.tolerated:.1%} errors: the fault leaks"
        if self._target is None or self._target.log_e < self._threshold:
            return ""
        if self._has_control and self._ratio.log_e < self._threshold:
            return ""
        beyond = " and more than the control" if self._has_control else ""
        return f"the target has more than {self._target.tolerated:.1%} errors{beyond}"
