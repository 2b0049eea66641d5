"""Where to look and what to type: runbook with the model filled in, dashboards, logs, traces, commands for a person."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from urllib.parse import quote

from midwatch import grafana
from midwatch.app.incident.firing import Firing
from midwatch.grafana import DataSource, Page
from midwatch.spec import system_rules
from midwatch.spec.model import Platform
from monitors.incident.kinds import Signal
from monitors.incident.records import Command, Incident, Kind, Link, Suspect

MARGIN = 1800.0
"""Seconds before the onset and after the alert that dashboards show."""

_LOOK = re.compile(r"^\d+\. (.+)$", re.MULTILINE)

_MARKS = ("MODEL", "VERSION")
"""Words of a runbook that stand for the alert's model and version."""

OBJECTIVES = {"availability": Signal.ERRORS, "latency": Signal.LATENCY}
"""Signal that an experiment of an objective hurts."""

MOST_UNDONE = 3

MOST_OTHERS = 3
"""Alerts of the same name that are pointed to."""


def runbook(platform: Platform, firing: Firing) -> str:
    """The shipped runbook of an alert with its model and version filled in; empty for a team's own alert."""
    folders = [resources.files("alerts") / "runbooks"]
    folders += [system_rules.folder(name) / "runbooks" for name in sorted(platform.systems)]
    folders.append(resources.files("midwatch") / "systems" / "runbooks")
    page = next((file for folder in folders if (file := folder / f"{firing.name}.md").is_file()), None)
    if page is None:
        return ""
    text = page.read_text(encoding="utf-8")
    for mark in _MARKS:
        if value := firing.labels.get(mark.lower()):
            text = value.join(re.split(rf"\b{mark}\b", text))
    return text


def looks(text: str) -> tuple[str, ...]:
    """The numbered looks that a runbook begins with."""
    first = text.partition("## First three looks")[2].partition("\n## ")[0]
    return tuple(_LOOK.findall(first))


def links(platform: Platform, firing: Firing, incident: Incident) -> Iterator[Link]:
    """The runbook's page, dashboards, logs and traces of what the alert is about, around the onset."""
    since = str(round((incident.onset.earliest - MARGIN) * 1000))
    if firing.name:
        yield Link(name="Runbook", url=platform.runbooks.replace("{alert}", quote(firing.name, safe="")))
    model, version = firing.labels.get("model"), firing.labels.get("version")
    if model is None:
        yield Link(name="Dashboard", url=grafana.dashboard_url(platform, Page.FLEET, since=since))
        return
    chosen = {"model": model, **({"version": version} if version else {})}
    yield Link(name="Dashboard", url=grafana.dashboard_url(platform, Page.MODEL, since=since, **chosen))
    yield Link(name="Objectives", url=grafana.dashboard_url(platform, Page.OBJECTIVES, since=since, model=model))
    if any(one.change and one.change.kind is Kind.CANARY for one in incident.suspects):
        yield Link(name="Canary", url=grafana.dashboard_url(platform, Page.CANARY, since=since, model=model))
    if any(one.change and one.change.kind is Kind.DRIFT for one in incident.suspects):
        yield Link(name="Drift", url=grafana.dashboard_url(platform, Page.DRIFT, since=since, model=model))
    queries = {
        "Logs": (DataSource.LOKI, {"expr": _filled(platform.grafana.logs, firing)}),
        "Traces": (DataSource.TEMPO, {"queryType": "traceql", "query": _filled(platform.grafana.traces, firing)}),
    }
    for name, (source, query) in queries.items():
        yield Link(name=name, url=_explore(platform, source, query, since))


def _filled(query: str, firing: Firing) -> str:
    """A query with the model and version in it; a version that the alert does not name is any."""
    for name, missing in (("model", ""), ("version", ".*")):
        query = query.replace(f"${name}", firing.labels.get(name, missing).replace("\\", "\\\\").replace('"', '\\"'))
    return query


def _explore(platform: Platform, source: DataSource, query: dict[str, str], since: str) -> str:
    """Grafana's Explore with a query."""
    uid = grafana.data_source_uid(platform.platform, source)
    pane = {
        "datasource": uid,
        "queries": [{"refId": "A", "datasource": {"type": source.value, "uid": uid}, **query}],
        "range": {"from": since, "to": "now"},
    }
    panes = quote(json.dumps({"a": pane}, separators=(",", ":")), safe="")
    return f"{platform.grafana.url}/explore?schemaVersion=1&panes={panes}"


def commands(platform: Platform, firing: Firing, suspects: Sequence[Suspect], signal: Signal) -> Iterator[Command]:
    """What can be undone first, then who is told, quiet while somebody works on it, and the drill for afterwards."""
    changes = [suspect.change for suspect in suspects if suspect.change is not None]
    for change in [one for one in changes if one.undo][:MOST_UNDONE]:
        yield Command(does=f"undoes or stops: {change.what}", command=change.undo)
    model = firing.labels.get("model")
    version = next((one.scope["version"] for one in changes if "version" in one.scope), None)
    known = next((one for one in platform.models if one.name == model), None)
    if version is not None and known is not None and known.canary is not None:
        command = (
            f"midwatch canary judge --model {shlex.quote(known.name)} --baseline OLD --canary {shlex.quote(version)}"
        )
        yield Command(does="judges the version against the one before (OLD)", command=command)
    if firing.name:
        name = _words(firing.name, firing.own)
        for other in firing.others[:MOST_OTHERS]:
            text = f"midwatch explain {_words(firing.name, other)}"
            yield Command(does="explains another alert of that name", command=text)
        yield Command(does="says who was told, and by which route", command=f"midwatch who {name}")
        text = f"midwatch silence {name} --for 1h --why 'the cause is known'"
        yield Command(does="keeps it quiet while somebody works on it; the harm goes on", command=text)
    yield from _drills(platform, signal)


def _words(alert: str, labels: Mapping[str, str]) -> str:
    """An alert as a command names it: without its labels others of its name would be meant too."""
    given = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    return shlex.join([alert, *given])


def _drills(platform: Platform, signal: Signal) -> Iterator[Command]:
    """An experiment that hurts the same signal: the alert has to fire again when it is repaired."""
    for experiment in platform.chaos.experiments if platform.chaos else ():
        if OBJECTIVES.get(getattr(experiment, "objective", "")) is signal:
            name = shlex.quote(experiment.title)
            yield Command(does="rehearses the same harm afterwards", command=f"midwatch chaos run {name}")
            return
