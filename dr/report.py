"""What an auditor asks for: every drill with verdict, figures, evidence and signature; a document, and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dr import figures
from dr.drill import ledger
from dr.drill.facts import SECOND, Write
from dr.drill.ledger import LedgerError
from dr.drill_log import DrillLog
from midwatch import html
from midwatch.anchors import Anchored

Document = dict[str, Any]

WIDTH = 900.0
NAMES = 170.0
"""Left of the phases' bars, for their names."""
BINS = 180


ABSENT: Document = {
    **dict.fromkeys(("rto_seconds", "rpo_seconds", "resolution_seconds")),
    **dict.fromkeys(("rto_exceeds", "rpo_is_bound"), False),
    **dict.fromkeys(("reasons", "notes", "phases", "checks"), ()),
    "writes": {},
    "digests": {},
    "versions": {},
    **dict.fromkeys(("what", "configuration", "started_at"), "not known"),
    "duration_seconds": 0.0,
    "objectives": {"rto": 0.0, "rpo": 0.0},
    "bound": {"met_in_a_row": 0, "breach_probability_at_most": 1.0, "confidence": 0.95},
}
"""What a result of an earlier release, or one that somebody has changed, may lack."""


def build(log: DrillLog, since: datetime | None, outside: Anchored | None = None) -> Document:
    """Every drill since a time, and whether the evidence is whole, also by heads that were kept outside."""
    verified = log.verified(outside)
    results = [ABSENT | result for result in log.results()]
    drills = [result for result in results if since is None or datetime.fromisoformat(result["at"]) >= since]
    return {
        "platform": log.platform,
        "owner": log.owner,
        "drills": drills,
        "since": since.isoformat() if since else None,
        "evidence": {
            "log": str(log.chain.path),
            "records": verified.records,
            "head": verified.head.hash if verified.head else None,
            "signed": bool(log.key),
            "anchors": [*([str(log.anchor)] if log.anchor else []), *(["prometheus"] if outside else [])],
            "problems": [str(problem) for problem in verified.problems],
        },
    }


def compare(document: Document) -> list[Document]:
    """Of each drill with two runs or more, its last beside the one before; `change` is seconds that it took longer."""
    runs: dict[tuple[str, str], list[Document]] = {}
    for drill in document["drills"]:
        runs.setdefault((drill["drill"], drill["store"]), []).append(drill)
    return [_compared(*those[-2:], count=len(those)) for those in runs.values() if len(those) > 1]


def _compared(before: Document, now: Document, *, count: int) -> Document:
    return {
        "drill": now["drill"],
        "store": now["store"],
        "runs": count,
        "before": {"run": before["run"], "at": before["at"], "verdict": before["verdict"]},
        "now": {"run": now["run"], "at": now["at"], "verdict": now["verdict"]},
        "rto": _change(before["rto_seconds"], now["rto_seconds"]),
        "rpo": _change(figures.data_loss(before), figures.data_loss(now)),
        "same_configuration": before["configuration"] == now["configuration"],
    }


def _change(before: float | None, now: float | None) -> Document:
    change = None if before is None or now is None else now - before
    return {"before": before, "now": now, "change": change}


def render(document: Document, log: DrillLog, title: str) -> str:
    """The report as one self-contained page."""
    drills = [drill | _charts(drill, log) for drill in document["drills"]]
    words: dict[str, Any] = {
        "rto": figures.rto,
        "rpo": figures.rpo,
        "seconds": figures.seconds,
        "in_a_row": figures.in_a_row,
        "change": figures.change,
    }
    compared = document.get("compared", [])
    chain = figures.chain(document["evidence"])
    template = Path(__file__).with_name("report.html")
    whose = {"platform": document["platform"], "owner": document["owner"]}
    return html.render(template, **whose, title=title, drills=drills, compared=compared, chain=chain, **words)


def _charts(drill: Document, log: DrillLog) -> Document:
    """Bars of the phases, and the curve of writes, in the coordinates of the page."""
    charts: Document = {"timeline": _timeline(drill["phases"]), "rates": "", "gap": None, "axis": {}}
    folder = log.folder / "drills" / drill["run"]
    try:
        facts = ledger.read_observed(folder / "observer.ledger")
        begun = _begun(folder)
    except (LedgerError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return charts
    times = [fact.answered for fact in facts if isinstance(fact, Write) and fact.is_acknowledged]
    return charts | _curve(times, begun, drill)


def _begun(folder: Path) -> int | None:
    begun = json.loads((folder / "injection.json").read_text())["begun"]
    return None if begun is None else int(begun)


def _timeline(phases: Sequence[Document]) -> list[Document]:
    reached = [phase for phase in phases if phase["at"] is not None]
    longest = max((phase["at"] for phase in reached), default=0.0)
    if longest <= 0:
        return []
    scale = (WIDTH - NAMES - 90) / longest
    return [
        {
            "name": phase["name"],
            "x": NAMES + (phase["at"] - phase["seconds"]) * scale,
            "width": max(1.0, phase["seconds"] * scale),
            "label": f"{phase['at']:.3f} s",
            "class": "now",
        }
        for phase in reached
    ]


def _curve(times: Sequence[int], begun: int | None, drill: Document) -> Document:
    if len(times) < 2 or begun is None:
        return {}
    first, last = times[0], times[-1]
    width = (last - first) / BINS
    counts = [0] * BINS
    for at in times:
        counts[min(BINS - 1, int((at - first) / width))] += 1
    top = max(counts)
    points = " ".join(f"{(n + 0.5) * WIDTH / BINS:.1f},{120 - 110 * count / top:.1f}" for n, count in enumerate(counts))
    scale = WIDTH / (last - first)
    gap = None
    if drill["rto_seconds"] is not None:
        gap = {"x": (begun - first) * scale, "width": max(1.0, drill["rto_seconds"] * SECOND * scale)}
    axis = {
        "first": f"{(first - begun) / SECOND:.1f} s",
        "last": f"{(last - begun) / SECOND:.1f} s",
        "top": f"{top / width * SECOND:.0f}/s",
    }
    return {"rates": points, "gap": gap, "axis": axis}
