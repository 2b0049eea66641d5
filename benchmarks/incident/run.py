"""Figures of "what changed?": simulated incidents with and without their cause among the changes, beside two baselines.

Constants of the ranking were fitted on seeds from 1000 on; seeds below 11 were looked at meanwhile, and
what is judged here was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.figure import Comparison, Figure
from benchmarks.incident import simulation
from benchmarks.incident.simulation import Case
from monitors.incident.ranking import Ranking

SEEDS = range(11, 12)
"""One seed is 60 incidents: 20 causes at three levels of traffic."""

MANY = range(11, 21)
"""For intervals: 600."""

SURE = 0.8

NONE = "none of these"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was said of one incident: the names in the order of the ranking, its first probability, and the truth."""

    case: Case
    names: Sequence[str]
    stated: float
    truth: str

    @property
    def place(self) -> int:
        """Place of the truth, 0 for the first."""
        return self.names.index(self.truth)

    @property
    def blames_innocent(self) -> bool:
        """Whether a change is first that is not the cause."""
        return self.names[0] not in (self.truth, NONE)


def run(*, smoke: bool) -> list[Figure | Comparison]:
    """The figures of 60 incidents and of as many without their cause, and the tables of 600."""
    seeds = SEEDS
    begun = time.perf_counter()
    listed, unlisted = (judged(seeds, is_listed=is_listed) for is_listed in (True, False))
    seconds = (time.perf_counter() - begun) / (len(listed) + len(unlisted))
    many = (listed, unlisted) if smoke else tuple(judged(MANY, is_listed=is_listed) for is_listed in (True, False))
    return [*_figures(listed, unlisted, seconds), *_tables(*many)]


def judged(seeds: Iterable[int], *, is_listed: bool) -> list[Judged]:
    """Rank every simulated incident of the seeds."""
    return [
        _judge(simulation.case(cause, level, seed, is_listed=is_listed))
        for seed in seeds
        for cause in simulation.CAUSES
        for level in simulation.LEVELS
    ]


def _judge(case: Case) -> Judged:
    ranked = Ranking(case.question, case.changes, case.counts).ranked
    chances = [*ranked.probabilities, ranked.none]
    names = [*(change.what for change in case.changes), NONE]
    order = sorted(range(len(names)), key=lambda number: -chances[number])
    return Judged(
        case=case,
        names=[names[number] for number in order],
        stated=chances[order[0]],
        truth=case.truth.what if case.truth else NONE,
    )


def _figures(listed: list[Judged], unlisted: list[Judged], seconds: float) -> list[Figure]:
    candidates = np.mean([len(one.case.changes) for one in listed])
    sure = [one for one in (*listed, *unlisted) if one.stated >= SURE]
    baselines = f"{candidates:.1f} changes; random {1 / candidates:.0%}, latest change {_latest(listed):.0%}"
    return [
        _share("incident: true cause first", 0.90, listed, lambda one: one.place == 0, baselines),
        _share(
            "incident: true cause in the first three",
            0.98,
            listed,
            lambda one: one.place < 3,
            f"random {min(3 / candidates, 1):.0%}",
        ),
        _share("incident: none of these, where the cause is not listed", 0.90, unlisted, lambda one: one.place == 0),
        Figure(
            name="incident: an innocent change first, where the cause is listed",
            target=0.05,
            measured=float(np.mean([one.blames_innocent for one in listed])),
            unit="share",
            better="less",
        ),
        _share(
            f"incident: statements at {SURE:.0%} or more that are right",
            0.95,
            sure,
            lambda one: one.place == 0,
            f"{len(sure)} of {len(listed) + len(unlisted)}",
        ),
        Figure(name="incident: time to rank", target=2.0, measured=seconds, unit="s", better="less"),
    ]


def _share(
    name: str, target: float, found: Sequence[Judged], is_right: Callable[[Judged], bool], peer: str = ""
) -> Figure:
    measured = float(np.mean([is_right(one) for one in found])) if found else 0.0
    return Figure(name=name, target=target, measured=measured, unit="share", better="more", peer=peer)


def _latest(found: Sequence[Judged]) -> float:
    """How often the latest change before the alert is the cause."""
    return float(np.mean([_is_latest(one.case) for one in found]))


def _is_latest(case: Case) -> bool:
    before = [change for change in case.changes if change.at <= case.question.fired_at]
    return max(before, key=lambda change: change.at) is case.truth


def _tables(listed: list[Judged], unlisted: list[Judged]) -> list[Comparison]:
    causes = [cause.name for cause in simulation.CAUSES]
    return [
        _table("cause", causes, lambda one: one.case.cause, listed, unlisted),
        _table("traffic", list(simulation.LEVELS), lambda one: one.case.level, listed, unlisted),
        _calibration([*listed, *unlisted]),
    ]


def _table(
    what: str,
    values: Sequence[str],
    value_of: Callable[[Judged], str],
    listed: Sequence[Judged],
    unlisted: Sequence[Judged],
) -> Comparison:
    rows = []
    for value in [*values, "all"]:
        own, without = ([one for one in each if value in ("all", value_of(one))] for each in (listed, unlisted))
        candidates = float(np.mean([len(one.case.changes) for one in own]))
        rows.append(
            (
                value,
                str(len(own)),
                f"{candidates:.1f}",
                _percent([one.place == 0 for one in own]),
                _percent([one.place < 3 for one in own]),
                _percent([one.blames_innocent for one in own]),
                _percent([one.place == 0 for one in without]),
                f"{1 / candidates:.0%}",
                f"{_latest(own):.0%}",
            )
        )
    columns = (
        what,
        "incidents",
        "changes",
        "first",
        "in three",
        "innocent first",
        "none, not listed",
        "random",
        "latest",
    )
    return Comparison(title=f"incidents by {what}", columns=columns, rows=rows)


def _percent(found: Sequence[bool]) -> str:
    return f"{np.mean(found):.0%}"


def _calibration(found: Sequence[Judged]) -> Comparison:
    rows = []
    for lower, upper in ((0.0, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 0.99), (0.99, 1.01)):
        own = [one for one in found if lower <= one.stated < upper]
        if own:
            stated = np.mean([one.stated for one in own])
            right = _percent([one.place == 0 for one in own])
            rows.append((f"{lower:.0%} to {min(upper, 1.0):.0%}", str(len(own)), f"{stated:.0%}", right))
    return Comparison(
        title="incidents, half of them with a cause that is not listed: stated and right",
        columns=("stated", "statements", "on average", "right"),
        rows=rows,
    )
