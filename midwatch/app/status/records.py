"""What is known of the platform now: facts with their time, and what was asked and not answered.

Nothing here asks anybody: `read` fills these in, `view` shows them in a terminal and the console on its pages.
Figures that nobody gave are None, never 0. Times are UTC, durations are seconds, shares run from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Whether somebody should act. UNKNOWN is never calm: something that would say so did not answer."""

    CALM = "calm"
    ACT = "act"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """One thing that was asked for and not answered: of whom, why, and what is not known without it."""

    what: str
    of: str
    why: str


# Promises ---------------------------------------------------------------------------------------------------------


class Standing(StrEnum):
    """How an objective stands, worst first."""

    EXHAUSTED = "exhausted"
    """Its budget is spent."""
    BROKEN = "broken"
    """It is shown broken, and has no budget."""
    BURNING = "burning"
    """It is spent faster than is promised, and would be gone before the period ends."""
    UNKNOWN = "unknown"
    """It is promised, and Prometheus has no record of it."""
    NO_DATA = "no data"
    """Its rules are evaluated, and there was nothing to count in the period."""
    UNDECIDED = "undecided"
    """It is judged, and what was seen does not decide it yet."""
    KEPT = "kept"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """An objective of a model or service, and its error budget in the running period.

    `subject` is the model's or service's name, `group` the labels of an objective that is kept by version or the like.
    `objective` and `error` are shares of events: promised good ones, and bad ones so far. `budget_left` is negative
    when overspent. `burn_rate` is that of the last hour: 1 spends the budget just by the period's end. `events` are
    those of the period; `period` is in words, such as `30d` or `month`. `exhausted_in` is None when it never would be.
    `budget_at_least` is what is left over all regions if a silent one has failed ever since.
    """

    subject: str
    name: str
    owner: str
    group: Mapping[str, str]
    standing: Standing
    period: str
    objective: float | None = None
    error: float | None = None
    budget_left: float | None = None
    burn_rate: float | None = None
    exhausted_in: float | None = None
    events: float | None = None
    budget_at_least: float | None = None

    @property
    def key(self) -> str:
        """What addresses it: subject and name, and its group where it has one."""
        group = ",".join(f"{name}={value}" for name, value in sorted(self.group.items()))
        return "/".join([self.subject, self.name, *([group] if group else [])])


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a model that was asked for predictions lately: requests per second, and the share that failed."""

    version: str
    requests: float | None = None
    errors: float | None = None
    is_drifting: bool | None = None


class Kind(StrEnum):
    """What an objective's subject is."""

    MODEL = "model"
    SERVICE = "service"
    """Anything else with objectives: a team's service, or a system of the platform."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model or a service: whose it is, its objectives and versions, and how many alerts of it fire.

    Subjects are ordered by `trouble`, the more the worse; equal ones by name. `reasons` say in words what makes it up.
    """

    name: str
    kind: Kind
    owner: str
    state: State
    trouble: float
    reasons: tuple[str, ...] = ()
    objectives: tuple[Objective, ...] = ()
    versions: tuple[Version, ...] = ()
    pages: int = 0
    tickets: int = 0

    @property
    def least_left(self) -> float | None:
        """The smallest budget that is left among its objectives."""
        return min((one.budget_left for one in self.objectives if one.budget_left is not None), default=None)


# Alerts -----------------------------------------------------------------------------------------------------------


class Told(StrEnum):
    """What became of an alert at one receiver."""

    DELIVERED = "delivered"
    """It was notified, as far as Alertmanager's counters say: `by` has them."""
    WAITING = "waiting"
    """Its group waits for others: `by` says how long."""
    MUTED = "muted"
    """A time interval of the route: `by` names it."""
    SILENCED = "silenced"
    """A silence: `by` has its id, whose it is and why."""
    INHIBITED = "inhibited"
    """Another alert, by an inhibition: `by` names both."""
    FAILED = "failed"
    """Attempts of its integration failed since it fires."""
    NOBODY = "nobody"
    """The receiver has no integration."""
    NOT_THERE = "not at Alertmanager"
    """It fires in Prometheus, and Alertmanager does not have it."""
    UNKNOWN = "not known"
    """`by` says what would have to answer."""


HELD_BACK = frozenset({Told.MUTED, Told.SILENCED, Told.INHIBITED})
"""Somebody decided that nobody is told."""


@dataclass(frozen=True, kw_only=True)
class Telling:
    """One receiver of an alert, its integrations, and what became of the alert there, by what."""

    receiver: str
    integrations: tuple[str, ...]
    told: Told
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert that fires: since when, whose it is, and who was told.

    `labels` are all of them; `sources` say who has it: `prometheus`, `alertmanager`. `fingerprint` is Alertmanager's,
    empty where it does not have it. `silences` are the ids of those that hold it back.
    """

    name: str
    severity: str
    owner: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    since: datetime | None
    sources: tuple[str, ...]
    telling: tuple[Telling, ...]
    fingerprint: str = ""
    silences: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The model, store, experiment or system that it is about, by its labels; else nothing."""
        about = ("model", "store", "experiment", "system", "service", "job")
        return next((self.labels[label] for label in about if self.labels.get(label)), "")

    @property
    def is_held_back(self) -> bool:
        """Whether somebody decided, for every receiver, that nobody is told."""
        return bool(self.telling) and all(one.told in HELD_BACK for one in self.telling)


@dataclass(frozen=True, kw_only=True)
class Silence:
    """A silence that is active or will be: its matchers as text, whose it is and why."""

    id: str
    state: str
    matchers: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str


# What goes on -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Episode:
    """An open episode of a model version: of drift, of the loop that is to mend it, or both.

    `since` is the begin of the first window that drifted, None where nobody publishes it. `waits_for` is the step that
    the loop waits for, `waits_since` since when; without a loop both are empty.
    """

    model: str
    version: str
    since: datetime | None
    votes: float | None = None
    quorum: float | None = None
    is_drifting: bool = True
    waits_for: str = ""
    waits_since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Canary:
    """A comparison that the gate judged: its last verdict, and requests of both arms."""

    model: str
    baseline: str
    canary: str
    verdict: str
    requests: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Drill:
    """A recovery drill or an experiment: how it ended last, and whether there should be a newer result.

    `kind` is `recovery` or `experiment`, `verdict` what the last run said, empty for never. `is_overdue` is None where
    it is not known how old a result may be.
    """

    kind: str
    name: str
    store: str
    verdict: str
    last_run: datetime | None
    last_good: datetime | None
    due_at: datetime | None
    is_overdue: bool | None
    is_running: bool = False


@dataclass(frozen=True, kw_only=True)
class System:
    """What is scraped by a job, or asked by the systems exporter: targets that answer, of how many.

    `how` is `scraped` or `asked`. `expected` is whether the platform file names it: then no target at all is no answer.
    """

    name: str
    how: str
    up: int
    targets: int
    expected: bool

    @property
    def answers(self) -> bool:
        """Whether all of it answers."""
        return 0 < self.targets == self.up


# All of it --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The state of the promises at a time. `reasons` say what makes the state what it is, worst first.

    What is in `unanswered` is not known: the lists say nothing of it. Nor do they of `silent_regions`, which the view
    does not see. `prometheus_at` is what Prometheus calls now; None when it did not answer.
    """

    platform: str
    as_of: datetime
    state: State
    reasons: tuple[str, ...]
    prometheus: str
    alertmanager: str
    prometheus_at: datetime | None = None
    subjects: tuple[Subject, ...] = ()
    alerts: tuple[Alert, ...] = ()
    silences: tuple[Silence, ...] = ()
    episodes: tuple[Episode, ...] = ()
    canaries: tuple[Canary, ...] = ()
    drills: tuple[Drill, ...] = ()
    systems: tuple[System, ...] = ()
    unanswered: tuple[Unanswered, ...] = ()
    silent_regions: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[Subject, ...]:
        """The subjects that are models, by trouble."""
        return tuple(one for one in self.subjects if one.kind is Kind.MODEL)

    def document(self) -> dict[str, Any]:
        """All of it as JSON values; times are RFC 3339."""
        import msgspec

        document: dict[str, Any] = msgspec.to_builtins(self)
        return document
