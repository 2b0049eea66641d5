"""Fairness judged as the evaluator does: again and again, in runs of counting, beside a window that moves on.

Every history is a model of its own, in an `Asked` as Prometheus would give it; `since` is what the evaluator published.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.figure import Comparison
from midwatch import metrics
from midwatch.spec.fairness import Fairness
from midwatch.spec.model import Model
from monitors.fairness import promises, verdict
from monitors.fairness.fetch import Asked, Window
from monitors.fairness.projection import Floats
from monitors.fairness.verdict import Counts, Limit, Settings, Verdict

SIZE, BLOCK, OVERS = 40, 600.0, 6
"""Blocks that are read back, their seconds, and how many times as long a version serves."""
STEP = SIZE // 8
"""Blocks between two looks: nothing comes in between that a later look would not see."""
ROWS = 20_000
"""Of all groups in the blocks that are read back."""
CASES = (
    ("2 groups 50/50", (0.5, 0.5)),
    ("2 groups 80/20", (0.8, 0.2)),
    ("2 groups 99/1", (0.99, 0.01)),
    ("8 groups", (1 / 8,) * 8),
)
RATES = (0.01, 0.1, 0.5)


def false_alarms(rng: np.random.Generator, runs: int) -> tuple[float, Comparison]:
    """Ever called unfair exactly on the limit, in percent: counted from fixed times, and by a window that moves."""
    rows, worst = [], 0.0
    for name, shares in CASES:
        for rate in RATES:
            rates = (rate, *(0.8 * rate,) * (len(shares) - 1))
            histories = [_history(rng, rates, shares) for _ in range(runs)]
            kept, moved = (_ever_unfair(histories, is_kept=is_kept) for is_kept in (True, False))
            worst = max(worst, kept)
            rows.append((name, f"{rate:.0%}", f"{kept:.1f}", f"{moved:.1f}"))
    columns = ("groups", "rate", "counted from fixed times", "window that moves on")
    title = f"Ever called unfair on the limit, % of histories, looked at for {OVERS} times what is read back"
    return worst, Comparison(title=title, columns=columns, rows=rows)


def power(rng: np.random.Generator, runs: int) -> Comparison:
    """How many of those apart are shown so within what is read back: of a new version, and of an old one."""
    rows = []
    for name, shares in CASES[:3]:
        for apart in (0.5, 0.6, 0.7):
            cases = [_counts(_history(rng, (0.3, 0.3 * apart), shares)) for _ in range(runs)]
            shown = (
                verdict.judge_all(cases, Settings(limit=Limit(ratio=0.8), alpha=0.05 * share, min_events=11))
                for share in (1.0, 1 / 2, 1 / (25 * 26))
            )
            found = (np.mean([one.verdict is Verdict.UNFAIR for one in said]) for said in shown)
            rows.append((name, f"{apart:.0%}", *(f"{share:.0%}" for share in found)))
    columns = ("groups", "ratio of rates", "one look's whole budget", "a new version", "after 12 times `over`")
    title = f"Shown unfair within {ROWS:,} rows, rate 30%"
    return Comparison(title=title, columns=columns, rows=rows)


def _history(rng: np.random.Generator, rates: Sequence[float], shares: Sequence[float]) -> tuple[Floats, Floats]:
    """Events and hits by group and block."""
    events = rng.multinomial(ROWS // SIZE, shares, size=SIZE * OVERS).T
    return events.astype(float), rng.binomial(events, np.array(rates)[:, None]).astype(float)


def _counts(history: tuple[Floats, Floats]) -> Counts:
    events, hits = (found[None, :, :SIZE] for found in history)
    return Counts(groups=tuple(f"g{place}" for place in range(events.shape[1])), events=events, hits=hits)


def _ever_unfair(histories: Sequence[tuple[Floats, Floats]], *, is_kept: bool) -> float:
    """Percent that a look called unfair; `is_kept` says whether the evaluator knows since when it counts."""
    fleet = [_model(f"m{number}") for number in range(len(histories))]
    unfair: set[str] = set()
    for end in range(STEP, SIZE * OVERS + 1, STEP):
        window = Window(start=BLOCK * (end - SIZE), block=BLOCK, size=SIZE)
        predicted = {(f"m{number}", "v1"): _cells(*one, end) for number, one in enumerate(histories)}
        asked = Asked(
            predicted=predicted,
            totals={metrics.PREDICTIONS.name: predicted},
            labelled={},
            settled={},
            folded=frozenset(),
            queries=(),
            since={(model.name, "v1"): 0.0 for model in fleet} if is_kept else {},
        )
        found = promises.judge(fleet, asked, window)
        unfair |= {one.model for one in found if one.judgement.verdict is Verdict.UNFAIR}
    return 100 * len(unfair) / len(fleet)


def _cells(events: Floats, hits: Floats, end: int) -> dict[tuple[str, str, str, str], Floats]:
    """Counts of the blocks that are read back; none before the version's first."""
    cells = {}
    for group, (seen, right) in enumerate(zip(events, hits, strict=True)):
        for predicted, row in (("yes", right), ("no", seen - right)):
            padded = np.concatenate([np.zeros(SIZE), row])
            cells["country", f"g{group}", predicted, ""] = padded[end : end + SIZE]
    return cells


def _model(name: str) -> Model:
    promise = {"attribute": "country", "measure": "demographic_parity", "ratio": "80%", "min_events": 11}
    promise |= {"over": f"{SIZE * BLOCK:.0f}s", "block": f"{BLOCK:.0f}s"}
    document = {"name": name, "owner": "o", "task": "classification", "positive": "yes", "groups": ["country"]}
    return Model.model_validate(document).model_copy(update={"fairness": [Fairness.model_validate(promise)]})
