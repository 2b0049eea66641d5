"""How the terminal shows verified and compared dashboards: a line for each element, or for each dashboard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from dashboards.preview import shown
from dashboards.preview.compare import ChangeKind
from dashboards.preview.page import Compared
from dashboards.push import Comparison, SyncStatus
from dashboards.verify import Element, Status, Verification
from midwatch import tables

SHOWN_DIFFERENCES = 12

_COLUMNS = ("dashboard", "what", "with", "status", "series", "why")
_STATUS = {
    Status.OK: "● ok",
    Status.EMPTY: "○ empty",
    Status.ERROR: "▼ error",
    Status.QUIET: "· quiet",
    Status.SKIPPED: "- skipped",
}
_SYNC_SIGN = {SyncStatus.NEW: "+", SyncStatus.CHANGED: "~", SyncStatus.SAME: "="}


def show_verifications(verifications: Sequence[Verification]) -> None:
    """A line for each panel, variable and annotation, and how many have which status."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in _COLUMNS:
        table.add_column(name, overflow="fold", justify="right" if name == "series" else "left")
    for one in verifications:
        what = one.title if one.kind is Element.PANEL else f"{one.kind.value} {one.title}"
        values = " ".join(f"{name}={value}" for name, value in one.values.items())
        table.add_row(one.dashboard, what, values, _STATUS[one.status], str(one.series or ""), one.reason)
    console = tables.make_console()
    tables.show(table, console=console)
    counts = (f"{sum(one.status is status for one in verifications)} {status.value}" for status in Status)
    console.print(f"{len(verifications)} asked: {', '.join(counts)}")


def show_preview(dashboards: Sequence[Compared], folder: Path) -> None:
    """A line for each dashboard, and where the pages are."""
    is_compared = any(one.earlier is not None for one in dashboards)
    table = Table(box=None, pad_edge=False, header_style="dim")
    kinds = list(ChangeKind) if is_compared else []
    for name in ("dashboard", *(status.value for status in shown.Status), *(kind.value for kind in kinds)):
        table.add_column(name, overflow="fold", justify="left" if name == "dashboard" else "right")
    for one in dashboards:
        counts = [one.counts[status] for status in shown.Status] + [one.changed[kind] for kind in kinds]
        table.add_row(str(one.shown.document["title"]), *map(str, counts))
    console = tables.make_console()
    tables.show(table, console=console)
    console.print(f"{folder}/index.html", highlight=False, soft_wrap=True)


def show_comparisons(comparisons: Sequence[Comparison]) -> None:
    """A line for each dashboard, and under it the first places that differ."""
    console = tables.make_console()
    for one in comparisons:
        console.print(f"{_SYNC_SIGN[one.status]} {one.status.value:<8}{one.document['uid']}", markup=False)
        for difference in one.differences[:SHOWN_DIFFERENCES]:
            values = f"{_short(difference.before)} -> {_short(difference.after)}"
            console.print(f"    {difference.place}: {values}", markup=False, soft_wrap=True)
        more = len(one.differences) - SHOWN_DIFFERENCES
        if more > 0:
            console.print(f"    and {more} more; --json has all", markup=False)


def _short(value: object) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
