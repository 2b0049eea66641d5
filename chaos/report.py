"""A run as one page that needs nothing else: verdict, targets, guards, a timeline, and where the evidence is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from midwatch import files

WIDTH = 640
LEAST_WIDTH = 2


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write the page; MidwatchError when it cannot be written."""
    import jinja2

    template = jinja2.Template(
        Path(__file__).with_name("report.html").read_text(encoding="utf-8"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    files.replace(path, template.render(result=result, bars=_bars(result), width=WIDTH).encode())


def _bars(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each activity with its place on a line of time."""
    begun = datetime.fromisoformat(result["started_at"])
    scale = WIDTH / max(float(result["seconds"]), 0.001)
    bars = []
    for one in result["activities"]:
        offset = (datetime.fromisoformat(one["started_at"]) - begun).total_seconds() if one["started_at"] else 0.0
        x = min(max(offset * scale, 0.0), WIDTH - LEAST_WIDTH)
        width = min(max(float(one["seconds"]) * scale, LEAST_WIDTH), WIDTH - x)
        bars.append({**one, "at": round(offset, 1), "x": round(x, 1), "width": round(width, 1)})
    return bars
