"""Experiments in Chaos Toolkit's format from the platform file: steady state, method, rollbacks, and what is promised.

What the runner has to know beyond the format is in the extension `midwatch`: kind, model, versions hit, blast radius,
expected alert, stop condition, longest time. The files can be edited and run, by `midwatch chaos run` or `chaos run`.
"""

from __future__ import annotations

import json
from typing import Any

from alerts.rules import models, shipped
from chaos import catalogue, runs
from midwatch.spec import chaos as spec
from midwatch.spec import model as platform_spec
from midwatch.spec.chaos import Kind
from midwatch.spec.values import format_duration

FOLDER = "chaos"
STEADY_WINDOW = 300.0
"""Seconds over which an objective without an alert of its own is measured."""
MEASURED = ("availability", "latency", "outcome")
BUDGET_ALERT = "ErrorBudgetBurn"
BORNE_SECONDS = 60.0
"""How long a fault that nobody should be paged for lasts, if nothing else is said."""
SLACK_SECONDS = 15.0
"""For what takes time beyond every wait that is stated: starting, looking, reverting."""
STEADY_SECONDS = 10.0
"""The steady state may take so long to be measured before the method: a scrape or two."""

Document = dict[str, Any]


def render_files(platform: platform_spec.Platform) -> dict[str, str]:
    """Text of each experiment by its path below the output folder."""
    return {
        f"{FOLDER}/{experiment.title}.json": json.dumps(document(platform, experiment), indent=2) + "\n"
        for experiment in (platform.chaos.experiments if platform.chaos else ())
    }


def documents(platform: platform_spec.Platform) -> dict[str, Document]:
    """Every experiment by its name."""
    chosen = platform.chaos.experiments if platform.chaos else []
    return {experiment.title: document(platform, experiment) for experiment in chosen}


def document(platform: platform_spec.Platform, experiment: spec.Experiment) -> Document:
    """One experiment."""
    entry = catalogue.ENTRIES[experiment.kind]
    model = _model(platform, experiment)
    expect = expectation(platform, experiment)
    versions = _versions(platform, experiment, model)
    method = [_action(experiment, model, expect), *_expected(platform, experiment, model, expect), _revert("end it")]
    method += _over(experiment, model, expect)
    return {
        "version": "1.0.0",
        "title": f"{platform.platform}: {entry.does} ({experiment.title})",
        "description": f"{entry.does.capitalize()}: {model.name} keeps its objectives afterwards, and {_told(expect)}.",
        "tags": ["midwatch", experiment.kind.value, model.name],
        "configuration": {
            "where": {"type": "env", "key": runs.WHERE_VARIABLE, "default": "local"},
            "state": {"type": "env", "key": runs.STATE_VARIABLE, "default": "state"},
            "platform": {"type": "env", "key": runs.PLATFORM_VARIABLE, "default": ""},
        },
        "extensions": [
            {
                "name": "midwatch",
                "experiment": experiment.title,
                "kind": experiment.kind.value,
                "model": model.name,
                "versions": versions,
                "blast_radius": entry.blast_radius,
                "expected_alert": expect.alert,
                "tolerated_errors": _tolerated(platform, experiment),
                "blinds": entry.blinds,
                "longest_seconds": _longest(experiment, expect),
                "schedule": experiment.schedule,
            }
        ],
        "steady-state-hypothesis": {
            "title": f"{model.name} keeps its objectives",
            "probes": [_steady(model, versions, experiment.recover_within)],
        },
        "method": method,
        "rollbacks": [_revert("revert whatever is left of it")],
    }


def extension(document: Document) -> Document:
    """What Midwatch keeps in an experiment; empty for one that was written by hand without it."""
    for one in document.get("extensions", ()):
        if one.get("name") == "midwatch":
            found: Document = one
            return found
    return {}


def expectation(platform: platform_spec.Platform, experiment: spec.Experiment) -> spec.Expect:
    """The alert that is expected: as written, else the kind's own, with the time that its rule needs."""
    if experiment.expect is not None:
        return experiment.expect
    entry, model = catalogue.ENTRIES[experiment.kind], _model(platform, experiment)
    alert, needs = _rule(platform, model, entry.alert)
    times = platform.alertmanager
    told = times.group_wait + 4 * platform.prometheus.evaluation_interval + SLACK_SECONDS
    resolves = times.group_interval + 4 * platform.prometheus.evaluation_interval + SLACK_SECONDS
    return spec.Expect(alert=alert, within=needs + told, resolved_within=2 * needs + resolves)


def _rule(platform: platform_spec.Platform, model: platform_spec.Model, alert: str) -> tuple[str, float]:
    """Name of the alert that tells, and how long its rule takes at most.

    An objective without an alert of its own has only that on its error budget: an outage spends 2% of it, which pages,
    after an hour's share of 14.4 times what is allowed (SRE Workbook, chapter 5, table 5-8).
    """
    scrapes = 8 * platform.prometheus.scrape_interval
    if slo := _objective(model, alert):
        if slo.alert is not None:
            return alert, slo.alert.over + slo.alert.for_ + scrapes
        return BUDGET_ALERT, min(3600.0, 3600.0 * 14.4 * (1 - float(slo.objective))) + 120.0 + scrapes
    if alert == "ModelInputDrift" and model.drift:
        return alert, 3 * model.drift.window + scrapes
    if alert == "ExporterCannotKeepEvents":
        return alert, max(60.0, 2 * scrapes) + scrapes  # its rule looks back so long
    if alert == "ModelNoData":
        return alert, 2 * max(shipped.NO_DATA_FOR, scrapes) + scrapes
    return alert, 2 * scrapes


def _objective(model: platform_spec.Model, alert: str) -> platform_spec.Slo | None:
    """The objective that an alert on a model is about."""
    kind = spec.NEEDED_OBJECTIVE.get(alert)
    return next((slo for slo in model.slos if slo.kind == kind), None)


def _model(platform: platform_spec.Platform, experiment: spec.Experiment) -> platform_spec.Model:
    by_name = {model.name: model for model in platform.models}
    return by_name[experiment.model] if experiment.model else platform.models[0]


def _target(
    platform: platform_spec.Platform, experiment: spec.Experiment, model: platform_spec.Model
) -> platform_spec.LocalProcess | None:
    """The local server that is hit."""
    servers = [server for server in platform.local.servers if server.model in (None, model.name)]
    named = [server for server in servers if server.name == experiment.target]
    found = named or servers
    return found[0] if found else None


def _versions(platform: platform_spec.Platform, experiment: spec.Experiment, model: platform_spec.Model) -> list[str]:
    """Versions of the model that a fault of its own hits; the others are the control. Empty is every one."""
    if experiment.kind not in spec.MODEL_KINDS:
        return []
    server = _target(platform, experiment, model)
    return [server.version] if server is not None and server.version else []


def _tolerated(platform: platform_spec.Platform, experiment: spec.Experiment) -> float | None:
    """Error rate of the target that is tolerated; None where errors are what the fault does."""
    if experiment.tolerated_errors is not None:
        return float(experiment.tolerated_errors)
    if catalogue.ENTRIES[experiment.kind].is_errors:
        return None
    return float((platform.chaos or spec.Chaos()).stop.tolerated_errors)


def _longest(experiment: spec.Experiment, expect: spec.Expect) -> float:
    waits = [STEADY_SECONDS, _lasts(experiment), expect.within, expect.resolved_within, experiment.recover_within]
    return sum(waits) + 4 * SLACK_SECONDS


# Activities ----------------------------------------------------------------------------------------------------------


def _python(kind: str, name: str, module: str, function: str, arguments: Document) -> Document:
    provider = {"type": "python", "module": f"chaos.{module}", "func": function, "arguments": arguments}
    return {"type": kind, "name": name, "provider": provider}


def _probe(name: str, function: str, arguments: Document) -> Document:
    tolerance = _python("probe", "it is met", "probes", "is_met", {})
    return _python("probe", name, "probes", function, arguments) | {"tolerance": tolerance}


def _steady(model: platform_spec.Model, versions: list[str], recover_within: float) -> Document:
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


def _action(experiment: spec.Experiment, model: platform_spec.Model, expect: spec.Expect) -> Document:
    entry = catalogue.ENTRIES[experiment.kind]
    return _python("action", entry.does, "actions", experiment.kind.value, _arguments(experiment, model, expect))


def _arguments(experiment: spec.Experiment, model: platform_spec.Model, expect: spec.Expect) -> Document:
    """Arguments of the kind's action, with what was not said filled in."""
    seconds = _lasts(experiment) + expect.within + SLACK_SECONDS
    scale = experiment.scale or {name: 3.0 for name, kind in _features(model).items() if kind == "numeric"}
    known: dict[str, Any] = {
        "model": model.name,
        "target": experiment.target,
        "replicas": experiment.replicas or 1,
        "delay": format_duration(experiment.delay or _slow_enough(model)),
        "errors": float(experiment.errors or 0.5),
        "scale": scale,
        "cores": experiment.cores or 1,
        "size": experiment.size or 256 * 2**20,
        "seconds": seconds,
        "shift": format_duration(experiment.shift or 600.0),
        "notice": format_duration(experiment.notice or 2.0),
        "bad_version": experiment.bad_version or "",
    }
    return {name: known[name] for name in ARGUMENTS[experiment.kind] if known[name] is not None}


ARGUMENTS: dict[Kind, tuple[str, ...]] = {
    Kind.KILL_REPLICA: ("model", "target", "replicas"),
    Kind.SLOW_MODEL: ("model", "target", "delay"),
    Kind.FAILING_MODEL: ("model", "target", "errors"),
    Kind.CORRUPT_FEATURES: ("model", "target", "scale"),
    Kind.LOSE_EXPORTER: (),
    Kind.LOSE_PROMETHEUS: (),
    Kind.LOSE_ALERTMANAGER: (),
    Kind.CUT_NETWORK: ("model", "target"),
    Kind.FILL_DISK: ("seconds",),
    Kind.EXHAUST_CPU: ("model", "cores", "seconds"),
    Kind.EXHAUST_MEMORY: ("model", "size", "seconds"),
    Kind.LOSE_NODE: ("model", "target", "replicas", "notice"),
    Kind.SKEW_CLOCK: ("shift",),
    Kind.DEPLOY_BAD_VERSION: ("model", "target", "bad_version"),
}


def _features(model: platform_spec.Model) -> dict[str, str]:
    return {name: kind.value for name, kind in model.drift.features.items()} if model.drift else {}


def _slow_enough(model: platform_spec.Model) -> float:
    """Twice the threshold of the model's latency objective, 1 s without one."""
    thresholds = [slo.sli.latency.threshold for slo in model.slos if not isinstance(slo.sli, str) and slo.sli.latency]
    return 2 * max(thresholds) if thresholds else 1.0


def _expected(
    platform: platform_spec.Platform, experiment: spec.Experiment, model: platform_spec.Model, expect: spec.Expect
) -> list[Document]:
    """Probes while the fault is there."""
    if expect.alert == catalogue.NONE:
        seconds = _lasts(experiment)
        return [_probe(f"nobody is paged for {seconds:g} s", "nobody_paged", {"seconds": seconds})]
    hold = {"hold": experiment.for_} if experiment.for_ else {}
    if expect.alert == catalogue.DEADMAN:
        name = f"the deadman's switch falls silent within {expect.within:g} s"
        return [_probe(name, "deadman_silent", {"within": expect.within, **hold})]
    about = _about(model, expect.alert, experiment.kind)
    arguments = {
        "alert": expect.alert,
        "channels": channels(platform, model, expect.alert),
        "within": expect.within,
        "labels": about,
        **hold,
    }
    return [_probe(f"{expect.alert} reaches its receivers within {expect.within:g} s", "noticed", arguments)]


def _lasts(experiment: spec.Experiment) -> float:
    """Seconds that the fault lasts at least; one that is to be noticed, until it is, without anything said."""
    return BORNE_SECONDS if experiment.for_ is None else experiment.for_


def _over(experiment: spec.Experiment, model: platform_spec.Model, expect: spec.Expect) -> list[Document]:
    """Probes after the fault."""
    if expect.alert == catalogue.NONE:
        return []
    within = expect.resolved_within
    if expect.alert == catalogue.DEADMAN:
        return [_probe(f"the deadman's switch is back within {within:g} s", "deadman_back", {"within": within})]
    arguments = {"alert": expect.alert, "within": within, "labels": _about(model, expect.alert, experiment.kind)}
    return [_probe(f"{expect.alert} is resolved within {within:g} s", "resolved", arguments)]


def _about(model: platform_spec.Model, alert: str, kind: Kind) -> dict[str, str]:
    """Labels that tell this model's alert from another's."""
    if alert == BUDGET_ALERT:
        slo = _objective(model, catalogue.ENTRIES[kind].alert)
        return {"model": model.name, "severity": "page", **({"slo": slo.name} if slo else {})}
    return {"model": model.name} if alert.startswith("Model") else {}


def channels(platform: platform_spec.Platform, model: platform_spec.Model, alert: str) -> list[str]:
    """Channels that an alert has to reach, by its owner and severity."""
    owner = model.owner if alert.startswith("Model") or alert == BUDGET_ALERT else platform.operator
    return sorted(getattr(platform.owner(owner), _severity(model, alert).value) or [])


def _severity(model: platform_spec.Model, alert: str) -> platform_spec.Severity:
    slo = _objective(model, alert)
    if slo and slo.alert:
        return slo.alert.severity
    if alert == "ModelInputDrift" and model.drift:
        return model.drift.severity
    return platform_spec.Severity.TICKET if alert == "ModelNoData" else platform_spec.Severity.PAGE


def _revert(name: str) -> Document:
    return _python("action", name, "actions", "revert", {})


def _told(expect: spec.Expect) -> str:
    if expect.alert == catalogue.NONE:
        return "nobody is paged"
    if expect.alert == catalogue.DEADMAN:
        return f"the deadman's switch falls silent within {expect.within:g} s and comes back"
    return f"{expect.alert} reaches its receivers within {expect.within:g} s and is resolved"
