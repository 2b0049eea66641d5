"""A verdict as one page that needs nothing else: every feature's two distributions, and every finding in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from midwatch import html
from midwatch.html import About, numbers
from midwatch.html.charts import Bars, Line
from monitors.drift import joint, widespread
from monitors.drift.counts import Counts
from monitors.drift.histograms import histograms
from monitors.drift.reference import FeatureReference
from monitors.drift.verdict import MOST_NAMED, Finding, Judgement, Verdict

TEMPLATE = Path(__file__).with_name("report.html")
LEAST_P_VALUE = 1e-9
"""Smaller ones differ by nothing that anybody would do."""

WORDS: Mapping[str, str] = {
    "ks": "Kolmogorov-Smirnov distance: the largest difference between the shares of values below any one point. "
    "0 when both distributions are equal, 1 when they do not meet.",
    "psi": "Population stability index: how far the shares of the bins have moved, 0 when none has. By custom 0.1 is "
    "some change and 0.25 much of it.",
    "chi2": "Cramér's V of the table of categories: 0 when their shares are equal, 1 when none is in both.",
    "mmd": "Maximum mean discrepancy: a distance between whole rows, so that it sees a change of how features depend "
    "on each other.",
    "isolation_forest": "How much lonelier the rows of the window are among the reference's: the largest difference of "
    "the two distributions of loneliness.",
    "classifier": "How well a classifier tells rows of the window from rows of the reference: 0 is guessing, 0.5 is "
    "always right.",
    "missing": "Check: share of rows without a value.",
    "wrong_type": "Check: share of rows whose value is of another type.",
    "out_of_range": "Check: share of rows outside the values that the reference has.",
    "new_category": "Check: share of rows with a category that the reference does not have.",
}
"""What each method and check measures, in words."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Whose window a page is about, and of when its rows are; empty what nobody said."""

    window: str
    reference: str
    model: str = ""
    platform: str = ""
    owner: str = ""
    rows_of: str = ""


def write(
    path: Path,
    page: Page,
    judgement: Judgement,
    features: Mapping[str, FeatureReference],
    window: Mapping[str, Counts],
    not_compared: Mapping[str, str],
) -> None:
    """Write the page; MidwatchError when it cannot be written."""
    charts = [_chart(name, judgement, features[name], window[name]) for name in _ordered(judgement, window)]
    methods = dict.fromkeys(finding.method for finding in judgement.ranked)
    html.write(
        path,
        TEMPLATE,
        about=_about(page, judgement),
        judgement=judgement,
        charts=charts,
        findings=_findings(judgement),
        unseen=[*((one.feature, one.why) for one in judgement.not_judged), *not_compared.items()],
        words=_words(judgement) | {name.replace("_", " "): WORDS[name] for name in methods},
    )


# What it means -------------------------------------------------------------------------------------------------------


def _about(page: Page, judgement: Judgement) -> About:
    meaning, todo = _said(page, judgement)
    verdict = judgement.verdict.value
    more = [("Window", f"{page.window}, {judgement.samples:,} rows"), ("Compared with", page.reference)]
    return About(
        title=f"Inputs of {page.model}: {verdict}" if page.model else f"Inputs: {verdict}",
        verdict=verdict,
        meaning=meaning,
        todo=todo,
        model=page.model or numbers.UNKNOWN,
        platform=page.platform or numbers.UNKNOWN,
        owner=page.owner or numbers.UNKNOWN,
        dates=page.rows_of or numbers.UNKNOWN,
        more=more,
    )


def _said(page: Page, judgement: Judgement) -> tuple[str, str]:
    """What the verdict means, and what to do."""
    unseen = [one.feature for one in judgement.not_judged]
    blind = f" {_listed(unseen)} could not be judged: see below what that would take." if unseen else ""
    whose = page.model or "the model"
    if judgement.verdict is Verdict.DRIFT:
        broken = [one.feature for one in judgement.quality if one.votes]
        changed = _listed(list(dict.fromkeys(_place(one) for one in judgement.drifted)))
        if broken:
            first = f"Look at what fills {_listed(broken)} first: values are missing, new, out of range or of another "
            first += "type, which is mostly a broken pipeline and not a changed world"
        else:
            first = "Find out whether the data or the world has changed: after a broken pipeline or another unit mend "
            first += "the pipeline, after a real change retrain the model"
        return (
            f"{page.model or 'The model'} is asked about other inputs than its reference has: {changed} differ by more "
            f"than calm windows do, and its answers are worth less there.{blind}",
            f"{first}. The features are drawn below, the furthest first.",
        )
    if judgement.verdict is Verdict.STABLE:
        return (
            f"The inputs of {whose} look like its reference: nothing that could be judged differs by more than calm "
            f"windows do.{blind}",
            "Nothing." if not unseen else "Nothing, but do not read it as calm for what was not judged.",
        )
    return (
        f"Nothing can be said of the inputs of {whose}, neither calm nor drift: {judgement.reason}.",
        "Judge a longer window; until then the inputs are unwatched.",
    )


def _place(finding: Finding) -> str:
    named = {joint.FEATURE: "features together", widespread.FEATURE: "many features a little each"}
    return named.get(finding.feature, finding.feature)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _words(judgement: Judgement) -> dict[str, str]:
    return {
        "vote": f"A method votes for a feature when the difference is hardly chance (p-value below "
        f"{judgement.alpha:.2g}) and larger than the floor. {judgement.quorum} votes make drift, where so many "
        "methods can look; a check of quality needs no second.",
        "effect": "How large the difference is, in the method's own measure; 0 is none.",
        "floor": "The effect below which nothing is meant: how far calm windows of the reference stray by themselves, "
        "or the least that matters, whichever is more.",
        "p-value": "How often chance alone would make a difference as large as this.",
    }


# Charts --------------------------------------------------------------------------------------------------------------


def _ordered(judgement: Judgement, window: Mapping[str, Counts]) -> list[str]:
    """Every feature of the window: those that drifted, those that were judged, the furthest first, then the others."""
    drifted = [one.feature for one in judgement.drifted]
    names = dict.fromkeys([*drifted, *(one.feature for one in judgement.ranked), *sorted(window)])
    return [name for name in names if name in window]


def _note(name: str, judgement: Judgement) -> tuple[str, str]:
    """How a feature is, as a word with a sign, and the sentence under its title."""
    votes = [one for one in judgement.drifted if one.feature == name]
    if votes:
        said = "; ".join(dict.fromkeys(f"{one.method.replace('_', ' ')}: {one.direction}" for one in votes))
        return "▲ differs", said
    for one in judgement.not_judged:
        if one.feature == name:
            return "◌ not judged", one.why
    found = [one for one in judgement.findings if one.feature == name]
    if not found:
        return "◌ not compared", "no method looks at it"
    furthest = max(found, key=lambda one: one.result.effect / one.floor)
    method, floor = furthest.method.replace("_", " "), f"{furthest.floor:.3f}"
    within = f"within its floor of {floor}"
    chance = f"beyond its floor of {floor}, but chance alone makes as much with a probability of {_p_value(furthest)}"
    said = within if furthest.result.effect <= furthest.floor else chance
    return "● as before", f"{method} {furthest.result.effect:.3f}, {said}"


def _findings(judgement: Judgement) -> list[tuple[str, ...]]:
    """Header and rows of the table of findings; without a row when nothing was compared."""
    header = ("feature", "method", "effect", "floor", "p-value", "vote", "direction")
    rows = [
        (
            one.feature,
            one.method.replace("_", " "),
            f"{one.result.effect:.3f}",
            f"{one.floor:.3f}",
            _p_value(one),
            "▲ votes" if one.votes else "no",
            one.direction,
        )
        for one in judgement.ranked
    ]
    return [header, *rows] if rows else []


def _p_value(finding: Finding) -> str:
    """A p-value as people read it; none is 0."""
    value = finding.result.p_value
    return f"{value:.2g}" if value >= LEAST_P_VALUE else f"below {LEAST_P_VALUE:g}"


def _chart(name: str, judgement: Judgement, feature: FeatureReference, window: Counts) -> Bars:
    names, before, now = histograms(feature, window)
    state, note = _note(name, judgement)
    return Bars(
        title=f"{name}: {state}",
        names=names,
        series=[
            Line(name="reference", values=before.tolist(), kind="before"),
            Line(name="window", values=now.tolist(), kind="now"),
        ],
        note=note,
    )
