"""What the expressions of a system read, and the traps in them: names, labels, bounds, births, states, ages.

A system is looked at as it is installed, in one version and with its settings filled in.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import promql_parser
import re2
from promql_parser import AggregateExpr, BinaryExpr, Call, NumberLiteral, VectorSelector

from midwatch import metrics, promql, promql_syntax, upstream
from midwatch.spec.base import Place
from midwatch.spec.placeholders import PlaceholderError
from midwatch.spec.slo import WINDOW_PLACEHOLDER
from midwatch.spec.system_dialect import PARTS
from midwatch.spec.system_rules import Installed, version_text
from midwatch.spec.systems import SystemAlert, SystemFile, SystemMetric, texts

GRAFANA = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}
"""What Grafana's own variables may be, so that an expression parses."""

_OF_TARGETS = {metric.name: metric for metric in (upstream.UP, upstream.SCRAPE_DURATION, upstream.SCRAPE_SAMPLES)}
"""What Prometheus itself writes of each target."""
_BOUNDS = {"_bucket": "le", "": "quantile"}
_COMPARISONS = frozenset({">", ">=", "<", "<=", "==", "!="})

Said = tuple[Place, str, str]
"""Place in system.yaml, what is wrong, what to do."""


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A selector, the nodes around it from the outermost in, and the metric it reads a part of.

    `buckets` and `states` are those of the version, `labels` all that the series have.
    """

    node: Any
    around: tuple[Any, ...]
    metric: SystemMetric | None = None
    name: str = ""
    suffix: str = ""
    labels: frozenset[str] = field(default=frozenset())
    buckets: Sequence[float] = ()
    states: Sequence[str] = ()


def problems(system: Installed, described: SystemFile) -> Iterator[Said]:
    """Problems of everything that a version has, with the settings filled in."""
    for place, text, alert in _expressions(system, described):
        try:
            expr = system.expr(text, {"each": "each"})
            tree = promql_parser.parse(_parseable(expr))
        except (PlaceholderError, ValueError) as error:
            yield place, f"not PromQL: {' '.join(str(error).split())}", "correct the expression"
            continue
        reads = []
        for node, around in _selectors(tree, ()):
            read, wrong = _read(system, described, node, around)
            yield from ((place, message, remedy) for message, remedy in wrong)
            reads += [read] if read else []
        of_all = (*_unreachable(tree, reads), *_births(reads), *_groupings(tree, reads))
        wrongs = (*of_all, *(_of_alert(alert, reads) if alert else ()))
        yield from ((place, message, remedy) for message, remedy in wrongs)
    for number, alert in enumerate(described.alerts):
        if alert.is_in(system.version):
            yield from _proof(system, described, number, alert)


def _parseable(expr: str) -> str:
    for name, value in GRAFANA.items():
        expr = expr.replace(name, value)
    return expr.replace(WINDOW_PLACEHOLDER, "5m")


def _expressions(system: Installed, described: SystemFile) -> Iterator[tuple[Place, str, SystemAlert | None]]:
    """Place and text of every expression that the version has, and its alert."""
    for number, slo in enumerate(described.slos):
        if slo.is_in(system.version):
            for text in texts(slo.sli):
                yield ("slos", number, "sli"), text, None
    for number, alert in enumerate(described.alerts):
        if alert.is_in(system.version):
            yield ("alerts", number, "expr"), alert.expr, alert
    for number, panel in enumerate(described.panels):
        if panel.is_in(system.version):
            for index, query in enumerate(panel.queries):
                yield ("panels", number, "queries", index, "expr"), query.expr, None
    for number, annotation in enumerate(described.annotations):
        if annotation.is_in(system.version):
            yield ("annotations", number, "expr"), annotation.expr, None


def _selectors(node: Any, around: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    if isinstance(node, VectorSelector):
        yield node, around
        return
    for child in promql_syntax.children(node):
        yield from _selectors(child, (*around, node))


def _exposed(system: Installed, described: SystemFile) -> dict[str, tuple[str, SystemMetric, str]]:
    """The newest name, metric and suffix of every name that the version has."""
    return {
        name + suffix: (newest, metric, suffix)
        for newest, metric in described.metrics.items()
        if metric.is_in(system.version)
        for name in metric.names_in(newest, system.version)
        for suffix in PARTS.get(metric.kind, ("",))
    }


def _name(node: Any) -> str:
    """A selector's metric; of several spellings the first."""
    if node.name:
        return str(node.name)
    named = (one.value for one in node.matchers.matchers if one.name == "__name__")
    return next(named, "").partition("|")[0]


def _read(
    system: Installed, described: SystemFile, node: Any, around: tuple[Any, ...], *, every_spelling: bool = True
) -> tuple[_Read | None, list[tuple[str, str]]]:
    """What a selector reads, and what is wrong with its name and its labels."""
    name = _name(node)
    exposed = _exposed(system, described)
    if name in _OF_TARGETS:
        read = _Read(node=node, around=around, name=name, labels=promql.TARGET_LABELS)
    elif name in exposed:
        newest, metric, suffix = exposed[name]
        bound = {_BOUNDS[suffix]} if metric.kind in PARTS and suffix in _BOUNDS else set()
        own = {
            f"exported_{one}" if one in system.use.exported_labels else one for one in metric.labels_in(system.version)
        }
        read = _Read(
            node=node,
            around=around,
            metric=metric,
            name=newest,
            suffix=suffix,
            labels=frozenset({*own, *promql.TARGET_LABELS, *bound}),
            buckets=metric.buckets_in(system.version),
            states=[system.dialect.label(metric, label) for label in metric.states],
        )
    elif system.use.observe is not None and (ours := metrics.CATALOGUE.get(name)):
        read = _Read(node=node, around=around, name=name, labels=frozenset({*ours.labels, *promql.TARGET_LABELS}))
    else:
        return None, [_no_metric(system, described, name, [*exposed, *_OF_TARGETS])]
    wrong = []
    for matcher in node.matchers.matchers:
        if matcher.name == "__name__":
            continue
        if matcher.name not in read.labels:
            wrong.append((f"{name} has no label {matcher.name!r}", f"it has {', '.join(sorted(read.labels))}"))
        elif matcher.name == "le" and read.metric and not _is_bound(matcher, read.buckets, every_spelling):
            bounds = ", ".join(f"{bound:g}" for bound in read.buckets)
            wrong.append((f"{name} has no bound {matcher.value}", f"its bounds are {bounds}"))
    return read, wrong


def _no_metric(system: Installed, described: SystemFile, name: str, known: list[str]) -> tuple[str, str]:
    if any(
        name.startswith(known) for newest, metric in described.metrics.items() for known in metric.every_name(newest)
    ):
        message = f"version {version_text(system.version)} has no metric {name!r}"
        return message, "give what reads it the version range of the metric"
    close = difflib.get_close_matches(name, known, 1)
    return f"there is no metric {name!r}", f"did you mean {close[0]}?" if close else "add it to metrics"


def _is_bound(matcher: Any, buckets: Sequence[float], every_spelling: bool) -> bool:
    """Whether a matcher of `le` finds a bound: as `1` and as `1.0`, since only Prometheus 3 writes all the same way."""
    spellings = [{f"{bound:g}", str(float(bound))} for bound in buckets] + [{"+Inf"}]
    pattern = matcher.value if "Re" in str(matcher.op) else re.escape(matcher.value)
    enough = all if every_spelling else any
    return any(enough(re2.fullmatch(pattern, one) for one in both) for both in spellings)


# Traps -------------------------------------------------------------------------------------------------------------


def _unreachable(node: Any, reads: list[_Read]) -> Iterator[tuple[str, str]]:
    """Quantiles that are compared with what they can never exceed: the last bound of the histogram."""
    if isinstance(node, BinaryExpr) and str(node.op) in _COMPARISONS:
        for side, other in ((node.lhs, node.rhs), (node.rhs, node.lhs)):
            if isinstance(other, NumberLiteral):
                yield from _beyond(side, other.val, reads)
    for child in promql_syntax.children(node):
        yield from _unreachable(child, reads)


def _beyond(side: Any, threshold: float, reads: list[_Read]) -> Iterator[tuple[str, str]]:
    inside = {_name(node) for node, around in _selectors(side, ()) if _calls(around, "histogram_quantile")}
    for read in reads:
        last = read.buckets[-1] if read.buckets else None
        if last is not None and _name(read.node) in inside and threshold >= last:
            message = f"a quantile of {read.name} is at most {last:g}, its last bound, and never beyond {threshold:g}"
            yield message, "compare the share beyond a bound instead"
            return


def _calls(around: tuple[Any, ...], *names: str) -> bool:
    return any(isinstance(node, Call) and node.func.name in names for node in around)


def _births(reads: list[_Read]) -> Iterator[tuple[str, str]]:
    """Increases of counters that are born at 1, whose first event they do not see; a quantile does not need it."""
    counted = {read.name for read in reads if any(_is_group(node) for node in read.around)}
    for read in reads:
        is_born_at_one = read.metric is not None and read.metric.born_at_one
        is_compared = _calls(read.around, "increase", "rate") and not any(_divides(node) for node in read.around)
        is_compared = is_compared and not _calls(read.around, "histogram_quantile")
        if is_born_at_one and is_compared and read.name not in counted:
            message = f"{read.name} is born at 1, and increase of a new series is 0"
            yield message, f"write <counted {read.name}{{...}} over WINDOW> inside a sum"


def _is_group(node: Any) -> bool:
    return isinstance(node, AggregateExpr) and str(node.op).lower() == "group"


def _divides(node: Any) -> bool:
    return isinstance(node, BinaryExpr) and str(node.op) == "/"


def _groupings(node: Any, reads: list[_Read]) -> Iterator[tuple[str, str]]:
    """Labels that an aggregation keeps and none of the metrics inside has: everything becomes one series."""
    made = {label for read in reads for label in read.labels}
    if isinstance(node, AggregateExpr) and node.modifier is not None and str(node.modifier.type).endswith("By"):
        inside = {_name(one) for one, _ in _selectors(node, ())}
        known = {label for read in reads if _name(read.node) in inside for label in read.labels}
        if not any(isinstance(one, Call) and one.func.name.startswith("label_") for one in _walk(node)):
            for label in sorted(set(node.modifier.labels) - known):
                message = f"nothing inside has the label {label!r}, by which it is aggregated"
                yield message, f"the metrics have {', '.join(sorted(known or made))}"
    for child in promql_syntax.children(node):
        yield from _groupings(child, reads)


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for child in promql_syntax.children(node):
        yield from _walk(child)


def _of_alert(alert: SystemAlert, reads: list[_Read]) -> Iterator[tuple[str, str]]:
    """Waits that a change of state begins anew, and ages that stand still with their publisher."""
    names = {read.name for read in reads}
    for read in reads:
        metric = read.metric
        if metric is None:
            continue
        kept = [label for label in read.states if alert.for_ != "0s" and not _is_summed_away(label, read.around)]
        if kept:
            message = f"{kept[0]} of {read.name} is a state: each change of it begins `for` anew"
            yield message, "aggregate it away, with sum by (...) of the other labels"
        yield from _of_time(read)
        if metric.vanishes and not _asks_for_absence(read.around):
            message = f"{read.name} has no series when what it says is at its worst"
            yield message, "ask for the good value, with absent(…) or on the right of unless"
        if metric.is_age and "up" not in names:
            message = f"{read.name} is an age, and stands still when its publisher does"
            yield message, "read up of the same target, too"


def _of_time(read: _Read) -> Iterator[tuple[str, str]]:
    """A time that is 0 for never, in a difference without a look at that."""
    subtracts = any(isinstance(node, BinaryExpr) and str(node.op) == "-" for node in read.around)
    if read.metric is not None and read.metric.zero_is_never and subtracts and not _is_compared_with_zero(read.around):
        message = f"{read.name} is 0 until it first happened, which is over fifty years ago"
        yield message, f"write ({read.name} > 0), and an alert on 0"


def _is_compared_with_zero(around: tuple[Any, ...]) -> bool:
    return any(
        isinstance(node, BinaryExpr)
        and str(node.op) in (">", "!=")
        and isinstance(node.rhs, NumberLiteral)
        and node.rhs.val == 0
        and not any(isinstance(inner, BinaryExpr) and str(inner.op) == "-" for inner in around[place + 1 :])
        for place, node in enumerate(around)
    )


def _asks_for_absence(around: tuple[Any, ...]) -> bool:
    return _calls(around, "absent", "absent_over_time") or any(
        isinstance(node, BinaryExpr) and str(node.op) == "unless" for node in around
    )


def _is_summed_away(label: str, around: tuple[Any, ...]) -> bool:
    if _calls(around, "absent", "absent_over_time"):
        return True
    for node in around:
        if isinstance(node, AggregateExpr):
            modifier = node.modifier
            labels = list(modifier.labels) if modifier is not None else []
            is_by = modifier is None or str(modifier.type).endswith("By")
            if (label in labels) != is_by:
                return True
    return False


# Proofs ------------------------------------------------------------------------------------------------------------


def _proof(system: Installed, described: SystemFile, number: int, alert: SystemAlert) -> Iterator[Said]:
    """Series of a proof that the system cannot have: of other names, labels or bounds."""
    for key, group in (("fires", alert.proof.fires), ("silent", alert.proof.silent)):
        place: Place = ("alerts", number, "proof", key)
        for series in group:
            yield from ((place, *wrong) for wrong in _series(system, described, series))
            yield from ((place, *wrong) for wrong in _values(system, group[series]))


def _series(system: Installed, described: SystemFile, text: str) -> Iterator[tuple[str, str]]:
    try:
        node = promql_parser.parse(system.series(text, {"each": "each"}))
    except (PlaceholderError, ValueError) as error:
        yield f"not a series: {' '.join(str(error).split())}", 'write NAME{label="value"}'
        return
    _, wrong = _read(system, described, node, (), every_spelling=False)
    yield from wrong


def _values(system: Installed, text: str) -> Iterator[tuple[str, str]]:
    try:
        system.text(text, {"each": "each"})
    except PlaceholderError as error:
        yield str(error), "correct the placeholder"
