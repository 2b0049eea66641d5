"""A drill's result for people: on the terminal, in a table of all of them, and as one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from midwatch import drills, html, tables

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

WORDS = {
    "MET": "A better version had all traffic in the time that is promised, and everybody who was asked says so.",
    "BREACHED": "A promise was broken, and that is proven.",
    "INCONCLUSIVE": "Something was not seen, or not as it has to be: nothing is proven, which counts as not met.",
    "recovery": "From the drift, whose time the drill knows, until another version had all traffic of the copy.",
    "phase": "Each from the end of the one before, by times of the owners.",
    "copy": "The model that takes recorded requests of the real one, in drills only.",
}


def write(path: Path, platform: str, results: Sequence[Document], problems: Sequence[str]) -> None:
    """Write all of them as one page that stands alone, the newest first."""
    newest = list(reversed(results))
    shown = [one | {"timeline": _timeline(one["phases"]), "recovery": recovery(one)} for one in newest]
    overview = [(one["model"], one["started_at"], one["verdict"], _recovery_figure(one)) for one in newest]
    template = Path(__file__).with_name("report.html")
    html.write(
        path,
        template,
        about=_about(platform, results, problems),
        drills=shown,
        overview=overview,
        problems=problems,
        meanings=WORDS,
    )


def _about(platform: str, results: Sequence[Document], problems: Sequence[str]) -> html.About:
    """What the page comes to, and what is to be done."""
    title, todo = "Drills of the loop", ""
    unmet = [one for one in {one["model"]: one for one in results}.values() if one["verdict"] != drills.Verdict.MET]
    if problems:
        meaning, todo = "The evidence is not what was written: nothing here is proven.", "Look below what was changed."
    elif not results:
        meaning, todo = "No drill is on record: nothing is proven.", "Run midwatch loop drill --model MODEL."
    elif unmet:
        names = ", ".join(sorted(one["model"] for one in unmet))
        meaning = f"The last drill of {names} did not meet its promise."
        todo = "Its first reason decides: mend that, and drill again."
    else:
        meaning = "The last drill of every model brought a better version back in the time that is promised."
    return html.About(title=title, meaning=meaning, todo=todo, platform=platform)


def _timeline(phases: Sequence[Document]) -> list[Document]:
    """Phases with their stretch, in percent of the whole; one that was not reached has none."""
    longest = max((one["at"] for one in phases if one["at"] is not None), default=0.0)
    return [
        {
            "name": one["name"],
            "reached": _seconds(one["at"]),
            "took": _seconds(one["seconds"]),
            "at": 100 * (one["at"] - one["seconds"]) / longest if longest and one["at"] is not None else 0.0,
            "width": 100 * one["seconds"] / longest if longest and one["at"] is not None else 0.0,
        }
        for one in phases
    ]
