"""What margin a fleet needs: each pod in turn is compared with the others of its own version, where nothing changed.

Two things make a canary fail without a reason: events that come in bursts, and pods that differ for good (another node,
another neighbour). Both show between pods of one version. The test itself is run on every pod and stretch of the
history at one margin after the other; the smallest whose false alarms stay within the budget is what the fleet needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import beta

from midwatch import promql
from midwatch.serving import Profile
from midwatch.spec import canary as spec
from midwatch.spec.values import format_duration
from monitors.canary import criteria, fetch
from monitors.canary.arms import Arms
from monitors.canary.counts import Counted, Counts
from monitors.canary.expressions import Expressions
from monitors.canary.question import Question
from monitors.canary.series import Querier

MARGINS = (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0)
MAX_PODS = 30
BURSTY = 1.5
"""Variance of events beyond that of independent ones from which a baseline of equal size is advised."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the history says of one criterion.

    `dispersion` is the variance of a pod's events given all pods', in units of that of independent events;
    `pod_effect` the relative deviation of lasting differences between pods (0 when noise explains them). `alarms`
    gives, by margin, how many of the `comparisons` failed; `margin` is the smallest within the budget, None without
    one, or when there are too few comparisons to say; `at_most` the 95% upper bound of its false-alarm share.
    """

    name: str
    comparisons: int
    dispersion: float | None
    pod_effect: float | None
    alarms: Mapping[float, int]
    margin: float | None
    at_most: float | None
    configured: float
    reason: str


def pods(
    querier: Querier,
    settings: spec.Canary,
    *,
    model: str,
    version: str,
    by: str,
    served: Profile | None = None,
    end: float,
    history: float,
) -> list[str]:
    """Values of the label `by` that the version's pods had."""
    question = Question(model=model, baseline=version, canary=version, served=served)
    found = set()
    for counter in Expressions(question, settings).traffic():
        selector = promql.narrowed(counter, promql.matcher(settings.label, version))
        expr = f"count by ({by}) (last_over_time({selector}[{format_duration(history)}]))"
        found |= {sample.labels[by] for sample in querier.query(expr, at=end) if by in sample.labels}
    return sorted(found)


def compare(
    querier: Querier,
    settings: spec.Canary,
    pods: Sequence[str],
    *,
    model: str,
    version: str,
    by: str,
    served: Profile | None = None,
    start: float,
    end: float,
    interval: float,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Counts]:
    """Counts of each pod against the others, over the whole history."""
    counted = [one for one in settings.criteria if not isinstance(one, spec.Gauge | spec.Fairness)]
    told = []
    for pod in pods[:MAX_PODS]:
        progress(pod)
        arms = spec.Selectors(
            baseline=f"{promql.matcher(settings.label, version)}, {promql.matcher(by, promql.not_equal(pod))}",
            canary=f"{promql.matcher(settings.label, version)}, {promql.matcher(by, pod)}",
        )
        within = settings.model_copy(update={"selectors": arms, "criteria": counted})
        question = Question(model=model, baseline=f"others than {pod}", canary=pod, start=start, end=end, served=served)
        told.append(fetch.fetch(querier, question, within, interval=interval))
    return told


def assess(histories: Sequence[Counts], settings: spec.Canary, *, looks: int) -> list[Calibration]:
    """Calibration of each counted criterion from histories of pods, cut into stretches of so many looks."""
    calibrations = []
    for criterion in settings.criteria:
        if isinstance(criterion, spec.Gauge | spec.Fairness):
            continue
        name = spec.name_of(criterion)
        stretches = [
            piece
            for counts in histories
            if (data := counts.counted.get(name)) is not None
            for piece in _cut(data, looks)
            if _is_telling(piece)
        ]
        calibrations.append(_calibrated(criterion, name, stretches, float(settings.false_alarm)))
    return calibrations


def _cut(data: Counted, looks: int) -> list[Counted]:
    return [
        replace(
            data,
            strata={},
            baseline_events=data.baseline_events[:, at : at + looks],
            canary_events=data.canary_events[:, at : at + looks],
            baseline_requests=data.baseline_requests[at : at + looks],
            canary_requests=data.canary_requests[at : at + looks],
        )
        for at in range(0, data.baseline_requests.size - looks + 1, looks)
    ]


def _is_telling(piece: Counted) -> bool:
    return bool(piece.baseline_requests.sum() and piece.canary_requests.sum() and piece.baseline_events.sum())


def _calibrated(criterion: spec.Counted, name: str, pieces: Sequence[Counted], alpha: float) -> Calibration:
    alarms = {margin: sum(_fails(criterion, piece, margin, alpha) for piece in pieces) for margin in MARGINS}
    needed = math.ceil(1 / alpha)
    within = [margin for margin, count in alarms.items() if count <= alpha * len(pieces)]
    margin = within[0] if within and len(pieces) >= needed else None
    dispersion = _dispersion(pieces)
    if len(pieces) < needed:
        reason = f"{len(pieces)} comparisons; {needed} are needed: a longer history, or more pods"
    elif margin is None:
        reason = f"no margin up to {MARGINS[-1]:g} keeps false alarms within {alpha:.0%}"
    elif margin <= criterion.tolerated_ratio:
        reason = f"tolerated_ratio {criterion.tolerated_ratio:g} is enough"
    else:
        reason = f"tolerated_ratio {criterion.tolerated_ratio:g} is too small: write {margin:g}"
    if dispersion is not None and dispersion > BURSTY:
        reason += f"; events are bursty ({dispersion:.1f} times the variance): consider equal_baseline"
    return Calibration(
        name=name,
        comparisons=len(pieces),
        dispersion=dispersion,
        pod_effect=_pod_effect(pieces),
        alarms=alarms,
        margin=margin,
        at_most=None if margin is None else float(beta.ppf(0.95, alarms[margin] + 1, len(pieces) - alarms[margin])),
        configured=criterion.tolerated_ratio,
        reason=reason,
    )


def _fails(criterion: spec.Counted, piece: Counted, margin: float, alpha: float) -> bool:
    """Whether the test at this margin would have failed the pod."""
    changes = {"tolerated_ratio": margin, "unacceptable_ratio": max(criterion.unacceptable_ratio, margin * 1.01)}
    against = criteria.against(criterion.model_copy(update=changes), piece)
    return bool(against.max(initial=-math.inf) >= math.log(1 / alpha))


def _dispersion(pieces: Sequence[Counted]) -> float | None:
    """Pearson's statistic per degree of freedom, of the canary's events given both arms' (1 when independent).

    Each stretch's own share of events is taken as given, so that lasting differences do not count as bursts. Of a
    criterion with channels the busiest tells.
    """
    total, freedom = 0.0, 0
    for piece in pieces:
        arms = piece.arms(int(piece.baseline_events.sum(axis=-1).argmax()))
        canary, both = arms.told()
        if not 0 < canary.sum() < both.sum():
            continue
        odds = canary.sum() / (both.sum() - canary.sum()) * arms.baseline_requests.sum() / arms.canary_requests.sum()
        share = arms.share()
        expected = share * odds / (1 - share + share * odds)
        variance = both * expected * (1 - expected)
        told = variance > 0
        total += float(((canary - both * expected)[told] ** 2 / variance[told]).sum())
        freedom += int(told.sum()) - 1
    return total / freedom if freedom > 0 else None


def _pod_effect(pieces: Sequence[Counted]) -> float | None:
    """Deviation of the log ratios between pod and others beyond what their counts explain (moments)."""
    logs, noise = [], []
    for piece in pieces:
        arms: Arms = piece.arms(int(piece.baseline_events.sum(axis=-1).argmax()))
        canary, baseline = int(arms.canary_events.sum()), int(arms.baseline_events.sum())
        if canary and baseline:
            rate = arms.baseline_requests.sum() / arms.canary_requests.sum()
            logs.append(math.log(canary / baseline * rate))
            noise.append(1 / canary + 1 / baseline)
    if len(logs) < 2:
        return None
    return math.sqrt(max(0.0, float(np.var(logs, ddof=1)) - float(np.mean(noise))))
