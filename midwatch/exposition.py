"""Prometheus text of metrics of the catalogue: what prometheus_client writes, byte for byte, in a fraction of the time.

The client formats and escapes every label of every sample at each scrape; here a label set is formatted once. Nothing
else of Midwatch but a model server's instruments knows prometheus_client.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from midwatch.metrics import Kind, Metric

__all__ = [
    "CONTENT_TYPE",
    "OPEN_METRICS",
    "Exemplar",
    "Family",
    "Histogram",
    "Sample",
    "Table",
    "accepted",
    "end",
    "escaped_help",
    "families",
    "head",
    "histogram_text",
    "label_text",
    "parse",
    "render",
    "render_as_parsed",
    "rows",
    "sample_text",
    "samples",
    "table_text",
    "text",
]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The format that can carry exemplars."""


Sample = tuple[Metric, Mapping[str, str], float]
"""A counter or a gauge, its labels and its value."""


class Histogram(NamedTuple):
    """A series of a histogram: `counts` has one number per bound and one beyond; `exemplars` are by place in it."""

    metric: Metric
    labels: Mapping[str, str]
    bounds: Sequence[float]
    counts: Sequence[int]
    total: float
    exemplars: Mapping[int, Exemplar] = {}


def families(
    samples: Iterable[Sample], histograms: Iterable[Histogram] = (), *, empty: Iterable[Metric] = ()
) -> dict[str, Family]:
    """Families by the name of their metric, in the order of their first sample; those of `empty` come before all."""
    by_name: dict[str, Family] = {metric.name: _family(metric) for metric in empty}
    for metric, labels, value in samples:
        _add(by_name, metric, labels, value)
    for series in histograms:
        _add(by_name, series.metric, series.labels, _buckets(series), series.total)
    return by_name


def _add(by_name: dict[str, Family], metric: Metric, labels: Mapping[str, str], *values: Any) -> None:
    family = by_name.get(metric.name)
    if family is None:
        family = by_name[metric.name] = _family(metric)
    family.add_metric([labels[label] for label in metric.labels], *values)  # type: ignore[attr-defined]


_FAMILIES: dict[Kind, Callable[..., Family]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
}


def _family(metric: Metric) -> Family:
    return _FAMILIES[metric.kind](metric.family, metric.help, labels=metric.labels)


def _buckets(series: Histogram) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
    """Bucket, count up to it, and where there is one a request that it counted."""
    running = 0
    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    bounds = [*(str(float(bound)) for bound in series.bounds), "+Inf"]
    for place, (bound, count) in enumerate(zip(bounds, series.counts, strict=True)):
        running += count
        exemplar = series.exemplars.get(place)
        buckets.append((bound, running) if exemplar is None else (bound, running, exemplar))
    return buckets


def render(families: Iterable[Family], content_type: str = CONTENT_TYPE) -> bytes:
    """Text exposition of the families in their order: version 0.0.4, or OpenMetrics with their exemplars."""
    is_open = content_type == OPEN_METRICS
    lines: list[str] = []
    for family in families:
        name = family.name + "_total" if family.type == "counter" and not is_open else family.name
        documentation = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
        lines += (f"# HELP {name} {documentation}\n", f"# TYPE {name} {family.type}\n")
        lines += [
            f"{sample.name}{_labels(tuple(sample.labels.items()))} {_number(sample.value)}"
            f"{_exemplar(sample.exemplar) if is_open and sample.exemplar else ''}\n"
            for sample in family.samples
        ]
    return "".join([*lines, "# EOF\n"] if is_open else lines).encode()


# Text without families ---------------------------------------------------------------------------------------------


class Table(NamedTuple):
    """Counters or gauges of one metric: `labels` have all of them, and `counts` is nested by the values of `names`.

    Without `names`, `counts` is the one value.
    """

    metric: Metric
    labels: Mapping[str, str]
    names: tuple[str, ...]
    counts: Any


Row = tuple[Mapping[str, str], str, Mapping[str, float]]
"""Labels that some samples of a table have in common, the label that tells them apart, and values by that label's."""


def rows(table: Table) -> Iterator[Row]:
    """Rows of a table with names. Between two of them the table may change: it is read as it is then."""
    return _rows(table.labels, table.names, table.counts)


def _rows(labels: Mapping[str, str], names: Sequence[str], counts: Mapping[str, Any]) -> Iterator[Row]:
    if len(names) == 1:
        yield labels, names[0], counts
        return
    for value, inner in list(counts.items()):
        yield from _rows({**labels, names[0]: value}, names[1:], inner)


def samples(table: Table) -> Iterator[Sample]:
    """Samples of a table."""
    if not table.names:
        yield table.metric, table.labels, table.counts
        return
    for labels, name, values in rows(table):
        for value, count in values.items():
            yield table.metric, {**labels, name: value}, count


def table_text(table: Table) -> Iterator[str]:
    """Lines of a table, some at a time; between two of them the table may change."""
    name = table.metric.name
    if not table.names:
        yield f"{name}{_labels(tuple(table.labels.items()))} {_number(table.counts)}\n"
        return
    for labels, last, values in rows(table):
        before, after = _around(tuple(labels.items()), last)
        yield "".join([f"{name}{before}{_escaped(value)}{after} {_number(count)}\n" for value, count in values.items()])


def text(samples: Iterable[Sample], histograms: Iterable[Histogram] = ()) -> bytes:
    """What `render` writes of `families`, without making the families: they have an object for each sample."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample[0].name, []).append(sample)
    parts = [head(some[0][0]) + sample_text(some) for some in by_name.values()]
    series: dict[str, list[Histogram]] = {}
    for histogram in histograms:
        series.setdefault(histogram.metric.name, []).append(histogram)
    parts += [head(some[0].metric) + "".join(map(histogram_text, some)) for some in series.values()]
    return "".join(parts).encode()


def sample_text(samples: Iterable[Sample]) -> str:
    """Lines of samples."""
    return "".join(
        [f"{metric.name}{_labels(tuple(labels.items()))} {_number(value)}\n" for metric, labels, value in samples]
    )


def head(metric: Metric, content_type: str = CONTENT_TYPE) -> str:
    """What stands before the lines of a metric."""
    name = metric.family if content_type == OPEN_METRICS else metric.name
    documentation = metric.help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {documentation}\n# TYPE {name} {metric.kind}\n"


def histogram_text(series: Histogram, content_type: str = CONTENT_TYPE) -> str:
    """Lines of a histogram's series: buckets, count and sum."""
    return "".join(_histogram_lines(series, content_type == OPEN_METRICS))


def _histogram_lines(series: Histogram, is_open: bool) -> Iterator[str]:
    name, pairs = series.metric.name, tuple(series.labels.items())
    before, after = _around(pairs, "le")
    running = 0
    for place, (bound, count) in enumerate(zip(_bounds(tuple(series.bounds)), series.counts, strict=True)):
        running += count
        exemplar = series.exemplars.get(place) if is_open else None
        shown = _exemplar(exemplar) if exemplar else ""
        yield f"{name}_bucket{before}{bound}{after} {_number(running)}{shown}\n"
    labels = _labels(pairs)
    yield f"{name}_count{labels} {_number(running)}\n"
    yield f"{name}_sum{labels} {_number(series.total)}\n"


def end(content_type: str) -> str:
    """What stands at the end of a text."""
    return "# EOF\n" if content_type == OPEN_METRICS else ""


@lru_cache(maxsize=1000)
def _bounds(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*(str(float(bound)) for bound in bounds), "+Inf")


def _around(pairs: tuple[tuple[str, str], ...], last: str) -> tuple[str, str]:
    """What stands before and after the value of a label that the others do not have."""
    written = [(name, f'{name}="{_escaped(value)}"') for name, value in sorted(pairs)]
    before = "".join(f"{label}," for name, label in written if name < last)
    after = "".join(f",{label}" for name, label in written if name > last)
    return f'{{{before}{last}="', f'"{after}}}'


def accepted(accept: bytes) -> str:
    """Content type for a request's Accept header: OpenMetrics where it is listed, as Prometheus lists it first.

    A weight of 0 refuses it (RFC 9110, 12.4.2).
    """
    for entry in accept.lower().split(b","):
        media, *parameters = (part.strip() for part in entry.split(b";"))
        if media == b"application/openmetrics-text" and not any(map(_NO_WEIGHT.fullmatch, parameters)):
            return OPEN_METRICS
    return CONTENT_TYPE


_NO_WEIGHT = re.compile(rb"q\s*=\s*0(\.0*)?")


def _exemplar(exemplar: Exemplar) -> str:
    return f" # {_labels(tuple(exemplar.labels.items()))} {_number(exemplar.value)} {exemplar.timestamp}"


def _labels(pairs: tuple[tuple[str, str], ...]) -> str:
    if not pairs:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(pairs)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if type(value) is int and -1_000_000 < value < 1_000_000:
        return f"{value}.0"
    written: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return written


# What others wrote -------------------------------------------------------------------------------------------------

_BARE_COUNTER = re.compile(r"^# TYPE (\S+) counter\s*$", re.MULTILINE)


def parse(text: str) -> list[Family]:
    """Families of an exposition in version 0.0.4, samples by the names they have there; ValueError for what is none."""
    try:
        families = list(text_string_to_metric_families(text))
    except (KeyError, IndexError) as error:
        raise ValueError(f"not an exposition: {error!r}") from error
    bare = {name for name in _BARE_COUNTER.findall(text) if not name.endswith("_total")}
    for family in families:
        if family.type == "counter" and family.name in bare:  # the client adds `_total` to what has none
            family.samples = [sample._replace(name=sample.name.removesuffix("_total")) for sample in family.samples]
    return families


def render_as_parsed(families: Iterable[Family]) -> str:
    """Version 0.0.4 of families that were parsed: each sample under the name that it had."""
    lines: list[str] = []
    for family in families:
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        is_total = family.type == "counter" and any(sample.name.endswith("_total") for sample in samples)
        name, kind = f"{family.name}_total" if is_total else family.name, family.type.replace("unknown", "untyped")
        lines += (f"# HELP {name} {escaped_help(family.documentation)}\n", f"# TYPE {name} {kind}\n")
        lines += [f"{sample.name}{label_text(sample.labels)} {_number(sample.value)}\n" for sample in samples]
    return "".join(lines)


def label_text(labels: Mapping[str, str]) -> str:
    """Labels in braces as an exposition has them; nothing without any."""
    return _labels(tuple(labels.items()))


def escaped_help(text: str) -> str:
    """A help text as an exposition has it."""
    return text.replace("\\", r"\\").replace("\n", r"\n")
