"""What a system exposes in a play: the series of its recording, and of what was not recorded those its folder asks for.

A metric without a recording gets a series for each selector that reads it, with labels that the selector finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import promql_parser
import re2
from promql_parser import VectorSelector

from midwatch import promql_syntax, system_recordings
from midwatch.exposition import Family
from midwatch.metrics import Kind
from midwatch.spec import system_rules
from midwatch.spec.slo import WINDOW_PLACEHOLDER
from midwatch.spec.system_dialect import PARTS
from midwatch.spec.system_rules import Installed
from midwatch.spec.systems import SystemMetric, texts
from midwatch.system_recordings import Recording

MOST_VALUES = 8
"""Values that are played of one pattern."""
DAYS_LEFT = 60 * 86400.0
AGO = 60.0
"""Seconds until what expires does, and since what happened did."""

Labels = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A series: its name, its labels, its value at the beginning, and by how much it rises in a second."""

    name: str
    labels: Labels
    value: float
    rises: float = 0.0
    is_time: bool = False


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Series of one metric, of a kind that the exposition says."""

    name: str
    kind: str
    help: str
    parts: Sequence[Part]


def of(system: Installed) -> list[Scene]:
    """Every metric that the version has, by name."""
    recorded = _recorded(system)
    asked = _asked(system)
    scenes = {}
    for newest, metric in system.described.metrics.items():
        if metric.is_in(system.version):
            name = metric.name_in(newest, system.version)
            parts = [*_of_recording(metric, recorded.get(name)), *_made(system, metric, name, asked)]
            scenes[name] = Scene(name=name, kind=str(metric.kind), help=metric.help, parts=_once(parts))
    return [scenes[name] for name in sorted(scenes)]


def _once(parts: Sequence[Part]) -> list[Part]:
    first: dict[tuple[str, tuple[tuple[str, str], ...]], Part] = {}
    for part in parts:
        first.setdefault((part.name, tuple(sorted(part.labels.items()))), part)
    return list(first.values())


# Recorded ----------------------------------------------------------------------------------------------------------


def _recorded(system: Installed) -> dict[str, Family]:
    """Families of the recording that is nearest to the version, not newer where there is one."""
    recordings = [one for one in system_recordings.load(system_rules.folder(system.name)) if not one.is_idle]
    older: list[Recording] = [one for one in recordings if one.version <= system.version]
    chosen = max(older or recordings, key=lambda one: one.version, default=None)
    return chosen.families() if chosen else {}


def _of_recording(metric: SystemMetric, family: Family | None) -> Iterator[Part]:
    for number, sample in enumerate(family.samples if family else ()):
        is_count = sample.name.endswith(("_count", "_sum", "_bucket")) or metric.kind is Kind.COUNTER
        is_growing = is_count and metric.kind in (Kind.COUNTER, Kind.HISTOGRAM, Kind.SUMMARY)
        # Every bucket of a series rises alike: what is added is within the first bound.
        rises = 1.0 if metric.kind in (Kind.HISTOGRAM, Kind.SUMMARY) else 0.2 * (1 + number % 5)
        if not sample.name.endswith("_created"):
            labels = {key: value for key, value in sample.labels.items() if value}
            yield Part(name=sample.name, labels=labels, value=sample.value, rises=rises if is_growing else 0.0)


# Made --------------------------------------------------------------------------------------------------------------


def _made(system: Installed, metric: SystemMetric, name: str, asked: Mapping[str, list[Labels]]) -> Iterator[Part]:
    """Series that the folder's expressions and proofs ask for, and one more whose gauge is 0."""
    own = sorted(metric.labels_in(system.version) - set(metric.states))
    wanted: list[Labels] = [{}, *asked.get(name, [])]
    for labels in wanted:
        whole = {**dict.fromkeys(own, "a"), **labels}
        yield from _series(system, metric, name, whole, 1.0)
    if metric.kind is Kind.GAUGE and own and not metric.states:
        yield from _series(system, metric, name, dict.fromkeys(own, "b"), 0.0)


def _series(system: Installed, metric: SystemMetric, name: str, labels: Labels, value: float) -> Iterator[Part]:
    plain = {key: text for key, text in labels.items() if key not in ("le", "quantile")}
    if metric.kind is Kind.GAUGE:
        time = _time_of(name)
        yield Part(name=name, labels=plain, value=value if time is None else time, is_time=time is not None)
    elif metric.kind is Kind.COUNTER:
        yield Part(name=name, labels=plain, value=1.0, rises=0.1)
    else:
        yield from _in_parts(metric, name, plain, metric.buckets_in(system.version))


def _in_parts(metric: SystemMetric, name: str, labels: Labels, buckets: Sequence[float]) -> Iterator[Part]:
    """A histogram whose observations are spread over its bounds, or a summary."""
    for place, bound in enumerate([*map(_bound, buckets), "+Inf"] if buckets else []):
        yield Part(name=f"{name}_bucket", labels={**labels, "le": bound}, value=place + 1.0, rises=0.1 * (place + 1))
    for quantile in ("0.5", "0.9", "0.99") if metric.kind is Kind.SUMMARY else ():
        yield Part(name=name, labels={**labels, "quantile": quantile}, value=float(quantile))
    observed = len(buckets) + 1
    yield Part(name=f"{name}_count", labels=labels, value=float(observed), rises=0.1 * observed)
    yield Part(name=f"{name}_sum", labels=labels, value=float(observed), rises=0.05 * observed)


def _bound(bound: float) -> str:
    return f"{bound:g}"


def _time_of(name: str) -> float | None:
    """Seconds from now of a gauge that is a time; None for one that is not."""
    if not re.search(r"timestamp|_time(_seconds)?$|_time_", name) or re.search(r"duration|latency|uptime", name):
        return None
    return DAYS_LEFT if re.search(r"expir|not_after|renewal", name) else -AGO


# Asked for ---------------------------------------------------------------------------------------------------------


def _asked(system: Installed) -> dict[str, list[Labels]]:
    """Labels that selectors of the folder find, by metric."""
    found: dict[str, list[Labels]] = {}
    for text in _texts(system):
        try:
            tree = promql_parser.parse(text)
        except ValueError:  # a proof's values, or a text with a variable of Grafana: it is asked elsewhere
            continue
        for selector in _selectors(tree):
            for name in _names(selector):
                found.setdefault(name, []).extend(_matching(selector))
    return found


def _texts(system: Installed) -> Iterator[str]:
    described = system.described
    for slo in described.slos:
        if slo.is_in(system.version):
            yield from (_plain(system.expr(text)) for text in texts(slo.sli))
    for alert in described.alerts:
        if alert.is_in(system.version):
            for each in system.each(alert):
                values = {} if each is None else {"each": each}
                yield system.expr(alert.expr, values)
                yield from (system.series(series, values) for series in alert.proof.silent)
    for panel in described.panels:
        if panel.is_in(system.version):
            yield from (_plain(system.expr(query.expr)) for query in panel.queries)
    for annotation in described.annotations:
        if annotation.is_in(system.version):
            yield _plain(system.expr(annotation.expr))


def _plain(expr: str) -> str:
    return re.sub(r"\$__\w+", "5m", expr).replace(WINDOW_PLACEHOLDER, "5m")


def _selectors(node: Any) -> Iterator[VectorSelector]:
    if isinstance(node, VectorSelector):
        yield node
        return
    for child in promql_syntax.children(node):
        yield from _selectors(child)


def _names(selector: VectorSelector) -> list[str]:
    """The metric that a selector reads, without the suffix of a part; of several spellings each."""
    spelled = [one.value.split("|") for one in selector.matchers.matchers if one.name == "__name__"]
    names = [selector.name] if selector.name else (spelled[0] if spelled else [])
    suffixes = {suffix for kind in PARTS.values() for suffix in kind if suffix}
    cut = {name.removesuffix(suffix) for name in names for suffix in suffixes}
    return sorted({*names, *cut})


def _matching(selector: VectorSelector) -> Iterator[Labels]:
    """Labels that a selector finds: a set for each combination of its patterns' alternatives."""
    of_target = {"job", "instance", "__name__", "le", "quantile"}
    matchers = [one for one in selector.matchers.matchers if one.name not in of_target]
    values = [[(one.name, value) for value in _values(str(one.op), one.value)] for one in matchers]
    for chosen in product(*values):
        yield {name: value for name, value in chosen if value}


def _values(operator: str, text: str) -> list[str]:
    if operator.endswith("NotEqual"):
        return ["a" if text != "a" else "b"]
    if operator.endswith("NotRe"):
        return [next(one for one in ("a", "zz-0", "") if not re2.fullmatch(text, one))]
    if operator.endswith("Re"):
        return [one for one in _alternatives(text) if re2.fullmatch(text, one)][:MOST_VALUES] or ["a"]
    return [text]


def _alternatives(pattern: str) -> list[str]:
    """Texts that a pattern may find: its alternatives without what is optional, and a letter for what is any."""
    needed = re.sub(r"\([^()]*\)[?*]|(?<!\\)[\w/-]\?", "", pattern)
    inside = re.sub(r"^\(\?:|^\(|\)$|^\^|\$$", "", needed)
    plain = [_ESCAPED.sub(r"\1", _ANY.sub(_letter, one)) for one in inside.split("|")]
    return [*plain, "a", "a1", "5xx", "500", "v1"]


_ANY = re.compile(r"\[\^?(.)[^\]]*\][*+?]?|(?<!\\)\.[*+?]?")
_ESCAPED = re.compile(r"\\(.)")


def _letter(match: re.Match[str]) -> str:
    return match[1] or "a"
