"""What a report of a month says, as facts. Times are seconds since the epoch, shares run from 0 to 1; None: not known.

Shares of few events come with their counts and a 95% interval (Wilson): 3 of 4 is not 75%.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FAIRNESS_VERDICT = "fairness verdict"
"""Kind of a promise that the evaluator judges, and that has no budget."""
WILSON_Z = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Share:
    """So many of so many. Of none there is no share."""

    some: float
    of: float

    @property
    def value(self) -> float | None:
        """The share."""
        return self.some / self.of if self.of > 0 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval (Wilson 1927, J. Am. Stat. Assoc. 22, 209-212).

        >>> low, high = Share(some=3, of=4).interval
        >>> round(low, 2), round(high, 2)
        (0.3, 0.95)
        """
        share = self.value
        if share is None:
            return None
        z2, spread = WILSON_Z**2, max(0.0, share * (1 - share))
        middle = share + z2 / (2 * self.of)
        half = WILSON_Z * math.sqrt(spread / self.of + z2 / (4 * self.of**2))
        whole = 1 + z2 / self.of
        return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


@dataclass(frozen=True, kw_only=True)
class Promise:
    """An objective in the month: what was promised, what was attained, and how much of its budget was spent.

    `objectives` are those that held in it, in order: more than one when it was changed. `good` counts events. `covered`
    is the share of the month of which there are counts. `budget` is the number of bad events that it allowed. A promise
    without a budget is kept or broken as it was shown: `shown_kept`; None where that was not decided.
    """

    subject: str
    name: str
    kind: str
    owner: str
    objectives: tuple[float, ...]
    good: Share
    budget: float
    covered: float
    shown_kept: bool | None = None

    @property
    def bad(self) -> float:
        """Bad events."""
        return self.good.of - self.good.some

    @property
    def spent(self) -> float | None:
        """Share of its budget that was spent."""
        return self.bad / self.budget if self.budget > 0 else None

    @property
    def is_kept(self) -> bool | None:
        """Whether no more was bad than was allowed; None where nothing was counted."""
        return self.shown_kept if self.spent is None else self.spent <= 1

    @property
    def is_sure(self) -> bool:
        """Whether so many events tell it: the interval of what was attained does not reach over the objective."""
        interval = self.good.interval
        if interval is None or not self.objectives:
            return self.shown_kept is not None
        return not interval[0] < 1 - self.budget / self.good.of <= interval[1]

    @property
    def key(self) -> str:
        """Subject and name."""
        return f"{self.subject}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Harm:
    """A stretch of hours in which an objective surely did worse than is promised.

    `spent` is its share of the month's budget, `during` names experiments and drills that ran then, `told` the alerts
    that fired meanwhile. `cause` is what most likely caused it, in words; empty where nobody could be asked.
    `paged_after` are seconds until the first page.
    """

    subject: str
    name: str
    owner: str
    start: float
    end: float
    bad: float
    spent: float
    during: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    paged_after: float | None = None
    cause: str = ""


@dataclass(frozen=True, kw_only=True)
class Firing:
    """One time that an alert fired. `held_by` says what kept it from everybody, empty for nothing.

    `began_before` is whether it fired already when the month began, `during` names what ran on purpose meanwhile.
    `acted` is what shows that somebody acted on it, None where nothing that is kept would show it.
    """

    alert: str
    severity: str
    owner: str
    subject: str
    slo: str
    version: str
    start: float
    end: float
    began_before: bool = False
    is_open: bool = False
    held_by: str = ""
    during: tuple[str, ...] = ()
    acted: str | None = None
    harmed: bool | None = None

    @property
    def is_counted(self) -> bool:
        """Whether it told somebody something new in this month."""
        return not self.began_before and not self.held_by


@dataclass(frozen=True, kw_only=True)
class AlertQuality:
    """What one alert was worth in the month.

    `precision`: of its firings that can be judged, those during which an objective was harmed. `repeated` began within
    a day after the one before ended. `acted` are those that somebody is known to have acted on, of those where it
    would be known.
    """

    alert: str
    owner: str
    severity: str
    fired: int
    held: int
    flapped: int
    repeated: int
    at_night: int
    on_purpose: int
    precision: Share
    acted: Share


@dataclass(frozen=True, kw_only=True)
class OwnerMonth:
    """An owner's month: promises, and what it was told."""

    owner: str
    kept: int
    broken: int
    unknown: int
    pages: int
    tickets: int
    at_night: int
    held: int
    most_in_a_shift: int
    acted: Share


@dataclass(frozen=True, kw_only=True)
class ModelMonth:
    """A model's quality in the month: labelled predictions that were right, and drift."""

    model: str
    owner: str
    accuracy: Share
    episodes: int | None
    drifting: float | None
    """Share of the month in an episode of drift."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A drill or an experiment that ended in the month."""

    kind: str
    name: str
    store: str
    at: float
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A stretch without any count of any objective."""

    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One month, without the one beside it."""

    month: str
    start: float
    end: float
    is_over: bool
    promises: tuple[Promise, ...] = ()
    harms: tuple[Harm, ...] = ()
    firings: tuple[Firing, ...] = ()
    knows_alerts: bool = True
    """Whether Prometheus said what fired; else there are no firings, and that means nothing."""
    alerts: tuple[AlertQuality, ...] = ()
    owners: tuple[OwnerMonth, ...] = ()
    models: tuple[ModelMonth, ...] = ()
    runs: tuple[Run, ...] = ()
    overdue: tuple[str, ...] = ()
    recall: Share = field(default_factory=lambda: Share(some=0, of=0))
    recall_by_page: Share = field(default_factory=lambda: Share(some=0, of=0))
    precision: Share = field(default_factory=lambda: Share(some=0, of=0))
    restorable: Mapping[str, float] = field(default_factory=dict)
    """Of each store the age of the newest point that was restored and verified, at the month's end, in seconds."""
    cost: float | None = None
    covered: float | None = None
    gaps: tuple[Gap, ...] = ()
    days: tuple[float, ...] = ()
    spent_by_day: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """Budget spent since the month's begin, at the end of each day, of each objective."""
    missing: tuple[str, ...] = ()
    unseen_regions: tuple[str, ...] = ()
    """Regions that the view has nothing of: what is said of all is of the others."""
    """What is not known, and why."""

    @property
    def kept(self) -> int:
        """Promises that were kept."""
        return sum(one.is_kept is True for one in self.promises)

    @property
    def broken(self) -> int:
        """Promises that were broken."""
        return sum(one.is_kept is False for one in self.promises)

    @property
    def unknown(self) -> int:
        """Promises of which nothing was counted."""
        return sum(one.is_kept is None for one in self.promises)

    @property
    def pages(self) -> int:
        """Pages that somebody was sent."""
        return sum(one.severity == "page" and one.is_counted for one in self.firings)

    @property
    def tickets(self) -> int:
        """Tickets that somebody was sent."""
        return sum(one.severity != "page" and one.is_counted for one in self.firings)


@dataclass(frozen=True, kw_only=True)
class SloReport:
    """A month, the one before, and what follows from it. `never_fired` are alerts of the platform without a firing
    within `looked_back` seconds."""

    platform: str
    zone: str
    made_at: float
    prometheus: str
    now: Figures
    before: Figures
    never_fired: tuple[str, ...] = ()
    looked_back: float = 0.0
    suggestions: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """All of it as JSON values; what follows from the facts is beside them."""
        import msgspec

        document: dict[str, Any] = msgspec.to_builtins(self)
        for figures, written in ((self.now, document["now"]), (self.before, document["before"])):
            for name in ("kept", "broken", "unknown", "pages", "tickets"):
                written[name] = getattr(figures, name)
            if not figures.knows_alerts:
                written |= {"pages": None, "tickets": None}
            for promise, one in zip(figures.promises, written["promises"], strict=True):
                one |= {"spent": promise.spent, "kept": promise.is_kept, "sure": promise.is_sure}
                one["attained"], one["interval"] = promise.good.value, promise.good.interval
        return document
