"""What is known beforehand of each kind of change: how often it is a cause, how long until it hurts, and what it hurts.

Weights stand for one change among those around an incident: the share of incidents that such changes caused (SRE
Workbook, appendix C: binary push 37%, configuration push 31%, user behaviour 9%, pipeline 6%, provider 5%, decay 5%,
capacity 5%, hardware 2%), less for a kind of which many happen every hour, such as scaling. Only their order of
magnitude matters, as what the counts say is worth more. Lags are mixtures of exponentials with a heavy tail, since
sharp ones make confident errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from monitors.incident.records import Kind

MINUTE = 60.0
HOUR = 3600.0

SHARES = (0.6, 0.3, 0.1)
"""Parts of a lag's mixture: quick, slow, and the heavy tail."""

UNUSUAL = 0.1
"""Weight of a kind that does not usually hurt the signal of an alert, by that of one that does."""


class Signal(StrEnum):
    """What an alert says is wrong."""

    ERRORS = "errors"
    LATENCY = "latency"
    ACCURACY = "accuracy"
    DRIFT = "drift"
    TRAFFIC = "traffic"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class About:
    """One kind: its weight, the means of its lag's three parts in seconds, what it usually hurts, and its words.

    An alert of the signal `says` is the same news as the change, and not its effect.
    """

    weight: float
    lags: tuple[float, float, float]
    hurts: frozenset[Signal]
    words: str
    says: Signal | None = None

    def later(self, lags: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of all lags that are longer than each of these, in seconds."""
        parts = [share * np.exp(-lags / mean) for share, mean in zip(SHARES, self.lags, strict=True)]
        return np.asarray(np.sum(parts, axis=0))

    def share_later(self, lag: float) -> float:
        """Share of the lags that are longer than one."""
        return float(self.later(np.array([max(lag, 0.0)]))[0])

    def weight_for(self, signal: Signal) -> float:
        """Weight where a signal is hurt."""
        if signal is self.says:
            return 0.0
        return self.weight if signal is Signal.OTHER or signal in self.hurts else self.weight * UNUSUAL


_SECONDS = (0.5 * MINUTE, 4 * MINUTE, 30 * MINUTE)
_RELEASED = (0.5 * MINUTE, 6 * MINUTE, 45 * MINUTE)
_SLOWLY = (5 * MINUTE, 40 * MINUTE, 6 * HOUR)

_SERVED = frozenset({Signal.ERRORS, Signal.LATENCY, Signal.TRAFFIC})
_LEARNED = frozenset({Signal.ACCURACY, Signal.DRIFT})
_ANY = frozenset(Signal)

KINDS: Mapping[Kind, About] = {
    Kind.DEPLOYMENT: About(weight=1.0, lags=_RELEASED, hurts=_ANY, words="deployment"),
    Kind.CANARY: About(weight=1.0, lags=_RELEASED, hurts=_ANY, words="canary"),
    Kind.PROMOTION: About(weight=0.8, lags=_RELEASED, hurts=_ANY, words="promotion"),
    Kind.ROLLBACK: About(weight=0.4, lags=_RELEASED, hurts=_ANY, words="rollback"),
    Kind.CONFIGURATION: About(weight=0.8, lags=_SECONDS, hurts=_ANY, words="change of configuration"),
    Kind.RULES: About(weight=0.2, lags=_SECONDS, hurts=frozenset({Signal.OTHER}), words="change of rules"),
    Kind.RETRAINING: About(weight=0.4, lags=_SLOWLY, hurts=_LEARNED | {Signal.LATENCY}, words="retraining"),
    Kind.DRIFT: About(weight=0.6, lags=_SLOWLY, hurts=_LEARNED, words="drift of inputs", says=Signal.DRIFT),
    Kind.FEATURES: About(weight=0.6, lags=_SLOWLY, hurts=_LEARNED | {Signal.ERRORS}, words="stale features"),
    Kind.CERTIFICATE: About(weight=0.5, lags=_SECONDS, hurts=_SERVED, words="certificate"),
    Kind.NODE: About(weight=0.3, lags=_SECONDS, hurts=_SERVED, words="loss of a node"),
    Kind.SCALING: About(weight=0.3, lags=_SECONDS, hurts=_SERVED, words="scaling"),
    Kind.TRAFFIC: About(weight=0.4, lags=_SECONDS, hurts=_ANY, words="change of traffic", says=Signal.TRAFFIC),
    Kind.EXPERIMENT: About(weight=0.8, lags=_SECONDS, hurts=_ANY, words="experiment"),
    Kind.DRILL: About(weight=0.6, lags=_SECONDS, hurts=_ANY, words="recovery drill"),
    Kind.UPSTREAM: About(weight=0.6, lags=_SECONDS, hurts=_ANY, words="trouble upstream"),
    Kind.MISSED_JOB: About(weight=0.4, lags=_SLOWLY, hurts=_LEARNED, words="job that did not run"),
}
