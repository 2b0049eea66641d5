"""A verdict as one page that needs nothing else: every feature's two distributions, and every finding in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midwatch import html
from midwatch.html import Summary, Tone
from monitors.drift import joint, widespread
from monitors.drift.counts import Counts, NumericGrid
from monitors.drift.histograms import histograms
from monitors.drift.reference import FeatureReference
from monitors.drift.verdict import MOST_NAMED, Finding, Judgement, Verdict

TEMPLATE = Path(__file__).with_name("report.html")
WIDTH, HEIGHT = 340, 105
LONGEST = 12
"""Letters of a category's name under its bar; the whole name is in the numbers below."""

LEAST_P_VALUE = 1e-9
"""Smaller ones differ by nothing that anybody would do."""

TONES = {Verdict.STABLE: Tone.GOOD, Verdict.DRIFT: Tone.BAD, Verdict.INCONCLUSIVE: Tone.UNSURE}

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
class About:
    """Whose window a page is about, and of when; what nobody said is `html.UNKNOWN`."""

    window: str
    reference: str
    model: str = html.UNKNOWN
    platform: str = html.UNKNOWN
    owner: str = html.UNKNOWN
    rows_of: str = html.UNKNOWN


def write(
    path: Path,
    about: About,
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
        summary=_summary(about, judgement),
        judgement=judgement,
        charts=charts,
        findings=judgement.ranked,
        not_compared=not_compared,
        p_value=p_value,
        words=_words(judgement) | {name.replace("_", " "): WORDS[name] for name in methods},
    )


# What it means -------------------------------------------------------------------------------------------------------


def _summary(about: About, judgement: Judgement) -> Summary:
    meaning, action = _said(about, judgement)
    facts = {
        "model": about.model,
        "platform": about.platform,
        "owner": about.owner,
        "window": f"{about.window}, {judgement.samples:,} rows",
        "rows of": about.rows_of,
        "compared with": about.reference,
    }
    verdict = judgement.verdict
    title = "Inputs" if about.model == html.UNKNOWN else f"Inputs of {about.model}"
    return Summary(
        title=title, verdict=verdict.value, tone=TONES[verdict], meaning=meaning, action=action, facts=facts
    )


def _said(about: About, judgement: Judgement) -> tuple[str, str]:
    """What the verdict means, and what to do."""
    unseen = [one.feature for one in judgement.not_judged]
    blind = f" {_listed(unseen)} could not be judged: see below what that would take." if unseen else ""
    whose = "the model" if about.model == html.UNKNOWN else about.model
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
            f"{whose} is asked about other inputs than its reference has: {changed} differ by more than calm windows "
            f"do, and its answers are worth less there.{blind}",
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


# Drawing -------------------------------------------------------------------------------------------------------------


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
    chance = f"beyond its floor of {floor}, but chance alone makes as much with a probability of {p_value(furthest)}"
    said = within if furthest.result.effect <= furthest.floor else chance
    return "● as before", f"{method} {furthest.result.effect:.3f}, {said}"


def p_value(finding: Finding) -> str:
    """A p-value as people read it; none is 0."""
    value = finding.result.p_value
    return f"{value:.2g}" if value >= LEAST_P_VALUE else f"below {LEAST_P_VALUE:g}"


def _chart(name: str, judgement: Judgement, feature: FeatureReference, window: Counts) -> dict[str, Any]:
    names, before, now = histograms(feature, window)
    top = max(before.max(), now.max(), 1e-9)
    step = WIDTH / len(names)
    bars = [
        {
            "name": label,
            "x": round(index * step, 1),
            "width": round(step * 0.42, 1),
            "before": round(float(before[index] / top) * HEIGHT, 1),
            "now": round(float(now[index] / top) * HEIGHT, 1),
            "before_share": f"{before[index]:.1%}",
            "now_share": f"{now[index]:.1%}",
        }
        for index, label in enumerate(names)
    ]
    state, note = _note(name, judgement)
    return {"feature": name, "state": state, "note": note, "bars": bars, "labels": _labels(feature, names, step)}


def _labels(feature: FeatureReference, names: list[str], step: float) -> list[dict[str, Any]]:
    """The ends of a scale of numbers; the frequent categories."""
    if isinstance(feature.grid, NumericGrid):
        ends = {"start": (0, f"≤ {names[0]}"), "end": (WIDTH, names[-1])}
        return [{"x": x, "anchor": anchor, "text": name} for anchor, (x, name) in ends.items()]
    shown = max(1, round(60 / step))  # one label to about 60 units
    return [
        {"x": round((index + 0.42) * step, 1), "anchor": "middle", "text": name[:LONGEST]}
        for index, name in enumerate(names)
        if index % shown == 0
    ]
