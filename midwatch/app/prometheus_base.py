"""Our jobs and rules in a prometheus.yml that exists: what it says stays as it is written, ours is added."""

from __future__ import annotations

from collections.abc import Iterator

from midwatch import jobs, yaml_nodes
from midwatch.spec.base import Finding, Place
from midwatch.spec.model import Platform
from midwatch.spec.values import format_duration, parse_duration

PLACE: Place = ("prometheus", "base")
INTERVALS = ("scrape_interval", "evaluation_interval")


def merged(existing: str, ours: str) -> str:
    """Text of the existing file with ours: `global` keys that it lacks, rule files, scrape jobs.

    The Alertmanagers are its own where it has any: two would tell people twice.
    """
    document, added = yaml_nodes.parsed(existing), yaml_nodes.parsed(ours)
    settings, defaults = yaml_nodes.value(document, "global"), yaml_nodes.value(added, "global")
    both = settings if isinstance(settings, yaml_nodes.Mapping) else yaml_nodes.parsed("")
    for name, node in defaults.value if defaults is not None else ():
        if yaml_nodes.value(both, name.value) is None:
            both.value.append((name, node))
    yaml_nodes.put(document, "global", both)
    for key in ("rule_files", "scrape_configs"):
        yaml_nodes.extend(document, key, yaml_nodes.entries(added, key))
    alerting, of_ours = yaml_nodes.value(document, "alerting"), yaml_nodes.value(added, "alerting")
    if alerting is None and of_ours is not None:
        yaml_nodes.put(document, "alerting", of_ours)
    return yaml_nodes.text_of(document)


def find_problems(platform: Platform) -> Iterator[Finding]:
    """What an existing file and the platform file say differently, or both."""
    if platform.prometheus.base is None:
        return
    document = yaml_nodes.parsed(platform.prometheus.base)
    ours = {job.name for job in jobs.of_platform(platform)} | {one["job_name"] for one in platform.prometheus.scrapes}
    for name in yaml_nodes.texts(yaml_nodes.entries(document, "scrape_configs"), "job_name"):
        if name in ours:
            yield PLACE, f"it has a job {name!r}, and Midwatch or scrapes writes another", "remove or rename one"
    for key in INTERVALS:
        said = yaml_nodes.value(yaml_nodes.value(document, "global"), key)
        interval = getattr(platform.prometheus, key)
        if said is not None and _seconds(said.value) != interval:
            message = f"its global.{key} is {said.value}, and prometheus.{key} is {format_duration(interval)}"
            yield PLACE, message, "make them the same: rules are proven for the platform file's"
    yield from _label_problems(platform, yaml_nodes.value(yaml_nodes.value(document, "global"), "external_labels"))


def _label_problems(platform: Platform, written: yaml_nodes.Node | None) -> Iterator[Finding]:
    """Labels of the plane that the existing file says otherwise, or lacks beside others of its own."""
    wanted = platform.place_labels if written is not None else {}
    for name, value in wanted.items():
        said = yaml_nodes.value(written, name)
        if said is None or said.value != value:
            what = "missing" if said is None else said.value
            message = f"its global.external_labels.{name} is {what}, and this is the plane of {name} {value}"
            yield PLACE, message, f"write {name}: {value}; what comes from two regions cannot be told apart without it"


def _seconds(text: str) -> float | None:
    try:
        return parse_duration(text)
    except ValueError:
        return None
