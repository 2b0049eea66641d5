"""A drill's result for people: on the terminal, in a table of all of them, and as one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from midwatch import html, tables

WIDTH = 900.0
NAMES = 170.0
"""Left of the phases' bars, for their names."""
LABELS = 120.0

Document = dict[str, Any]


def show(document: Document) -> None:
    """Print a result: its phases as a table, then the verdict and its reasons."""
    made = Table("Phase", "Took", "After the drift began")
    for phase in document["phases"]:
        made.add_row(phase["name"], _seconds(phase["seconds"]), _seconds(phase["at"]))
    tables.show(made)
    console = tables.make_console()
    versions = f"{document['old_version'] or '?'} to {document['new_version'] or '?'}"
    console.print(f"{document['verdict']}: {document['model']} {versions}, {recovery(document)}")
    for reason in document["reasons"]:
        console.print(f"  {reason}")
    for note in document["notes"]:
        console.print(f"  note: {note}")
    place = document["evidence"]
    console.print(f"evidence: record {place['seq']}, {place['folder']}")


def table(results: Sequence[Document]) -> None:
    """Print a row for each drill, the newest first."""
    made = Table("At", "Model", "Verdict", "Recovery", "Promised", "Versions", "First reason")
    for one in reversed(results):
        made.add_row(
            one["started_at"][:19],
            one["model"],
            one["verdict"],
            _recovery_figure(one),
            _seconds(one["objectives"]["recover_within"]),
            f"{one['old_version'] or '?'} to {one['new_version'] or '?'}",
            next(iter(one["reasons"]), ""),
        )
    tables.show(made)


def recovery(document: Document) -> str:
    """The recovery time and what was promised, in words."""
    promised = _seconds(document["objectives"]["recover_within"])
    return f"recovered in {_recovery_figure(document)}, promised {promised}"


def _recovery_figure(document: Document) -> str:
    if document["recovery_seconds"] is None:
        return "not known"
    return f"{'more than ' if document['exceeds'] else ''}{_seconds(document['recovery_seconds'])}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


# One page ------------------------------------------------------------------------------------------------------------


def write(path: Path, platform: str, results: Sequence[Document], problems: Sequence[str]) -> None:
    """Write all of them as one self-contained page, the newest first."""
    shown = [one | {"timeline": _timeline(one["phases"]), "recovery": recovery(one)} for one in reversed(results)]
    html.write(path, Path(__file__).with_name("report.html"), platform=platform, drills=shown, problems=problems)


def _timeline(phases: Sequence[Document]) -> list[Document]:
    """Bars of the phases that were reached, in the coordinates of the page."""
    reached = [one for one in phases if one["at"] is not None]
    longest = max((one["at"] for one in reached), default=0.0)
    if longest <= 0:
        return []
    scale = (WIDTH - NAMES - LABELS) / longest
    return [
        {
            "name": one["name"],
            "x": NAMES + (one["at"] - one["seconds"]) * scale,
            "width": max(1.0, one["seconds"] * scale),
            "label": f"{one['seconds']:.0f} s",
            "class": "now",
        }
        for one in reached
    ]
