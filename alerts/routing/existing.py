"""Our routes in an alertmanager.yml that exists: what it says stays as it is written, ours stand before its routes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from alerts.routing import generate
from midwatch import yaml_nodes, yamlfile
from midwatch.spec.base import Finding, Place
from midwatch.spec.model import Platform

PLACE: Place = ("alertmanager", "base")
INHERITED = ("group_by", "group_wait", "group_interval", "repeat_interval")
"""What our routes would take from the root that is not ours."""
INTERVALS = ("time_intervals", "mute_time_intervals")


def text(platform: Platform, sink_url: str | None = None) -> str:
    """Text of `alertmanager.yml`: ours, merged into the existing file where the platform has one.

    With a sink it is ours alone: nobody of the existing file is told of a demonstration.
    """
    ours = generate.alertmanager_config(platform, sink_url)
    existing = platform.alertmanager.base
    return yamlfile.dump(ours) if existing is None or sink_url is not None else merged(existing, ours)


def merged(existing: str, ours: Mapping[str, Any]) -> str:
    """Text of an existing file with our routes, receivers, inhibitions and time intervals.

    What no route of ours takes goes where it went before.
    """
    document = yaml_nodes.parsed(existing)
    root = yaml_nodes.value(document, "route")
    if not isinstance(root, yaml_nodes.Mapping):
        yaml_nodes.put(document, "route", root := yaml_nodes.parsed(""))
    added = yaml_nodes.parsed(yamlfile.dump(_subtree(ours)))
    yaml_nodes.extend(root, "routes", yaml_nodes.entries(added, "routes"), first=True)
    for key in ("receivers", "inhibit_rules", "time_intervals"):
        if nodes := yaml_nodes.entries(added, key):
            yaml_nodes.extend(document, key, nodes)
    return yaml_nodes.text_of(document)


def _subtree(ours: Mapping[str, Any]) -> dict[str, Any]:
    """Our configuration without its root: each route says what it would have taken from there."""
    root = {key: ours["route"][key] for key in INHERITED}
    return {
        "routes": [{**root, **route} for route in ours["route"]["routes"]],
        "receivers": [one for one in ours["receivers"] if one["name"] != generate.UNROUTED],
        "inhibit_rules": ours.get("inhibit_rules", []),
        "time_intervals": ours.get("time_intervals", []),
    }


def find_problems(platform: Platform) -> Iterator[Finding]:
    """Names that an existing file and ours both give, and a file without a route of its own."""
    if platform.alertmanager.base is None:
        return
    document = yaml_nodes.parsed(platform.alertmanager.base)
    if yaml_nodes.value(yaml_nodes.value(document, "route"), "receiver") is None:
        yield PLACE, "it has no route with a receiver", "write one, or remove base: ours is whole without it"
    added = yaml_nodes.parsed(yamlfile.dump(_subtree(generate.alertmanager_config(platform))))
    for what, keys in (("receiver", ("receivers",)), ("time interval", INTERVALS)):
        ours = {name for key in keys for name in yaml_nodes.texts(yaml_nodes.entries(added, key), "name")}
        theirs = [name for key in keys for name in yaml_nodes.texts(yaml_nodes.entries(document, key), "name")]
        for name in sorted(ours.intersection(theirs)):
            yield PLACE, f"it has a {what} {name!r}, and Midwatch writes another", "rename one of the two"
