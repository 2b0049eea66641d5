"""A verdict as one page that needs nothing else: arms over time, evidence against its boundaries, latencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midwatch import html
from midwatch.spec import canary as spec
from monitors.canary import band
from monitors.canary import document as documents
from monitors.canary.arms import Floats, Ints
from monitors.canary.counts import Counted, Counts
from monitors.canary.findings import Finding
from monitors.canary.judge import Judgement
from monitors.canary.times import moment

TEMPLATE = Path(__file__).with_name("report.html")
WIDTH, HEIGHT = 520.0, 150.0
MAX_POINTS = 120
"""Points of a line: a long analysis is drawn in fewer, wider intervals."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart: its meaning, and y for each x; NaN leaves a gap."""

    kind: str
    name: str
    values: Floats


def write(path: Path, counts: Counts, settings: spec.Canary, judgement: Judgement) -> None:
    """Write the page; MidwatchError when it cannot be written."""
    document = documents.document(counts, settings, judgement)
    charts = _charts(counts, settings, judgement)
    html.write(path, TEMPLATE, document=document, charts=charts, rows=document["criteria"])


def _charts(counts: Counts, settings: spec.Canary, judgement: Judgement) -> list[dict[str, Any]]:
    if not counts.baseline_requests.size:
        return []
    seconds = counts.interval * _width(counts)
    rates = [_binned(one) / seconds for one in (counts.baseline_requests, counts.canary_requests)]
    charts = [_chart("requests per second", "", _arms(rates), counts), _evidence(counts, judgement)]
    by_name = {spec.name_of(one): one for one in settings.criteria}
    for finding in judgement.findings:
        data = counts.counted.get(finding.name)
        if data is not None and finding.evidence is not None:
            charts.append(_shares(counts, finding, data))
            if isinstance(by_name[finding.name], spec.Latency):
                charts.append(_latencies(finding, data, float(settings.false_alarm)))
    return charts


def _shares(counts: Counts, finding: Finding, data: Counted) -> dict[str, Any]:
    assert finding.evidence is not None  # noqa: S101 - the caller has looked
    index = data.channels.index(finding.evidence.channel)
    shares = []
    for events, requests in (
        (data.baseline_events[index], data.baseline_requests),
        (data.canary_events[index], data.canary_requests),
    ):
        every = _binned(requests)
        shares.append(np.divide(_binned(events), every, out=np.full(every.shape, math.nan), where=every > 0))
    what = "" if finding.evidence.channel == finding.name else f" {finding.evidence.channel}"
    return _chart(f"{finding.name}{what}, share of requests", finding.reason, _arms(shares), counts)


def _evidence(counts: Counts, judgement: Judgement) -> dict[str, Any]:
    """Log e-values in decades; the boundaries are what they have to reach."""
    width = _width(counts)
    ends = np.minimum(np.arange(width, counts.baseline_requests.size + width, width), counts.baseline_requests.size) - 1

    def decades(path: Floats) -> Floats:
        clipped: Floats = np.clip(path[ends], -judgement.fail_level, 3 * judgement.fail_level) / math.log(10)
        return clipped

    lines = [Line(kind="fail", name="against the canary", values=decades(judgement.log_fail))]
    lines += [
        Line(kind="pass", name=f"for it: {one.name}", values=decades(one.evidence.log_pass))
        for one in judgement.findings
        if one.evidence is not None
    ]
    rules = [(judgement.fail_level / math.log(10), "decided")]
    if judgement.pass_level != judgement.fail_level:
        rules = [(judgement.fail_level / math.log(10), "fail"), (judgement.pass_level / math.log(10), "pass")]
    note = "a line that reaches the boundary decides, at any look; drawn up to three times its height"
    return _chart("evidence, powers of ten", note, lines, counts, rules)


def _latencies(finding: Finding, data: Counted, alpha: float) -> dict[str, Any]:
    """Share of requests within each boundary, with bands that hold at every look."""
    curves, bands = [], []
    for events, requests in (
        (data.baseline_events, data.baseline_requests),
        (data.canary_events, data.canary_requests),
    ):
        total = int(requests.sum())
        curve = 1 - events.sum(axis=-1) / max(total, 1)
        half = band.radius(total, alpha / 2)
        curves.append(curve)
        bands.append((np.clip(curve - half, 0, 1), np.clip(curve + half, 0, 1)))
    labels = [channel.removeprefix("> ").removesuffix(" s") for channel in data.channels]
    chart = _frame("latency distribution, share of requests within", _apart(finding), _arms(curves), 0.0, 1.0)
    chart["areas"] = [
        {"kind": kind, "path": _area(low, high)}
        for kind, (low, high) in zip(("baseline", "canary"), bands, strict=True)
    ]
    step = math.ceil(len(labels) / 6)
    chart["labels"] = [
        {"x": _x(index, len(labels)), "anchor": _anchor(index, len(labels)), "text": f"{labels[index]} s"}
        for index in range(0, len(labels), step)
    ]
    return chart


def _apart(finding: Finding) -> str:
    if finding.evidence is None or finding.evidence.distance is None:
        return ""
    distance = finding.evidence.distance
    if distance.bound >= 1:
        return "too few requests for a band"
    word = "differ" if distance.differ else "are not told apart by their bands"
    return f"the distributions {word}: {distance.distance:.3f} apart, bands together {distance.bound:.3f}"


# Drawing -------------------------------------------------------------------------------------------------------------


def _arms(values: Sequence[Floats]) -> list[Line]:
    return [Line(kind=kind, name=kind, values=one) for kind, one in zip(("baseline", "canary"), values, strict=True)]


def _chart(
    title: str, note: str, lines: Sequence[Line], counts: Counts, rules: Sequence[tuple[float, str]] = ()
) -> dict[str, Any]:
    """Chart over the analysis' time, from 0 (or below) to the largest value or boundary."""
    told = [value for line in lines for value in line.values[np.isfinite(line.values)]]
    top = max([*told, *(at for at, _ in rules), 1e-9]) * 1.05
    chart = _frame(title, note, lines, min([0.0, *told]), top, rules)
    chart["labels"] = [
        {"x": 0, "anchor": "start", "text": moment(counts.start)[11:19]},
        {"x": WIDTH, "anchor": "end", "text": moment(counts.end)[11:19]},
    ]
    return chart


def _frame(
    title: str,
    note: str,
    lines: Sequence[Line],
    low: float,
    high: float,
    rules: Sequence[tuple[float, str]] = (),
) -> dict[str, Any]:
    def y(value: float) -> float:
        return round(HEIGHT - (value - low) / (high - low) * HEIGHT, 1)

    return {
        "title": title,
        "note": note,
        "lines": [{"kind": line.kind, "name": line.name, "path": _path(line.values, y)} for line in lines],
        "rules": [{"y": y(at), "name": name} for at, name in rules],
        "areas": [],
        "top": f"{high / 1.05 if high != 1.0 else high:.3g}",
        "bottom": f"{low:.3g}" if abs(low) > 1e-9 else "0",
    }


def _path(values: Floats, y: Any) -> str:
    words, pen = [], "M"
    for index, value in enumerate(values):
        if math.isfinite(value):
            words.append(f"{pen}{_x(index, len(values))} {y(float(value))}")
            pen = "L"
        else:
            pen = "M"
    if len(words) == 1:
        words.append(f"h{WIDTH if len(values) == 1 else 2}")
    return " ".join(words)


def _area(low: Floats, high: Floats) -> str:
    there = [f"{_x(index, len(high))} {HEIGHT - value * HEIGHT:.1f}" for index, value in enumerate(high)]
    back = [f"{_x(index, len(low))} {HEIGHT - value * HEIGHT:.1f}" for index, value in reversed([*enumerate(low)])]
    return "M" + " L".join([*there, *back]) + " Z"


def _x(index: int, size: int) -> float:
    return round(index / max(1, size - 1) * WIDTH, 1)


def _anchor(index: int, size: int) -> str:
    return "start" if index == 0 else "end" if index == size - 1 else "middle"


def _width(counts: Counts) -> int:
    return math.ceil(counts.baseline_requests.size / MAX_POINTS)


def _binned(values: Ints) -> Floats:
    """Sums of neighbouring intervals, so that there are at most `MAX_POINTS`."""
    width = math.ceil(values.size / MAX_POINTS)
    sums: Floats = np.add.reduceat(values, np.arange(0, values.size, width)).astype(float)
    return sums
