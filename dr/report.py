"""What an auditor asks for: every drill with verdict, figures, evidence and signature; a document, and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
from midwatch.html import About, numbers
from midwatch.html.charts import Chart, Line, Mark

Document = dict[str, Any]

POINTS = 180
"""Points of the curve of writes."""

LEAST_WIDTH = 0.4
"""Percent of the line of time that the shortest phase takes, so that it is seen."""

CLASSES = {"MET": "good", "BREACHED": "bad"}
"""Colour of a verdict; any other is unsure."""

LEDGER: Mapping[str, str] = {
    "attempted": "writes that the drill's observer sent, each with a number and a checksum",
    "acknowledged": "of these, what the store said it had written: none of them may be missing afterwards",
    "failed": "refused for certain: none of them may be there afterwards",
    "unknown": "without an answer: they may be there or not, and count as neither kept nor lost",
    "kept": "acknowledged, and there when all was read back",
    "lost": "acknowledged, and not there: what the recovery cost",
    "lost_during_fault": "of the lost, those acknowledged while the fault was on its way",
    "unknown_kept": "without an answer, and there all the same",
    "corrupt": "there, and not what was written",
    "duplicate": "there more than once",
    "foreign": "there, and written by nobody of the drill",
    "resurrected": "refused, and there all the same",
    "holes": "lost although later ones of the same server are there: no recovery to one moment gives that",
}
"""Words of the ledger, in the order in which they are counted."""

FORBIDDEN = {"lost", "corrupt", "duplicate", "foreign", "resurrected", "holes"}
"""Of the ledger, what should be none."""

WORDS: Mapping[str, str] = {
    "RTO": "Recovery time objective, and the time measured against it: from the fault to the first write of a "
    "sustained healthy run, detection included.",
    "RPO": "Recovery point objective, and the data loss measured against it: the age of the earliest acknowledged "
    "write that is lost.",
    "MET": "Recovered within the RTO, with no more lost than the RPO, and everything that was checked holds.",
    "BREACHED": "One of these did not hold.",
    "INCONCLUSIVE": "The drill itself cannot be trusted, such as when the fault was not seen to happen: nothing is "
    "proven.",
    "phase": "What the recovery went through, each from the end of the one before.",
    "head": "Hash of the newest record of the evidence log: with it kept elsewhere nobody can change a record unseen.",
}


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
    drills = [drill | _shown(drill, log) for drill in document["drills"]]
    return html.render(
        Path(__file__).with_name("report.html"),
        about=_about(document, drills, title),
        title=title,
        drills=drills,
        overview=[_row(drill) for drill in drills],
        compared=[_compared_row(one) for one in document.get("compared", [])],
        chain=figures.chain(document["evidence"]),
        problems=document["evidence"]["problems"],
        ledger=LEDGER,
        forbidden=FORBIDDEN,
        glossary=WORDS,
        rto=figures.rto,
        rpo=figures.rpo,
        seconds=figures.seconds,
        in_a_row=figures.in_a_row,
    )


# What it means -------------------------------------------------------------------------------------------------------


def _about(document: Document, drills: Sequence[Document], title: str) -> About:
    meaning, todo = _said(document, drills)
    words = [drill["verdict"] for drill in drills]
    times = sorted(str(drill["started_at"]) for drill in drills)
    dates = "no drill" if not times else times[0] if len(times) == 1 else f"{times[0]} to {times[-1]}"
    counted = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)) or "none was run"
    return About(
        title=f"{title}: {counted}" if len(words) != 1 else f"{title}: {words[0]}",
        verdict=_worst([drill["verdict"] for drill in _newest(drills)], bool(document["evidence"]["problems"])),
        meaning=meaning,
        todo=todo,
        platform=document["platform"] or numbers.UNKNOWN,
        owner=document["owner"] or numbers.UNKNOWN,
        dates=dates,
    )


def _newest(drills: Sequence[Document]) -> list[Document]:
    """The last run of each drill of each store."""
    return list({(drill["drill"], drill["store"]): drill for drill in drills}.values())


def _worst(verdicts: Sequence[str], has_problems: bool) -> str:
    """The verdict that a page is coloured by."""
    if "BREACHED" in verdicts or has_problems:
        return "BREACHED"
    return "MET" if verdicts and set(verdicts) == {"MET"} else "INCONCLUSIVE"


def _said(document: Document, drills: Sequence[Document]) -> tuple[str, str]:
    """What the drills mean, and what to do, a sentence each."""
    if problems := document["evidence"]["problems"]:
        return (
            f"The evidence is not what was written ({len(problems)} {_many(problems, 'problem')}), so no figure here "
            "can be relied on.",
            "Find out who changed it: the problems are named at the end. Then run the drills again.",
        )
    if not drills:
        return "No drill is in the evidence: nothing is known of how the stores come back.", "Run one: midwatch dr run."
    newest = _newest(drills)
    breached = [drill for drill in newest if drill["verdict"] == "BREACHED"]
    unsure = [drill for drill in newest if drill["verdict"] not in ("MET", "BREACHED")]
    if breached:
        return (
            f"A real loss would break the promise: {_listed(breached)} did not come back as promised when last tried.",
            "Read the first reason of each below, mend it with the owner of the store, and run the drill again.",
        )
    if unsure:
        return (
            f"Nothing is proven of {_listed(unsure)}: the last drill there cannot be trusted.",
            "Mend what the drill says below, and run it again.",
        )
    return (
        f"Every drill came back within its promise when last run: {_listed(newest)}.",
        "Nothing; the drills run again by their schedule.",
    )


def _many(things: Sequence[object], word: str) -> str:
    return word if len(things) == 1 else f"{word}s"


def _listed(drills: Sequence[Document]) -> str:
    return ", ".join(f"{drill['drill']} of {drill['store']}" for drill in drills)


def _row(drill: Document) -> Document:
    """A line of the table of all drills."""
    return {
        "run": drill["run"],
        "name": f"{drill['drill']} of {drill['store']}",
        "at": drill["started_at"],
        "verdict": drill["verdict"],
        "class": drill["class"],
        "rto": f"{figures.rto(drill)} of {_objective(drill, 'rto')}",
        "rpo": f"{figures.rpo(drill)} of {_objective(drill, 'rpo')}",
        "lost": drill["writes"].get("lost", "-"),
    }


def _objective(drill: Document, name: str) -> str:
    return f"{drill['objectives'][name]:g} s"


def _compared_row(one: Document) -> tuple[str, ...]:
    return (
        f"{one['drill']} of {one['store']}",
        str(one["runs"]),
        f"{one['before']['verdict']}, then {one['now']['verdict']}",
        figures.change(one["rto"]),
        figures.change(one["rpo"]),
        "the same" if one["same_configuration"] else "another",
    )


# Charts --------------------------------------------------------------------------------------------------------------


def _shown(drill: Document, log: DrillLog) -> Document:
    """What a drill's section shows beside its figures: bars of its phases, and the curve of writes."""
    shown = {"class": CLASSES.get(drill["verdict"], "unsure"), "timeline": _timeline(drill["phases"]), "curve": None}
    folder = log.folder / "drills" / drill["run"]
    try:
        facts = ledger.read_observed(folder / "observer.ledger")
        begun = _begun(folder)
    except (LedgerError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return shown
    times = [fact.answered for fact in facts if isinstance(fact, Write) and fact.is_acknowledged]
    return shown | {"curve": _curve(times, begun, drill)}


def _begun(folder: Path) -> int | None:
    begun = json.loads((folder / "injection.json").read_text())["begun"]
    return None if begun is None else int(begun)


def _timeline(phases: Sequence[Document]) -> list[Document]:
    """Each phase with its place between the fault and the last phase, in percent."""
    longest = max((phase["at"] for phase in phases if phase["at"] is not None), default=0.0)
    bars = []
    for phase in phases:
        if phase["at"] is None or longest <= 0:
            bars.append({"name": phase["name"], "reached": "not reached", "took": "-", "at": 0.0, "width": 0.0})
            continue
        width = max(LEAST_WIDTH, phase["seconds"] / longest * 100)
        at = min((phase["at"] - phase["seconds"]) / longest * 100, 100 - width)
        said = {"reached": figures.seconds(phase["at"]), "took": figures.seconds(phase["seconds"])}
        bars.append({"name": phase["name"], **said, "at": at, "width": width})
    return bars


def _curve(times: Sequence[int], begun: int | None, drill: Document) -> Chart | None:
    """Acknowledged writes per second, by the seconds since the fault."""
    if len(times) < 2 or begun is None or times[-1] <= times[0]:
        return None
    first, last = times[0], times[-1]
    width = (last - first) / POINTS
    counts = [0] * POINTS
    for at in times:
        counts[min(POINTS - 1, int((at - first) / width))] += 1
    marks = [Mark(name="fault", at=0.0, kind="bad")]
    if drill["rto_seconds"] is not None:
        marks.append(Mark(name="first write of the sustained run", at=drill["rto_seconds"], kind="good"))
    return Chart(
        title="Acknowledged writes per second",
        x=[(first + (place + 0.5) * width - begun) / SECOND for place in range(POINTS)],
        x_unit="seconds",
        lines=[Line(name="acknowledged", values=[count / width * SECOND for count in counts])],
        marks=marks,
        unit="per_second",
        note="by the seconds since the fault; between the two marks nothing was served for long enough to count",
    )
