"""Experiments in Chaos Toolkit's format from the platform file: steady state, method, rollbacks, and what is promised.

What the runner has to know beyond the format is in the extension `midwatch`: kind, model, versions hit, blast radius,
expected alert, stop condition, longest time. The files can be edited and run, by `midwatch chaos run` or `chaos run`.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from alerts.rules import models
from chaos import kinds
from chaos.document import Activity, Experiment, Provider
from chaos.expectations import SLACK_SECONDS, Expectations, Expected, model_of
from chaos.kinds.base import DEADMAN, NONE
from chaos.places import place
from midwatch.spec import chaos as spec
from midwatch.spec.experiments import OnModel
from midwatch.spec.model import LocalProcess, Model, Platform

FOLDER = "chaos"
STEADY_WINDOW = 300.0
"""Seconds over which an objective without an alert of its own is measured."""
MEASURED = ("availability", "latency", "outcome")
BORNE_SECONDS = 60.0
"""How long a fault that nobody should be paged for lasts, if nothing else is said."""
STEADY_SECONDS = 10.0
"""The steady state may take so long to be measured before the method: a scrape or two."""


def render_files(platform: Platform) -> dict[str, str]:
    """Text of each experiment by its path below the output folder."""
    return {
        f"{FOLDER}/{title}.json": json.dumps(experiment, indent=2) + "\n"
        for title, experiment in documents(platform).items()
    }


def documents(platform: Platform) -> dict[str, Experiment]:
    """Every experiment by its name; UnknownAlertError when one expects an alert that the platform does not have."""
    chosen = platform.chaos.experiments if platform.chaos else []
    expectations = Expectations(platform) if chosen else None
    return {one.title: _document(platform, one, expectations) for one in chosen if expectations}


def _document(platform: Platform, experiment: spec.Experiment, expectations: Expectations) -> Experiment:
    kind, model = kinds.table()[experiment.kind], model_of(platform, experiment)
    expected = expectations.of(experiment, model)
    versions = _versions(platform, experiment, model)
    does = kind.does.capitalize()
    action = kind.of(experiment, model, _lasts(experiment) + expected.within + SLACK_SECONDS)
    return {
        "version": "1.0.0",
        "title": f"{platform.platform}: {kind.does} ({experiment.title})",
        "description": f"{does}: {model.name} keeps its objectives afterwards, and {_told(expected)}.",
        "tags": ["midwatch", experiment.kind, model.name],
        "configuration": {
            "where": {"type": "env", "key": place.WHERE_VARIABLE, "default": "local"},
            "state": {"type": "env", "key": place.STATE_VARIABLE, "default": "state"},
            "platform": {"type": "env", "key": place.PLATFORM_VARIABLE, "default": ""},
        },
        "extensions": [
            {
                "name": "midwatch",
                "experiment": experiment.title,
                "kind": experiment.kind,
                "model": model.name,
                "versions": versions,
                "blast_radius": kind.blast_radius,
                "expected_alert": expected.alert,
                "tolerated_errors": _tolerated(platform, experiment, is_errors=kind.is_errors),
                "blinds": kind.blinds,
                "silences": kind.silences,
                "longest_seconds": _longest(experiment, expected),
                "schedule": experiment.schedule,
            }
        ],
        "runtime": {"rollbacks": {"strategy": "always"}},
        "steady-state-hypothesis": {
            "title": f"{model.name} keeps its objectives",
            "probes": [_steady(model, versions, experiment.recover_within)],
        },
        "method": [
            _python("action", kind.does, "actions", experiment.kind, action.arguments()),
            *_during(experiment, expected),
            _revert("end it"),
            *_afterwards(expected),
        ],
        "rollbacks": [_revert("revert whatever is left of it")],
    }


def _server(platform: Platform, experiment: OnModel, model: Model) -> LocalProcess | None:
    """The local server that is hit."""
    servers = [server for server in platform.local.servers if server.model in (None, model.name)]
    named = [server for server in servers if server.name == experiment.target]
    return next(iter(named or servers), None)


def _versions(platform: Platform, experiment: spec.Experiment, model: Model) -> list[str]:
    """Versions of the model that a fault of its own hits; the others are the control. Empty is every one."""
    if not isinstance(experiment, OnModel):
        return []
    server = _server(platform, experiment, model)
    return [server.version] if server is not None and server.version else []


def _tolerated(platform: Platform, experiment: spec.Experiment, *, is_errors: bool) -> float | None:
    """Error rate of the target that is tolerated; None where errors are what the fault does."""
    if experiment.tolerated_errors is not None:
        return float(experiment.tolerated_errors)
    return None if is_errors else float((platform.chaos or spec.Chaos()).stop.tolerated_errors)


def _lasts(experiment: spec.Experiment) -> float:
    """Seconds that the fault lasts at least; one that is to be noticed, until it is, without anything said."""
    return BORNE_SECONDS if experiment.for_ is None else experiment.for_


def _longest(experiment: spec.Experiment, expected: Expected) -> float:
    waits = [
        STEADY_SECONDS,
        _lasts(experiment),
        expected.within,
        expected.resolved_within,
        experiment.recover_within,
    ]
    return sum(waits) + 4 * SLACK_SECONDS


# Activities ----------------------------------------------------------------------------------------------------------


def _python(
    activity: Literal["action", "probe"], name: str, module: str, function: str, arguments: dict[str, Any]
) -> Activity:
    provider = Provider(type="python", module=f"chaos.{module}", func=function, arguments=arguments)
    return {"type": activity, "name": name, "provider": provider}


def _probe(name: str, function: str, arguments: dict[str, Any]) -> Activity:
    tolerance = _python("probe", "it is met", "probes", "is_met", {})
    return {**_python("probe", name, "probes", function, arguments), "tolerance": tolerance}


def _revert(name: str) -> Activity:
    return _python("action", name, "actions", "revert", {})


def _steady(model: Model, versions: list[str], recover_within: float) -> Activity:
    objectives = []
    for slo in model.slos:
        if slo.kind not in MEASURED:
            continue  # those of minutes, not of requests, are slower than an experiment
        good, total = models.good_and_total(model, slo, slo.alert.over if slo.alert else STEADY_WINDOW)
        objectives.append(
            {"name": slo.name, "good": str(good), "total": str(total), "objective": float(slo.objective)}
            | ({"versions": versions} if versions else {})
        )
    name = f"{model.name} keeps its objectives"
    return _probe(name, "keeps_objectives", {"objectives": objectives, "within": recover_within})


def _during(experiment: spec.Experiment, expected: Expected) -> list[Activity]:
    """Probes while the fault is there."""
    if expected.alert == NONE:
        seconds = _lasts(experiment)
        return [_probe(f"nobody is paged for {seconds:g} s", "nobody_paged", {"seconds": seconds})]
    hold = {"hold": experiment.for_} if experiment.for_ else {}
    if expected.alert == DEADMAN:
        name = f"the deadman's switch falls silent within {expected.within:g} s"
        return [_probe(name, "deadman_silent", {"within": expected.within, **hold})]
    arguments = {
        "alert": expected.alert,
        "channels": expected.channels,
        "within": expected.within,
        "labels": expected.labels,
        **hold,
    }
    return [_probe(f"{expected.alert} reaches its receivers within {expected.within:g} s", "noticed", arguments)]


def _afterwards(expected: Expected) -> list[Activity]:
    """Probes after the fault."""
    if expected.alert == NONE:
        return []
    within = expected.resolved_within
    if expected.alert == DEADMAN:
        return [_probe(f"the deadman's switch is back within {within:g} s", "deadman_back", {"within": within})]
    arguments = {"alert": expected.alert, "within": within, "labels": expected.labels}
    return [_probe(f"{expected.alert} is resolved within {within:g} s", "resolved", arguments)]


def _told(expected: Expected) -> str:
    if expected.alert == NONE:
        return "nobody is paged"
    if expected.alert == DEADMAN:
        return f"the deadman's switch falls silent within {expected.within:g} s and comes back"
    return f"{expected.alert} reaches its receivers within {expected.within:g} s and is resolved"
