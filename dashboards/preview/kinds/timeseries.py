"""Lines over time; promises are dashed. Stacked ones are drawn on top of each other, as Grafana does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dashboards import style
from dashboards.preview import fields, units
from dashboards.preview.answers import Answer, Series
from dashboards.preview.drawings import Lines
from midwatch.html.charts import PALETTE, Chart, Line, Rule

MOST_LINES = 20
"""Lines that an eye can follow; a panel of more shows those with the largest newest values."""

KINDS: Mapping[str, str] = {
    style.BAD: "bad",
    style.WATCH: "unsure",
    style.GOOD: "now",
    style.UNDECIDED: "before",
    style.BASELINE: "baseline",
    style.CANARY: "canary",
}
"""Colours of the frame for Grafana's fixed ones."""


def draw(answer: Answer) -> Lines:
    """The panel's lines with its unit, limits and thresholds."""
    panel = answer.panel
    shown, left_out = _largest(answer.series)
    look = fields.look_of(panel)
    unit = units.of(look.unit)
    custom = ((panel.get("fieldConfig") or {}).get("defaults") or {}).get("custom") or {}
    is_stacked = (custom.get("stacking") or {}).get("mode") not in (None, "none")
    lines = [_line(panel, one, unit.factor, place) for place, one in enumerate(shown)]
    limits = {
        name: None if (limit := look.settings.get(name)) is None else limit * unit.factor for name in ("min", "max")
    }
    notes = ["stacked: each line stands on those before it, and its number includes theirs"] * is_stacked
    if (custom.get("scaleDistribution") or {}).get("type") == "log":
        notes.append("Grafana draws it on a logarithmic axis")
    if left_out:
        notes.append(f"{left_out} lines more in Grafana, with smaller values")
    chart = Chart(
        title=panel["title"],
        x=answer.times,
        lines=_stacked(lines) if is_stacked else lines,
        rules=[*_thresholds(look, unit.factor, custom)],
        unit=unit.name,
        low=limits["min"] or None,
        high=limits["max"],
        queries=(),
    )
    return Lines(chart=chart, note="; ".join(notes))


def _largest(series: Sequence[Series]) -> tuple[list[Series], int]:
    """As many as are drawn, in their order, and how many are left out."""
    ranked = sorted(series, key=lambda one: -one.last if math.isfinite(one.last) else math.inf)
    kept = {id(one) for one in ranked[:MOST_LINES]}
    return [one for one in series if id(one) in kept], max(0, len(series) - MOST_LINES)


def _line(panel: Mapping[str, Any], one: Series, factor: float, place: int) -> Line:
    look = fields.look_of(panel, ref=one.ref, name=one.name)
    kind = KINDS.get(look.fixed_colour.upper()) or ("bad" if look.is_dashed else PALETTE[place % len(PALETTE)])
    return Line(name=one.name, values=[value * factor for value in one.values], kind=kind, is_dashed=look.is_dashed)


def _stacked(lines: Sequence[Line]) -> list[Line]:
    """Each line on top of those before it; a gap adds nothing."""
    total = [0.0] * len(lines[0].values) if lines else []
    stacked = []
    for line in lines:
        total = [
            below + value if value is not None and math.isfinite(value) else below
            for below, value in zip(total, line.values, strict=True)
        ]
        stacked.append(Line(name=line.name, values=list(total), kind=line.kind, is_dashed=line.is_dashed))
    return stacked


def _thresholds(look: fields.Look, factor: float, custom: Mapping[str, Any]) -> list[Rule]:
    """Thresholds as lines, where the panel shows them."""
    if (custom.get("thresholdsStyle") or {}).get("mode") in (None, "off"):
        return []
    return [
        Rule(
            name=f"from {look.text(step['value'])}", at=step["value"] * factor, kind=KINDS.get(step["color"], "unsure")
        )
        for step in look.steps
        if step["value"] is not None
    ]
