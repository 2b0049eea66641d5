"""A verdict as one page that needs nothing else: arms over time, evidence against its boundaries, latencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midwatch import html
from midwatch.html import Summary, Tone
from midwatch.spec import canary as spec
from monitors.canary import band
from monitors.canary import document as documents
from monitors.canary.arms import Floats, Ints
from monitors.canary.counts import Counted, Counts
from monitors.canary.findings import Finding, Verdict
from monitors.canary.judge import Judgement
from monitors.canary.times import moment

TEMPLATE = Path(__file__).with_name("report.html")
WIDTH, HEIGHT = 340.0, 120.0
MAX_POINTS = 120
"""Points of a line: a long analysis is drawn in fewer, wider intervals."""

LARGEST_ODDS = 1e6
"""Beyond it nobody asks how much more."""

TONES = {"pass": Tone.GOOD, "equivalent": Tone.GOOD, "fail": Tone.BAD}
"""Of a verdict's word; that two versions differ is neither good nor bad."""

COLOURS = 6
"""Colours and dashes of criteria in the style of the page; a further criterion begins again."""

WORDS: Mapping[str, str] = {
    "times the baseline": "The canary's share of such events divided by the baseline's, with the interval in which it "
    "is, at every look together.",
    "evidence against": "What a bet on 'this criterion has regressed beyond what is tolerated' has won so far, when 1 "
    "was put on it. Under a version that is no worse it hardly ever wins much, however often one looks.",
    "evidence for": "The same for a bet on 'a regression that is unacceptable is excluded'.",
    "decided": "The first look at which the evidence was as large as the platform file asks for; looking earlier or "
    "more often does not make a false verdict likelier.",
    "inconclusive": "Not enough is known either way. It is no pass.",
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart: its style, its name, and y for each x; NaN leaves a gap."""

    kind: str
    name: str
    values: Floats


@dataclass(frozen=True, kw_only=True)
class Whose:
    """Whose a canary is, as far as a platform file said."""

    platform: str = html.UNKNOWN
    owner: str = html.UNKNOWN


NOBODY = Whose()


def write(path: Path, counts: Counts, settings: spec.Canary, judgement: Judgement, whose: Whose = NOBODY) -> None:
    """Write the page; MidwatchError when it cannot be written."""
    html.write(path, TEMPLATE, **values(counts, settings, judgement, whose))


def values(counts: Counts, settings: spec.Canary, judgement: Judgement, whose: Whose = NOBODY) -> dict[str, Any]:
    """What the page's template is filled with: the summary, the charts, the criteria."""
    document = documents.document(counts, settings, judgement)
    return {
        "document": document,
        "summary": _summary(document, judgement, whose),
        "charts": _charts(counts, settings, judgement),
        "rows": document["criteria"],
        "odds": odds,
        "glossary": WORDS,
    }


def odds(value: float) -> str:
    """An e-value as the odds that a bet has paid.

    >>> odds(250.4), odds(0.5), odds(1e12)
    ('250 : 1', '1 : 2', 'over 1,000,000 : 1')
    """
    if value >= LARGEST_ODDS:
        return f"over {LARGEST_ODDS:,.0f} : 1"
    if value <= 1 / LARGEST_ODDS:
        return f"1 : over {LARGEST_ODDS:,.0f}"
    return f"{_plain(value)} : 1" if value >= 1 else f"1 : {_plain(1 / value)}"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _summary(document: Mapping[str, Any], judgement: Judgement, whose: Whose) -> Summary:
    meaning, action = _said(document, judgement)
    facts = {
        "model": document["model"] or html.UNKNOWN,
        "versions": f"{document['canary']} against {document['baseline']}",
        "platform": whose.platform,
        "owner": whose.owner,
        "from": document["start"],
        "to": document["end"],
        "decided": document["decided"] or "not yet",
    }
    title = f"{document['canary']} against {document['baseline']}"
    word = document["verdict"]
    tone = TONES.get(word, Tone.UNSURE)
    return Summary(title=title, verdict=word, tone=tone, meaning=meaning, action=action, facts=facts)


def _said(document: Mapping[str, Any], judgement: Judgement) -> tuple[str, str]:
    """What the verdict means, and what to do."""
    canary, baseline = document["canary"], document["baseline"]
    failed = ", ".join(one.name for one in judgement.findings if one.verdict is Verdict.FAIL)
    names = ", ".join(one.name for one in judgement.findings)
    if judgement.verdict is Verdict.FAIL and judgement.two_sided:
        return (
            f"{canary} and {baseline} differ in {failed}, by more than is tolerated.",
            "Decide which of the two is wanted: the table says which way each criterion differs.",
        )
    if judgement.verdict is Verdict.FAIL:
        return (
            f"{canary} is worse than {baseline} in {failed}, beyond what is tolerated and beyond chance.",
            f"Take {canary} back; a rollout that asks the gate aborts by itself. Then look at the criteria that fail.",
        )
    if judgement.verdict is Verdict.PASS and judgement.two_sided:
        return (
            f"{canary} and {baseline} are equivalent in {names}: a difference that is unacceptable is excluded.",
            "Nothing: either can serve.",
        )
    if judgement.verdict is Verdict.PASS:
        return (
            f"{canary} is not worse than {baseline} in {names}: a regression that is unacceptable is excluded.",
            f"Go on with the rollout of {canary}.",
        )
    return (
        f"It is not known whether {canary} is worse than {baseline}; that is no pass.",
        _waiting(document),
    )


def _waiting(document: Mapping[str, Any]) -> str:
    """What would decide it."""
    canary, needed = document["canary"], document["to_decide"]
    if document["doubts"]:
        return f"Mend what is in doubt first: {document['doubts'][0]}."
    if needed is None:
        return f"Keep {canary} at its share and look again; the table says what is not excluded yet."
    when = f", by about {needed['at']}" if needed["at"] else ""
    return f"Wait for about {needed['canary_requests']:,} more requests of {canary}{when}, or give it a larger share."


# Charts --------------------------------------------------------------------------------------------------------------


def _charts(counts: Counts, settings: spec.Canary, judgement: Judgement) -> list[dict[str, Any]]:
    if not counts.baseline_requests.size:
        return []
    seconds = counts.interval * _width(counts)
    rates = [_binned(one) / seconds for one in (counts.baseline_requests, counts.canary_requests)]
    nothing = "" if counts.baseline_requests.any() or counts.canary_requests.any() else "no request came to either"
    charts = [
        _chart("requests per second", "", _arms(rates, counts), counts, nothing=nothing),
        _evidence(counts, judgement),
    ]
    by_name = {spec.name_of(one): one for one in settings.criteria}
    for finding in judgement.findings:
        data = counts.counted.get(finding.name)
        if data is not None and finding.evidence is not None:
            charts.append(_shares(counts, finding, data))
            if isinstance(by_name[finding.name], spec.Latency):
                charts.append(_latencies(counts, finding, data, float(settings.false_alarm)))
    return charts


def _shares(counts: Counts, finding: Finding, data: Counted) -> dict[str, Any]:
    assert finding.evidence is not None  # noqa: S101 - the caller has looked
    index = data.channels.index(finding.evidence.channel)
    shares, none = [], []
    for name, events, requests in (
        (counts.baseline, data.baseline_events[index], data.baseline_requests),
        (counts.canary, data.canary_events[index], data.canary_requests),
    ):
        every = _binned(requests)
        shares.append(np.divide(_binned(events), every, out=np.full(every.shape, math.nan), where=every > 0))
        none.append(f"none in {int(requests.sum()):,} requests of {name}")
    what = "" if finding.evidence.channel == finding.name else f" {finding.evidence.channel}"
    has_events = data.baseline_events[index].any() or data.canary_events[index].any()
    nothing = "" if has_events else f"{', '.join(none)}: there is nothing to draw"
    return _chart(
        f"{finding.name}{what}, share of requests",
        finding.reason,
        _arms(shares, counts),
        counts,
        say=_percent,
        nothing=nothing,
    )


def _evidence(counts: Counts, judgement: Judgement) -> dict[str, Any]:
    """Log e-values in decades; the boundaries are what they have to reach."""
    width = _width(counts)
    ends = np.minimum(np.arange(width, counts.baseline_requests.size + width, width), counts.baseline_requests.size) - 1

    def decades(path: Floats) -> Floats:
        clipped: Floats = np.clip(path[ends], -judgement.fail_level, 3 * judgement.fail_level) / math.log(10)
        return clipped

    against = documents.e_value(float(judgement.log_fail.max(initial=-math.inf)))
    lines = [
        Line(kind="fail", name=f"against the canary: {odds(against)} at most", values=decades(judgement.log_fail))
    ]
    for finding in judgement.findings:
        if (told := finding.evidence) is not None:
            reached = odds(documents.e_value(told.reached_pass))
            kind = f"criterion-{(len(lines) - 1) % COLOURS}"
            lines.append(Line(kind=kind, name=f"for it, {finding.name}: {reached}", values=decades(told.log_pass)))
    levels = {"fail": judgement.fail_level, "pass": judgement.pass_level}
    same = judgement.pass_level == judgement.fail_level
    rules = [
        (level / math.log(10), f"{'decided' if same else name} at {odds(math.exp(level))}")
        for name, level in ([("fail", judgement.fail_level)] if same else levels.items())
    ]
    note = "odds of each criterion's bet; a line that reaches the dashed boundary decides, at any look. Drawn up to "
    note += "three times its height."
    chart = _chart("evidence by criterion", note, lines, counts, rules=rules, say=lambda decade: odds(10**decade))
    chart["legend"] = [{"kind": line.kind, "name": line.name} for line in lines]
    return chart


def _latencies(counts: Counts, finding: Finding, data: Counted, alpha: float) -> dict[str, Any]:
    """Share of requests within each boundary, with bands that hold at every look."""
    curves, bands = [], []
    for events, requests in (
        (data.baseline_events, data.baseline_requests),
        (data.canary_events, data.canary_requests),
    ):
        total = int(requests.sum())
        curve = 1 - events.sum(axis=-1) / max(total, 1)
        half = band.radius(total, alpha / 2)
        curves.append(curve)
        bands.append((np.clip(curve - half, 0, 1), np.clip(curve + half, 0, 1)))
    labels = [channel.removeprefix("> ").removesuffix(" s") for channel in data.channels]
    chart = _frame("latency distribution, share of requests within", _apart(finding), _arms(curves, counts), 0.0, 1.0, say=_percent)
    chart["areas"] = [
        {"kind": kind, "path": _area(low, high, chart["y"])}
        for kind, (low, high) in zip(("baseline", "canary"), bands, strict=True)
    ]
    step = math.ceil(len(labels) / 5)
    chart["labels"] = [
        {"x": _x(index, len(labels)), "anchor": _anchor(index, len(labels)), "text": f"{labels[index]} s"}
        for index in range(0, len(labels), step)
    ]
    return chart


def _apart(finding: Finding) -> str:
    if finding.evidence is None or finding.evidence.distance is None:
        return ""
    distance = finding.evidence.distance
    if distance.bound >= 1:
        return "too few requests for a band"
    word = "differ" if distance.differ else "are not told apart by their bands"
    return f"the distributions {word}: {distance.distance:.3f} apart, bands together {distance.bound:.3f}"


# Drawing -------------------------------------------------------------------------------------------------------------


def _arms(values: Sequence[Floats], counts: Counts) -> list[Line]:
    names = ("baseline", counts.baseline), ("canary", counts.canary)
    return [Line(kind=kind, name=name, values=one) for (kind, name), one in zip(names, values, strict=True)]


def _percent(value: float) -> str:
    return f"{value:.3g}%" if (value := value * 100) else "0"


def _number(value: float) -> str:
    return f"{value:.3g}" if value else "0"


def _chart(
    title: str,
    note: str,
    lines: Sequence[Line],
    counts: Counts,
    *,
    rules: Sequence[tuple[float, str]] = (),
    say: Callable[[float], str] = _number,
    nothing: str = "",
) -> dict[str, Any]:
    """Chart over the analysis' time, from 0 (or below) to the largest value or boundary.

    `say` writes a value of its axis; with `nothing` that sentence stands where the lines would be, without an axis.
    """
    told = [value for line in lines for value in line.values[np.isfinite(line.values)]]
    top = max([*told, *(at for at, _ in rules), 0.0])
    if nothing or not (told or rules) or not top:
        return {"title": title, "note": note, "nothing": nothing or "there is nothing to draw"}
    chart = _frame(title, note, lines, min([0.0, *told]), top, rules, say=say)
    chart["labels"] = [
        {"x": 0, "anchor": "start", "text": moment(counts.start)[11:19]},
        {"x": WIDTH, "anchor": "end", "text": moment(counts.end)[11:19]},
    ]
    return chart


def _frame(
    title: str,
    note: str,
    lines: Sequence[Line],
    low: float,
    high: float,
    rules: Sequence[tuple[float, str]] = (),
    *,
    say: Callable[[float], str],
) -> dict[str, Any]:
    """Chart from `low` to `high`, with some room above."""
    room = (high - low) * 0.05

    def y(value: float) -> float:
        return round(HEIGHT - (value - low) / (high + room - low) * HEIGHT, 1)

    return {
        "title": title,
        "note": note,
        "nothing": "",
        "lines": [{"kind": line.kind, "name": line.name, "path": _path(line.values, y)} for line in lines],
        "rules": [{"y": y(at), "name": name} for at, name in rules],
        "areas": [],
        "legend": [],
        "top": say(high),
        "top_at": y(high),
        "bottom": say(low),
        "y": y,
    }


def _path(values: Floats, y: Callable[[float], float]) -> str:
    words, pen = [], "M"
    for index, value in enumerate(values):
        if math.isfinite(value):
            words.append(f"{pen}{_x(index, len(values))} {y(float(value))}")
            pen = "L"
        else:
            pen = "M"
    if len(words) == 1:
        words.append(f"h{WIDTH if len(values) == 1 else 2}")
    return " ".join(words)


def _area(low: Floats, high: Floats, y: Callable[[float], float]) -> str:
    there = [f"{_x(index, len(high))} {y(float(value))}" for index, value in enumerate(high)]
    back = [f"{_x(index, len(low))} {y(float(value))}" for index, value in reversed([*enumerate(low)])]
    return "M" + " L".join([*there, *back]) + " Z"


def _x(index: int, size: int) -> float:
    return round(index / max(1, size - 1) * WIDTH, 1)


def _anchor(index: int, size: int) -> str:
    return "start" if index == 0 else "end" if index == size - 1 else "middle"


def _width(counts: Counts) -> int:
    return math.ceil(counts.baseline_requests.size / MAX_POINTS)


def _binned(values: Ints) -> Floats:
    """Sums of neighbouring intervals, so that there are at most `MAX_POINTS`."""
    width = math.ceil(values.size / MAX_POINTS)
    sums: Floats = np.add.reduceat(values, np.arange(0, values.size, width)).astype(float)
    return sums
