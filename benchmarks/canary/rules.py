"""The rules in use elsewhere, on the same simulated canaries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import mannwhitneyu

from benchmarks.canary.simulation import LOOKS, MINUTES, NEVER, STEP, arms_of, fails, percent
from benchmarks.figure import Comparison
from monitors.canary import mannwhitney
from monitors.canary.arms import Arms, Floats


def _rates(arms: Arms, per: int) -> tuple[Floats, Floats]:
    """Error shares of both arms by `per` intervals: what a PromQL ratio of rates gives."""
    sides = []
    for events, requests in (
        (arms.baseline_events, arms.baseline_requests),
        (arms.canary_events, arms.canary_requests),
    ):
        shape = (events.shape[0], LOOKS // per, per)
        total = requests.reshape(shape).sum(-1)
        sides.append(np.divide(events.reshape(shape).sum(-1), total, out=np.zeros(total.shape), where=total > 0))
    return sides[0], sides[1]


FIRST_LOOK = 5
"""Minutes before the rules on minute samples look for the first time."""


def _p_values(baseline: Floats, canary: Floats) -> Floats:
    """One-sided Mann-Whitney p-values of the minute samples so far, shape (runs, minutes)."""
    found = np.ones(baseline.shape)
    for minute in range(FIRST_LOOK, MINUTES + 1):
        sides = (canary[:, :minute], baseline[:, :minute])
        found[:, minute - 1] = mannwhitneyu(*sides, alternative="greater", axis=1, method="asymptotic").pvalue
    return found


def _kayenta(arms: Arms, every: int) -> Floats:
    """Kayenta's judge on minute samples of the whole time so far, every so many minutes; only increases count."""
    rule = mannwhitney.Rule(direction="increase")
    baseline, canary = _rates(arms, int(60 / STEP))
    # Its interval lies above 0 only where the test at its confidence rejects: elsewhere there is no need to invert it.
    worth = _p_values(baseline, canary) < (1 - rule.confidence) / 2 * 1.01
    found = np.full(len(baseline), NEVER)
    for run in range(len(baseline)):
        for minute in range(max(FIRST_LOOK, every), MINUTES + 1, every):
            if not worth[run, minute - 1]:
                continue
            said = mannwhitney.classify(baseline[run, :minute], canary[run, :minute], rule)
            if said.label is mannwhitney.Label.HIGH:
                found[run] = minute
                break
    return found


def _plain(arms: Arms, every: int) -> Floats:
    """A one-sided Mann-Whitney test at 5% on minute samples, at every look."""
    hit = _p_values(*_rates(arms, int(60 / STEP)))[:, every - 1 :: every] < 0.05
    found: Floats = np.where(hit.any(axis=-1), (hit.argmax(axis=-1) + 1) * float(every), NEVER)
    return found


def _threshold(arms: Arms, every: int) -> Floats:
    """Argo Rollouts' usual condition: more than twice the baseline's share over 5 minutes, in 3 looks in a row."""
    window = int(300 / STEP)

    def rolling(values: Floats) -> Floats:
        total = np.cumsum(values, axis=-1)
        found: Floats = total[:, window - 1 :] - np.pad(total, ((0, 0), (1, 0)))[:, :-window]
        return found

    baseline = rolling(arms.baseline_events) / np.maximum(rolling(arms.baseline_requests), 1)
    canary = rolling(arms.canary_events) / np.maximum(rolling(arms.canary_requests), 1)
    looks = (canary > 2 * baseline)[:, :: int(every * 60 / STEP)]
    held = looks[:, 2:] & looks[:, 1:-1] & looks[:, :-2]
    found: Floats = np.where(held.any(axis=-1), 5 + (held.argmax(axis=-1) + 2) * float(every), NEVER)
    return found


RULES: dict[str, tuple[Callable[[Arms, int], Floats], int]] = {
    "Kayenta, every 5 min": (_kayenta, 5),
    "Kayenta, every min": (_kayenta, 1),
    "Mann-Whitney, every min": (_plain, 1),
    'threshold "> 2x"': (_threshold, 1),
}


def compared(runs: int, progress: Callable[[str], None]) -> Comparison:
    """All rules on the same runs."""
    scenes = {
        "no change, 2/s": arms_of(runs, rps=2, seed=21),
        "no change, 50/s": arms_of(runs, rps=50, seed=22),
        "no change, 500/s": arms_of(runs, rps=500, seed=23),
        "x2, 50/s": arms_of(runs, rps=50, ratio=2, seed=24),
        "x5, 50/s": arms_of(runs, rps=50, ratio=5, seed=25),
        "x5, 2/s": arms_of(runs, rps=2, ratio=5, seed=26),
        "x1.5, 500/s": arms_of(runs, rps=500, ratio=1.5, seed=27),
    }
    rows = []
    for name, arms in scenes.items():
        progress(name)
        minutes = [fails(arms), *(rule(arms, every) for rule, every in RULES.values())]
        rows.append([name, *(_cell(one) for one in minutes)])
    title = f"canary: failed, and median minutes where most runs fail ({runs} runs each, the same for all rules)"
    return Comparison(title=title, columns=["", "midwatch, every 15 s", *RULES], rows=rows)


def _cell(minutes: Floats) -> str:
    failed, median = percent(minutes), float(np.median(minutes))
    return f"{failed:.1f}%" + (f", {median:g} min" if median < NEVER else "")
