"""A run as one page that needs nothing else: verdict, targets, preconditions, a timeline, and where the evidence is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from midwatch import html
from midwatch.wording import in_words

WIDTH = 900.0
NAMES = 110.0
"""Left of the bars, for the activities' numbers and phases; the table below has their names."""

LABELS = 90.0
"""Right of the bars, for the seconds of the longest."""

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
    for number, activity in enumerate(result["activities"], 1):
        started = activity["started_at"]
        offset = (datetime.fromisoformat(started) - begun).total_seconds() if started else 0.0
        x = NAMES + min(max(offset * scale, 0.0), end - NAMES - LEAST_WIDTH)
        place = {
            "name": f"{number}. {activity['phase']}",
            "number": number,
            "words": in_words(activity["said"]),
            "x": x,
            "width": min(max(float(activity["seconds"]) * scale, LEAST_WIDTH), end - x),
            "label": f"at {offset:.1f} s",
            "class": "good" if activity["good"] else "bad",
        }
        bars.append({**activity, "activity": activity["name"], **place})
    return bars
