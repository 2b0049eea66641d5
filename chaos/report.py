"""A run as one page that needs nothing else: meaning, targets, preconditions, timeline, and where the evidence is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from midwatch import html
from midwatch.html import About, numbers
from midwatch.wording import in_words

LEAST_WIDTH = 0.6
"""Percent of the line of time that the shortest activity takes, so that it is seen."""

WORDS: Mapping[str, str] = {
    "before, after": "The steady state: what is true of the platform while all is well, asked before the fault and "
    "again after it.",
    "method": "What was done: the fault, and what was measured while it was there.",
    "rollbacks": "What takes the fault back. It runs however the run ends.",
    "held": "The steady state was there before and after, and everything in between was as expected.",
    "deviated": "Something was not as expected, or something of the fault stayed.",
    "inconclusive": "A precondition refused, it was stopped, or the fault was not seen to happen: nothing is proven.",
    "blast radius": "How much of the platform the fault may touch at most.",
    "clean": "Seen after the run: every fault is taken back.",
}


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write the page; MidwatchError when it cannot be written."""
    template = Path(__file__).with_name("report.html")
    html.write(path, template, about=_about(result), result=result, bars=_bars(result), glossary=WORDS)


def _about(result: Mapping[str, Any]) -> About:
    meaning, todo = _said(result)
    return About(
        title=f"Experiment {result['experiment']}: {result['verdict']}",
        verdict=result["verdict"],
        meaning=meaning,
        todo=todo,
        model=result.get("model") or "",
        platform=result["platform"] or numbers.UNKNOWN,
        owner=result["owner"] or numbers.UNKNOWN,
        dates=f"{result['started_at']}, took {result['seconds']} s",
        more=[("Fault", (result["kind"] or "a file's own").replace("_", " ")), ("Run", result["run"])],
    )


def _said(result: Mapping[str, Any]) -> tuple[str, str]:
    """What the verdict means, and what to do, a sentence each."""
    again = f"midwatch chaos run {result['experiment']}"
    if not result["clean"] and not result["refused"]:
        return (
            "Something of the fault may still be there: it was not seen to be clean after the run.",
            "Take it back first: midwatch chaos stop. Then read why below.",
        )
    if result["refused"]:
        return (
            "Nothing was injected: a precondition refused, so nothing is known of how the platform takes this fault.",
            f"Mend what the precondition says below, or wait until it allows it, then: {again}",
        )
    if result["verdict"] == "held":
        return (
            "The platform took the fault as it was expected to, and was as before when it was over.",
            "Nothing; run it again after the next change of what it hits.",
        )
    if result["verdict"] == "deviated":
        return (
            "The platform did not take the fault as it was expected to: what is written below would hurt when the "
            "same happens by itself.",
            f"Give the first reason below to the owner; when it is mended: {again}",
        )
    return (
        "Nothing is proven by this run, neither that the platform takes the fault nor that it does not.",
        f"Mend what is said below, then: {again}",
    )


def _bars(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each activity with its place on a line of time, in percent."""
    begun = datetime.fromisoformat(result["started_at"])
    scale = 100 / max(float(result["seconds"]), 0.001)
    bars = []
    for number, activity in enumerate(result["activities"], 1):
        started = activity["started_at"]
        offset = (datetime.fromisoformat(started) - begun).total_seconds() if started else 0.0
        at = min(max(offset * scale, 0.0), 100 - LEAST_WIDTH)
        place = {
            "number": number,
            "words": in_words(activity["said"]),
            "at": at,
            "width": min(max(float(activity["seconds"]) * scale, LEAST_WIDTH), 100 - at),
            "when": f"{offset:.1f} s to {offset + float(activity['seconds']):.1f} s",
            "class": "good" if activity["good"] else "bad",
        }
        bars.append({**activity, "activity": activity["name"], **place})
    return bars
