"""What is said of an incident: changes, suspects with their evidence, what was rejected and why. Values and their JSON.

Times are seconds since the epoch, probabilities and shares run from 0 to 1. A document is written by `to_json` and read
by `from_json`; keys are the names of the fields.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

from midwatch.errors import MidwatchError


class Kind(StrEnum):
    """What sort of change it is: each has its prior and its usual lag, in `monitors.incident.kinds`."""

    DEPLOYMENT = "deployment"
    CANARY = "canary"
    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    CONFIGURATION = "configuration"
    RULES = "rules"
    RETRAINING = "retraining"
    DRIFT = "drift"
    FEATURES = "features"
    CERTIFICATE = "certificate"
    NODE = "node"
    SCALING = "scaling"
    TRAFFIC = "traffic"
    EXPERIMENT = "experiment"
    DRILL = "drill"
    UPSTREAM = "upstream"
    MISSED_JOB = "missed_job"


class Aspect(StrEnum):
    """What a piece of evidence is about."""

    TIME = "time"
    SCOPE = "scope"
    CALM = "calm"
    DOSE = "dose"
    REVERSAL = "reversal"
    KIND = "kind"


class Dose(msgspec.Struct, frozen=True, kw_only=True):
    """Share of the scope's traffic that a change reaches from a moment on."""

    at: float
    share: float


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something that changed, or did not happen though it was due.

    It happened at some moment from `at` to `latest`: they are equal where the source knows the moment, and the last
    look before and the first look after it where the source is asked now and then. `ended` is when it was taken back or
    was over. `scope` is the labels of what it touches; none is the whole platform. `undo` is a command for a person.
    """

    kind: Kind
    at: float
    latest: float
    what: str
    source: str
    scope: dict[str, str] = {}
    ended: float | None = None
    doses: tuple[Dose, ...] = ()
    who: str = ""
    undo: str = ""
    link: str = ""

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that name the change: the same whenever it is collected again."""
        words = [self.kind, f"{self.at:.0f}", self.what, *(f"{name}={self.scope[name]}" for name in sorted(self.scope))]
        return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence for a suspect or against it."""

    aspect: Aspect
    is_for: bool
    text: str


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A possible cause and its probability; `change` is None for "none of these"."""

    change: Change | None
    probability: float
    evidence: tuple[Evidence, ...] = ()


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A change that cannot be the cause, and why."""

    change: Change
    reason: str


class Onset(msgspec.Struct, frozen=True, kw_only=True):
    """When the harm began: the 80% interval, and the likeliest minute. Without counts it rests on the alert alone."""

    earliest: float
    latest: float
    likeliest: float
    is_counted: bool


class Harm(msgspec.Struct, frozen=True, kw_only=True):
    """Bad events by all events of the hurt scope before the onset and after it, the latter with its 95% interval.

    `expected` events would have been bad after the onset as before it; `bad` were.
    """

    scope: dict[str, str]
    before: float
    after: float
    lower: float
    upper: float
    bad: float
    expected: float


class Dispersion(msgspec.Struct, frozen=True, kw_only=True):
    """Variance of the counts by their mean while all was quiet: of each scope's part, and of all scopes together."""

    parts: float
    together: float


class Unanswered(msgspec.Struct, frozen=True, kw_only=True):
    """A source of changes that could not be asked, or not fully: what it knows is missing here."""

    source: str
    reason: str


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command line for a person, and what it does."""

    does: str
    command: str


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """An address and what is found there."""

    name: str
    url: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one alert: when it began, what may have caused it, and what to do.

    `suspects` are ordered by probability and add up to 1 with the one that is "none of these". `line` is the sentence
    that a notification carries. `calibration` says how far the probabilities can be trusted here, `runbook` is the
    alert's page in Markdown with the model filled in.
    """

    alert: str
    scope: dict[str, str]
    fired_at: float
    asked_at: float
    onset: Onset
    suspects: tuple[Suspect, ...]
    line: str
    rejected: tuple[Rejected, ...] = ()
    unanswered: tuple[Unanswered, ...] = ()
    harm: Harm | None = None
    dispersion: Dispersion | None = None
    next_look: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    links: tuple[Link, ...] = ()
    calibration: str = ""
    runbook: str = ""


def to_json(incident: Incident) -> bytes:
    """The document of an incident."""
    return msgspec.json.encode(incident)


def from_json(document: bytes | str) -> Incident:
    """The incident of a document; MidwatchError when it is none."""
    try:
        return msgspec.json.decode(document, type=Incident)
    except msgspec.MsgspecError as error:
        raise MidwatchError(f"this is no document of an incident: {error}") from error
