"""A run as one page that needs nothing else: verdict, targets, preconditions, a timeline, and where the evidence is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from midwatch import html

WIDTH = 900.0
NAMES = 330.0
"""Left of the bars, for the activities' names."""

LABELS = 90.0
"""Right of the bars, for the seconds of the longest."""

LONGEST = 52
"""Letters of a name beside its bar; the table below has the whole name."""

LEAST_WIDTH = 2.0


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write the page; MidwatchError when it cannot be written."""
    template = Path(__file__).with_name("report.html")
    html.write(path, template, result=result, bars=_bars(result), width=WIDTH)


def _bars(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each activity with its place on a line of time."""
    begun = datetime.fromisoformat(result["started_at"])
    end = WIDTH - LABELS
    scale = (end - NAMES) / max(float(result["seconds"]), 0.001)
    bars = []
    for activity in result["activities"]:
        started = activity["started_at"]
        offset = (datetime.fromisoformat(started) - begun).total_seconds() if started else 0.0
        x = NAMES + min(max(offset * scale, 0.0), end - NAMES - LEAST_WIDTH)
        place = {
            "name": _shortened(f"{activity['phase']}: {activity['name']}"),
            "x": x,
            "width": min(max(float(activity["seconds"]) * scale, LEAST_WIDTH), end - x),
            "label": f"at {offset:.1f} s",
            "class": "good" if activity["good"] else "bad",
        }
        bars.append({**activity, "activity": activity["name"], **place})
    return bars


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
