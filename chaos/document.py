"""An experiment as Chaos Toolkit reads it (its reference, "Experiment"), with what Midwatch adds in an extension."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NotRequired, TypedDict

ACTIONS, PROBES = "chaos.actions", "chaos.probes"
"""Modules of our own actions and probes."""


class Provider(TypedDict):
    """A Python function, and what it is called with; a file of somebody's may have another kind."""

    type: Literal["python", "process", "http"]
    module: str
    func: str
    arguments: dict[str, Any]


class Activity(TypedDict):
    """An action or a probe; a probe's tolerance is itself a probe, of the first one's answer."""

    type: Literal["action", "probe"]
    name: str
    provider: Provider
    tolerance: NotRequired[Activity]


class Hypothesis(TypedDict):
    """The steady state: what holds before the method, and afterwards again."""

    title: str
    probes: list[Activity]


class Extension(TypedDict, total=False):
    """What the runner has to know beyond the format; an experiment that was written by hand has nothing of it."""

    name: str
    experiment: str
    kind: str
    model: str
    versions: list[str]
    blast_radius: str
    expected_alert: str
    tolerated_errors: float | None
    blinds: bool
    silences: bool
    longest_seconds: float
    schedule: str | None


class Setting(TypedDict):
    """A value that is taken from the environment when the experiment runs."""

    type: Literal["env"]
    key: str
    default: str


Experiment = TypedDict(
    "Experiment",
    {
        "version": str,
        "title": str,
        "description": str,
        "tags": list[str],
        "configuration": dict[str, Setting],
        "extensions": list[Extension],
        "runtime": dict[str, dict[str, str]],
        "steady-state-hypothesis": Hypothesis,
        "method": list[Activity],
        "rollbacks": list[Activity],
    },
    total=False,
)
"""An experiment; one that was written by hand may lack parts."""


class ActivityRun(TypedDict, total=False):
    """An activity in a journal: what became of it. One that was interrupted lacks parts."""

    activity: Activity
    status: str
    output: Any
    exception: list[str]
    duration: float
    start: str
    tolerance_met: bool


class SteadyState(TypedDict, total=False):
    """What the hypothesis showed at one time."""

    steady_state_met: bool
    probes: list[ActivityRun]


class SteadyStates(TypedDict, total=False):
    """What the hypothesis showed before and after the method; None where it was not looked at."""

    before: SteadyState | None
    after: SteadyState | None


class Journal(TypedDict, total=False):
    """What Chaos Toolkit writes of a run."""

    status: str
    deviated: bool
    experiment: Experiment
    steady_states: SteadyStates
    run: list[ActivityRun]
    rollbacks: list[ActivityRun]


def extension(experiment: Experiment) -> Extension:
    """What Midwatch keeps in an experiment; empty for one that was written by hand without it."""
    named = (one for one in experiment.get("extensions", ()) if one.get("name") == "midwatch")
    return next(named, Extension())


def activities(experiment: Experiment) -> Iterator[tuple[tuple[str | int, ...], Activity]]:
    """Every activity with its place in the document, in the order in which they run."""
    hypothesis: Hypothesis | dict[str, list[Activity]] = experiment.get("steady-state-hypothesis") or {}
    lists: list[tuple[tuple[str | int, ...], list[Activity]]] = [
        (("steady-state-hypothesis", "probes"), hypothesis.get("probes") or []),
        (("method",), experiment.get("method") or []),
        (("rollbacks",), experiment.get("rollbacks") or []),
    ]
    for place, ran in lists:
        for index, activity in enumerate(ran):
            yield (*place, index), activity
