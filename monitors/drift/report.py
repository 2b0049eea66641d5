"""A verdict as one page that needs nothing else: the two distributions of each drifted feature, and every finding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midwatch import html
from monitors.drift.counts import Counts, NumericGrid
from monitors.drift.histograms import histograms
from monitors.drift.reference import FeatureReference
from monitors.drift.verdict import Judgement

TEMPLATE = Path(__file__).with_name("report.html")
WIDTH, HEIGHT = 340, 105
LONGEST = 12
"""Letters of a category's name under its bar; the whole name is in the bar's title."""


def write(
    path: Path,
    table: str,
    judgement: Judgement,
    features: Mapping[str, FeatureReference],
    window: Mapping[str, Counts],
) -> None:
    """Write the page; MidwatchError when it cannot be written."""
    notes: dict[str, list[str]] = {}
    for finding in judgement.drifted:
        notes.setdefault(finding.feature, []).append(f"{finding.method}: {finding.direction}")
    charts = [
        _chart(name, "; ".join(lines), features[name], window[name]) for name, lines in notes.items() if name in window
    ]
    html.write(path, TEMPLATE, judgement=judgement, table=table, charts=charts, findings=judgement.ranked)


def _chart(name: str, note: str, feature: FeatureReference, window: Counts) -> dict[str, Any]:
    names, before, now = histograms(feature, window)
    top = max(before.max(), now.max(), 1e-9)
    step = WIDTH / len(names)
    bars = [
        {
            "name": label,
            "x": round(index * step, 1),
            "width": round(step * 0.42, 1),
            "before": round(float(before[index] / top) * HEIGHT, 1),
            "now": round(float(now[index] / top) * HEIGHT, 1),
            "before_share": f"{before[index]:.1%}",
            "now_share": f"{now[index]:.1%}",
        }
        for index, label in enumerate(names)
    ]
    return {"feature": name, "note": note, "bars": bars, "labels": _labels(feature, names, step)}


def _labels(feature: FeatureReference, names: list[str], step: float) -> list[dict[str, Any]]:
    """The ends of a scale of numbers; the frequent categories."""
    if isinstance(feature.grid, NumericGrid):
        ends = {"start": (0, f"≤ {names[0]}"), "end": (WIDTH, names[-1])}
        return [{"x": x, "anchor": anchor, "text": name} for anchor, (x, name) in ends.items()]
    shown = max(1, round(60 / step))  # one label to about 60 units
    return [
        {"x": round((index + 0.42) * step, 1), "anchor": "middle", "text": name[:LONGEST]}
        for index, name in enumerate(names)
        if index % shown == 0
    ]
