"""A verdict as one page that needs nothing else: the two distributions of each drifted feature, and every finding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midwatch import files
from monitors.drift import view
from monitors.drift.counts import Counts, NumericGrid
from monitors.drift.reference import FeatureReference
from monitors.drift.verdict import Judgement

WIDTH, HEIGHT = 340, 105
LONGEST = 12
"""Letters of a category's name under its bar; the whole name is in the bar's title."""


def write(
    path: Path,
    source: str,
    said: Judgement,
    features: Mapping[str, FeatureReference],
    window: Mapping[str, Counts],
) -> None:
    """Write the page; MidwatchError when it cannot be written."""
    import jinja2

    template = jinja2.Template(
        Path(__file__).with_name("page.html").read_text(encoding="utf-8"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    what: dict[str, list[str]] = {}
    for finding in said.drifted:
        what.setdefault(finding.feature, []).append(f"{finding.method}: {finding.direction}")
    charts = [
        _chart(name, "; ".join(lines), features[name], window[name]) for name, lines in what.items() if name in window
    ]
    text = template.render(said=said, source=source, charts=charts, findings=view.ranked(said))
    files.replace(path, text.encode())


def _chart(name: str, what: str, feature: FeatureReference, window: Counts) -> dict[str, Any]:
    names, before, now = view.histograms(feature, window)
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
    return {"feature": name, "what": what, "bars": bars, "labels": _labels(feature, names, step)}


def _labels(feature: FeatureReference, names: list[str], step: float) -> list[dict[str, Any]]:
    """The ends of a scale of numbers; the frequent categories."""
    if isinstance(feature.grid, NumericGrid):
        ends = {"start": (0, f"≤ {names[0]}"), "end": (WIDTH, names[-1])}
        return [{"x": x, "anchor": anchor, "name": name} for anchor, (x, name) in ends.items()]
    shown = max(1, round(60 / step))  # one label to about 60 units
    return [
        {"x": round((index + 0.42) * step, 1), "anchor": "middle", "name": name[:LONGEST]}
        for index, name in enumerate(names)
        if index % shown == 0
    ]
