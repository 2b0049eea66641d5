"""A verdict as one page that needs nothing else: arms over time, evidence against its boundaries, latencies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midwatch import html
from midwatch.html import About, numbers
from midwatch.html.charts import Band, Chart, Line, Rule
from midwatch.spec import canary as spec
from monitors.canary import band
from monitors.canary import document as documents
from monitors.canary.arms import Floats, Ints
from monitors.canary.counts import Counted, Counts
from monitors.canary.findings import Finding, Verdict
from monitors.canary.judge import Judgement

TEMPLATE = Path(__file__).with_name("report.html")
MAX_POINTS = 120
"""Points of a line: a long analysis is drawn in fewer, wider intervals."""

LARGEST_ODDS = 1e6
"""Beyond it nobody asks how much more."""

WORDS: Mapping[str, str] = {
    "times the baseline": "The canary's share of such events divided by the baseline's, with the interval in which it "
    "is, at every look together. Of fairness it is by how many points two groups are farther apart on the canary.",
    "evidence against": "What a bet on 'this criterion has regressed beyond what is tolerated' has won so far, when 1 "
    "was put on it. Of a version that is no worse it hardly ever wins much, however often one looks.",
    "evidence for": "The same for a bet on 'a regression that is unacceptable is excluded'.",
    "decided": "The first look at which the evidence was as large as the platform file asks for. To look earlier or "
    "more often makes no false verdict likelier.",
    "inconclusive": "Not enough is known either way. It is no pass.",
}


@dataclass(frozen=True, kw_only=True)
class Whose:
    """Whose a canary is, as far as a platform file said."""

    platform: str = ""
    owner: str = ""


NOBODY = Whose()


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A chart with the id of its figure; with `nothing` that sentence stands in its place."""

    id: str
    chart: Chart
    nothing: str = ""


def write(path: Path, counts: Counts, settings: spec.Canary, judgement: Judgement, whose: Whose = NOBODY) -> None:
    """Write the page; MidwatchError when it cannot be written."""
    html.write(path, TEMPLATE, **values(counts, settings, judgement, whose))


def values(counts: Counts, settings: spec.Canary, judgement: Judgement, whose: Whose = NOBODY) -> dict[str, Any]:
    """What the page's template is filled with: what it is about, the criteria, and the charts."""
    document = documents.document(counts, settings, judgement)
    return {
        "about": _about(document, judgement, whose, is_dated=counts.baseline_requests.size > 0),
        "document": document,
        "rows": document["criteria"],
        "charts": _charts(counts, settings, judgement),
        "odds": odds,
        "glossary": WORDS,
    }


def odds(value: float) -> str:
    """An e-value as the odds that a bet has paid.

    >>> odds(250.4), odds(0.5), odds(1e12)
    ('250 to 1', '1 to 2', 'over 1,000,000 to 1')
    """
    if value >= LARGEST_ODDS:
        return f"over {LARGEST_ODDS:,.0f} to 1"
    if value <= 1 / LARGEST_ODDS:
        return f"1 to over {LARGEST_ODDS:,.0f}"
    return f"{_plain(value)} to 1" if value >= 1 else f"1 to {_plain(1 / value)}"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _about(document: Mapping[str, Any], judgement: Judgement, whose: Whose, *, is_dated: bool) -> About:
    """What the page is about; its dates where the analysis has intervals."""
    meaning, todo = _said(document, judgement)
    return About(
        title=f"Canary {document['canary']} against {document['baseline']}: {document['verdict']}",
        verdict=document["verdict"],
        meaning=meaning,
        todo=todo,
        model=document["model"] or numbers.UNKNOWN,
        platform=whose.platform or numbers.UNKNOWN,
        owner=whose.owner or numbers.UNKNOWN,
        dates=f"{document['start']} to {document['end']}" if is_dated else numbers.UNKNOWN,
        more=[("Decided", document["decided"] or "not yet")],
    )


def _said(document: Mapping[str, Any], judgement: Judgement) -> tuple[str, str]:
    """What the verdict means, and what to do, a sentence each."""
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


def _charts(counts: Counts, settings: spec.Canary, judgement: Judgement) -> list[Drawn]:
    if not counts.baseline_requests.size:
        return []
    seconds = counts.interval * _width(counts)
    rates = [_binned(one) / seconds for one in (counts.baseline_requests, counts.canary_requests)]
    requests = _over_time("requests", _arms(rates, counts), counts, unit="per_second")
    drawn = [
        Drawn(id="requests", chart=requests, nothing="" if any(map(np.any, rates)) else "No request came to either."),
        Drawn(id="evidence", chart=_evidence(counts, judgement)),
    ]
    by_name = {spec.name_of(one): one for one in settings.criteria}
    for number, finding in enumerate(judgement.findings):
        data = counts.counted.get(finding.name)
        if data is not None and finding.evidence is not None:
            drawn.append(_shares(counts, finding, data, f"criterion-{number}"))
            if isinstance(by_name[finding.name], spec.Latency):
                chart = _latencies(counts, finding, data, float(settings.false_alarm))
                drawn.append(Drawn(id=f"distribution-{number}", chart=chart))
    return drawn


def _shares(counts: Counts, finding: Finding, data: Counted, figure: str) -> Drawn:
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
    title = f"{finding.name}{what}, share of requests"
    has_events = data.baseline_events[index].any() or data.canary_events[index].any()
    nothing = "" if has_events else f"Such events: {', '.join(none)}."
    chart = _over_time(title, _arms(shares, counts), counts, unit="ratio", note=finding.reason)
    return Drawn(id=figure, chart=chart, nothing=nothing)


def _evidence(counts: Counts, judgement: Judgement) -> Chart:
    """Log e-values in decades; the boundaries are what they have to reach."""
    width = _width(counts)
    ends = np.minimum(np.arange(width, counts.baseline_requests.size + width, width), counts.baseline_requests.size) - 1

    def decades(path: Floats) -> Floats:
        clipped: Floats = np.clip(path[ends], -judgement.fail_level, 3 * judgement.fail_level) / math.log(10)
        return clipped

    lines = [Line(name="against the canary, all criteria", values=_list(decades(judgement.log_fail)), kind="bad")]
    lines += [
        Line(
            name=f"for the canary: {one.name}", values=_list(decades(one.evidence.log_pass)), is_dashed=bool(place % 2)
        )
        for place, one in enumerate(judgement.findings)
        if one.evidence is not None
    ]
    levels = {"fail": judgement.fail_level, "pass": judgement.pass_level}
    if judgement.pass_level == judgement.fail_level:
        levels = {"either": judgement.fail_level}
    rules = [
        Rule(
            name=f"decides, {odds(math.exp(level))}" + ("" if name == "either" else f" ({name})"),
            at=level / math.log(10),
            kind="unsure",
        )
        for name, level in levels.items()
    ]
    note = "2 is a bet that has won 100 to 1. A line that reaches the boundary decides, at any look; lines are drawn "
    note += "up to three times its height."
    return _over_time("evidence by criterion, powers of ten", lines, counts, rules=rules, note=note)


def _latencies(counts: Counts, finding: Finding, data: Counted, alpha: float) -> Chart:
    """Share of requests within each boundary, with bands that hold at every look."""
    curves, bands = [], []
    for kind, events, requests in (
        ("baseline", data.baseline_events, data.baseline_requests),
        ("canary", data.canary_events, data.canary_requests),
    ):
        total = int(requests.sum())
        curve = 1 - events.sum(axis=-1) / max(total, 1)
        half = band.radius(total, alpha / 2)
        low, high = (np.clip(curve + side, 0, 1) for side in (-half, half))
        curves.append(curve)
        bands.append(Band(name=f"band of the {kind}", low=_list(low), high=_list(high), kind=kind))
    names = [channel.removeprefix("> ") for channel in data.channels]
    return Chart(
        title="latency distribution, share of requests within",
        x=range(len(names)),
        x_unit="boundary",
        x_names=names,
        lines=_arms(curves, counts),
        bands=bands,
        unit="ratio",
        note=_apart(finding),
        low=0.0,
        high=1.0,
    )


def _apart(finding: Finding) -> str:
    if finding.evidence is None or finding.evidence.distance is None:
        return ""
    distance = finding.evidence.distance
    if distance.bound >= 1:
        return "too few requests for a band"
    word = "differ" if distance.differ else "are not told apart by their bands"
    return f"the distributions {word}: {distance.distance:.3f} apart, bands together {distance.bound:.3f}"


def _arms(values: Sequence[Floats], counts: Counts) -> list[Line]:
    names = ("baseline", counts.baseline), ("canary", counts.canary)
    return [
        Line(name=f"{kind} {name}", values=_list(one), kind=kind)
        for (kind, name), one in zip(names, values, strict=True)
    ]


def _over_time(title: str, lines: Sequence[Line], counts: Counts, **more: Any) -> Chart:
    """Chart over the analysis' time, a point at the end of each of its intervals."""
    size, width = counts.baseline_requests.size, _width(counts)
    ends = [counts.start + counts.interval * min(size, end) for end in range(width, size + width, width)]
    return Chart(title=title, x=ends, lines=lines, **more)


def _list(values: Floats) -> list[float]:
    listed: list[float] = values.tolist()
    return listed


def _width(counts: Counts) -> int:
    return math.ceil(counts.baseline_requests.size / MAX_POINTS)


def _binned(values: Ints) -> Floats:
    """Sums of neighbouring intervals, so that there are at most `MAX_POINTS`."""
    width = math.ceil(values.size / MAX_POINTS)
    sums: Floats = np.add.reduceat(values, np.arange(0, values.size, width)).astype(float)
    return sums
