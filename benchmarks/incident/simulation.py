"""Simulated incidents: a platform of models in regions, bursts, shared shocks, a cause with its lag, and innocents.

Nothing here is taken from what ranks: lags are lognormal (there mixtures of exponentials), counts are bursty around a
shared level that wanders and jumps, harm differs from cell to cell, and an alert fires by a rule on five minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monitors.incident.counts import Counts
from monitors.incident.kinds import Signal
from monitors.incident.ranking import Question
from monitors.incident.records import Change, Dose, Kind

MODELS = ("fraud", "churn", "price", "rank", "delay", "spam")
REGIONS = ("eu", "us", "ap")
STEP, QUIET, SEARCHED, AFTER = 60.0, 240, 120, 40
"""Seconds of a bin; bins before those in which an onset is searched, of those, and of what an alert may take."""

BURST = 2.0
"""Variance of the counts of a cell by their mean."""

LEVELS = {"low": 1.0, "medium": 6.0, "high": 40.0}
"""Bad events of a model per minute while all is quiet."""

CANARY, CANARY_SHARE = "v3", 0.1
"""Version and traffic of an innocent canary of the model that the alert is about."""

START = 1_700_000_000.0


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One of the causes: kind, what it touches, the signal it hurts, and its lag (median minutes, sigma of the log)."""

    name: str
    kind: Kind
    scope: tuple[str, ...]
    signal: Signal
    lag: float
    sigma: float = 0.8
    new_version: bool = False
    ramp: tuple[float, ...] = ()
    lasts: float | None = None


CAUSES = (
    Cause(
        name="deployment",
        kind=Kind.DEPLOYMENT,
        scope=("model", "version"),
        signal=Signal.ERRORS,
        lag=2,
        new_version=True,
    ),
    Cause(
        name="deployment in one region", kind=Kind.DEPLOYMENT, scope=("model", "region"), signal=Signal.LATENCY, lag=3
    ),
    Cause(
        name="canary",
        kind=Kind.CANARY,
        scope=("model", "version"),
        signal=Signal.LATENCY,
        lag=2,
        new_version=True,
        ramp=(0.05, 0.25),
    ),
    Cause(
        name="promotion",
        kind=Kind.PROMOTION,
        scope=("model", "version"),
        signal=Signal.ACCURACY,
        lag=4,
        new_version=True,
    ),
    Cause(name="rollback", kind=Kind.ROLLBACK, scope=("model",), signal=Signal.ERRORS, lag=2),
    Cause(name="configuration of a model", kind=Kind.CONFIGURATION, scope=("model",), signal=Signal.ERRORS, lag=0.7),
    Cause(name="configuration of all", kind=Kind.CONFIGURATION, scope=(), signal=Signal.LATENCY, lag=0.7),
    Cause(name="configuration of a region", kind=Kind.CONFIGURATION, scope=("region",), signal=Signal.ERRORS, lag=1),
    Cause(
        name="feature flag",
        kind=Kind.CONFIGURATION,
        scope=("model",),
        signal=Signal.ERRORS,
        lag=0.7,
        ramp=(0.05, 0.25, 1.0),
    ),
    Cause(name="retraining", kind=Kind.RETRAINING, scope=("model",), signal=Signal.LATENCY, lag=6),
    Cause(name="drift", kind=Kind.DRIFT, scope=("model",), signal=Signal.ACCURACY, lag=15),
    Cause(name="features", kind=Kind.FEATURES, scope=("model",), signal=Signal.ACCURACY, lag=15),
    Cause(name="certificate", kind=Kind.CERTIFICATE, scope=("region",), signal=Signal.ERRORS, lag=0.5),
    Cause(name="node", kind=Kind.NODE, scope=("region",), signal=Signal.ERRORS, lag=0.5),
    Cause(name="scaling", kind=Kind.SCALING, scope=("model", "region"), signal=Signal.LATENCY, lag=2),
    Cause(name="traffic", kind=Kind.TRAFFIC, scope=("model",), signal=Signal.LATENCY, lag=1),
    Cause(name="experiment", kind=Kind.EXPERIMENT, scope=("model", "region"), signal=Signal.ERRORS, lag=0.5, lasts=10),
    Cause(name="drill", kind=Kind.DRILL, scope=("region",), signal=Signal.ERRORS, lag=0.5, lasts=15),
    Cause(name="upstream", kind=Kind.UPSTREAM, scope=(), signal=Signal.ERRORS, lag=1),
    Cause(name="missed job", kind=Kind.MISSED_JOB, scope=("model",), signal=Signal.ACCURACY, lag=20),
)

INNOCENT = {
    Kind.SCALING: 6,
    Kind.CONFIGURATION: 4,
    Kind.DEPLOYMENT: 4,
    Kind.NODE: 3,
    Kind.RETRAINING: 2,
    Kind.CANARY: 2,
    Kind.RULES: 2,
    Kind.EXPERIMENT: 1,
    Kind.TRAFFIC: 2,
    Kind.PROMOTION: 1,
    Kind.FEATURES: 1,
    Kind.DRIFT: 1,
    Kind.ROLLBACK: 1,
    Kind.UPSTREAM: 1,
    Kind.CERTIFICATE: 1,
    Kind.DRILL: 1,
    Kind.MISSED_JOB: 1,
}
"""How many of each kind there are among innocent changes."""

SCOPES = {
    Kind.NODE: ("region",),
    Kind.CERTIFICATE: ("region",),
    Kind.DRILL: ("region",),
    Kind.UPSTREAM: (),
    Kind.RULES: (),
}
"""What innocents of a kind touch; a model, or a model in a region, without a row."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """An incident: what is asked, the changes in a random order, the counts, and the cause, None when not listed."""

    cause: str
    level: str
    question: Question
    changes: tuple[Change, ...]
    counts: Counts
    truth: Change | None


def case(cause: Cause, level: str, seed: int, *, is_listed: bool = True) -> Case:
    """One incident, the same for the same seed; without `is_listed` its cause is missing among the changes."""
    random = np.random.default_rng([seed, CAUSES.index(cause), list(LEVELS).index(level)])
    bins = QUIET + SEARCHED + AFTER
    onset = QUIET + SEARCHED - 45 + int(random.integers(0, 30))
    lag = min(cause.lag * float(np.exp(cause.sigma * random.standard_normal())), 80.0)
    began = START + (onset + random.random()) * STEP - lag * STEP
    place = {"model": str(random.choice(MODELS)), "region": str(random.choice(REGIONS)), "version": "v2"}
    scope = {name: place[name] for name in cause.scope}
    doses = tuple(Dose(at=began + number * 8 * STEP, share=share) for number, share in enumerate(cause.ramp))
    lasts = None if cause.lasts is None else began + cause.lasts * STEP
    truth = Change(
        kind=cause.kind,
        at=began,
        latest=began,
        what=cause.name,
        source="simulation",
        scope=scope,
        ended=lasts,
        doses=() if cause.new_version else doses,
    )
    cells = [{"model": model, "region": region, "version": "v1"} for model in MODELS for region in REGIONS]
    if cause.new_version:
        cells += [{"model": place["model"], "region": region, "version": "v2"} for region in REGIONS]
    innocents = _innocents(random, place, began)
    canary = next((one for one in innocents if "version" in one.scope), None)
    if canary is not None:
        cells += [{"model": place["model"], "region": region, "version": CANARY} for region in REGIONS]
    counts = _counts(random, cells, bins, truth, cause, doses, onset, LEVELS[level], canary)
    alert = {"model": place["model"]} if not cause.new_version else {"model": place["model"], "version": "v2"}
    fired = _fires(counts, alert, onset)
    asked = fired + 2
    counts = Counts(
        start=counts.start, step=STEP, cells=counts.cells, bad=counts.bad[:, :asked], total=counts.total[:, :asked]
    )
    changes = [*innocents, truth] if is_listed else innocents
    order = random.permutation(len(changes))
    changes = [changes[number] for number in order]
    changes = [change for change in changes if change.at <= counts.end]
    question = Question(
        scope=alert, fired_at=START + fired * STEP, earliest=START + (fired - SEARCHED) * STEP, signal=cause.signal
    )
    return Case(
        cause=cause.name,
        level=level,
        question=question,
        changes=tuple(changes),
        counts=counts,
        truth=truth if is_listed else None,
    )


def _counts(
    random: np.random.Generator,
    cells: list[dict[str, str]],
    bins: int,
    truth: Change,
    cause: Cause,
    doses: tuple[Dose, ...],
    onset: int,
    level: float,
    canary: Change | None,
) -> Counts:
    """Bursty counts around a level that all cells share, with the harm of the cause."""
    times = START + STEP * np.arange(bins)
    wander = np.zeros(bins)
    for number in range(1, bins):
        wander[number] = 0.9 * wander[number - 1] + 0.05 * random.standard_normal()
    shock = int(random.integers(QUIET, bins))
    wander[shock : shock + int(random.integers(10, 40))] += np.log(random.choice([1.0, 1.2, 1.4]))
    level_of = {model: level * float(random.choice([0.5, 1.0, 2.0])) for model in MODELS}
    share_of = dict(zip(REGIONS, random.dirichlet([8, 6, 4]), strict=True))
    factor = float(random.choice([2.0, 3.0, 4.0, 8.0])) if level > 2 else float(random.choice([4.0, 8.0]))
    reach = np.zeros(bins)
    for dose in doses:
        reach[times + STEP > dose.at] = dose.share
    ends = np.inf if truth.ended is None else truth.ended + STEP * float(random.exponential(2.0))
    is_hurt = (np.arange(bins) >= onset) & (times < ends)
    new_share = reach if doses else (times + STEP > truth.at).astype(float)
    bad, total = np.zeros((len(cells), bins)), np.zeros((len(cells), bins))
    for number, cell in enumerate(cells):
        rate = level_of[cell["model"]] * share_of[cell["region"]] * np.exp(wander)
        exposure = np.full(bins, 100.0 * level_of[cell["model"]] * share_of[cell["region"]])
        if cause.new_version and cell["model"] == truth.scope["model"]:
            part = new_share if cell["version"] == "v2" else 1 - new_share
            rate, exposure = rate * part, exposure * part
        if canary is not None and cell["model"] == canary.scope["model"]:
            part = np.where(times + STEP > canary.at, CANARY_SHARE, 0.0)
            part = part if cell["version"] == CANARY else 1 - part
            rate, exposure = rate * part, exposure * part
        touched = all(cell[name] == value for name, value in truth.scope.items())
        if touched:
            own = 1 + (factor - 1) * float(np.exp(0.25 * random.standard_normal()))
            dose = reach if doses and not cause.new_version else np.ones(bins)
            rate = rate * np.where(is_hurt, 1 + (own - 1) * dose, 1.0)
        shape = rate / (BURST - 1.0)
        noisy = np.where(rate > 0, random.gamma(np.maximum(shape, 1e-12)) * (BURST - 1.0), 0.0)
        bad[number], total[number] = random.poisson(noisy), exposure
    return Counts(start=START, step=STEP, cells=tuple(cells), bad=bad, total=total)


def _fires(counts: Counts, alert: Mapping[str, str], onset: int) -> int:
    """The bin at which an alert fires: five minutes with a share of bad events far above the usual, for two minutes."""
    mask = counts.touched(alert)
    model = counts.touched({"model": alert["model"]})
    usual_bad, usual = counts.rates(model, 0, QUIET)
    for number in range(onset + 3, onset + AFTER - 5):
        window = [counts.rates(mask, end - 5, end) for end in range(number - 1, number + 1)]
        expected = [usual_bad / usual * total for _, total in window]
        if all(bad > 1.6 * mean + 2 * np.sqrt(BURST * mean) for (bad, _), mean in zip(window, expected, strict=True)):
            return number
    return onset + AFTER - 5


def _innocents(random: np.random.Generator, place: Mapping[str, str], began: float) -> list[Change]:
    """Three to eight changes around the incident that have nothing to do with it."""
    kinds, weights = list(INNOCENT), np.array(list(INNOCENT.values()), dtype=float)
    found: list[Change] = []
    for number in range(int(random.integers(3, 9))):
        kind = kinds[int(random.choice(len(kinds), p=weights / weights.sum()))]
        names = SCOPES.get(kind, ("model",) if random.random() < 0.6 else ("model", "region"))
        here = {
            "model": place["model"] if random.random() < 0.4 else str(random.choice(MODELS)),
            "region": str(random.choice(REGIONS)),
        }
        at = began + STEP * float(random.uniform(-75, 20))
        scope = {name: here[name] for name in names}
        if kind is Kind.CANARY and here["model"] == place["model"] and not any("version" in one.scope for one in found):
            scope = {"model": here["model"], "version": CANARY}
        ended = at + STEP * float(random.uniform(5, 20)) if kind in (Kind.EXPERIMENT, Kind.DRILL) else None
        found.append(
            Change(
                kind=kind,
                at=at,
                latest=at,
                what=f"innocent {number}",
                source="simulation",
                scope=scope,
                ended=ended,
            )
        )
    return found
