"""A verdict for people on a terminal, and as the JSON document that holds everything it came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from midwatch.spec.canary import Canary
from monitors.canary import counts as counting
from monitors.canary.calibrate import Calibration
from monitors.canary.counts import Counts, moment
from monitors.canary.forecast import Forecast
from monitors.canary.judge import Finding, Judgement, Verdict

MAX_REASON = 400
"""Letters of the reason that a caller who stores it is given."""


def document(counts: Counts, settings: Canary, said: Judgement) -> dict[str, Any]:
    """Everything: the verdict, its evidence, and the counts that give it again."""
    inputs = counting.document(counts, settings)
    return {
        "verdict": said.verdict.value,
        "reason": said.reason,
        "two_sided": said.two_sided,
        "model": counts.model,
        "baseline": counts.baseline,
        "canary": counts.canary,
        "start": moment(counts.start),
        "end": moment(counts.end),
        "decided": None if said.decided is None else moment(said.decided),
        "to_decide": _needs(said.needs, counts),
        "e_value": {"fail": _last(said), "fail_needed": math.exp(said.fail_level)},
        "criteria": [_finding(one, counts, said) for one in said.findings],
        "score": None if said.score is None else {"total": said.score.total, "groups": dict(said.score.groups)},
        "doubts": [doubt.text for doubt in counts.doubts],
        "notes": list(counts.notes),
        "queries": list(counts.queries),
        "digest": counting.digest(inputs),
        "counts": inputs,
    }


def evidence(counts: Counts, settings: Canary, said: Judgement) -> dict[str, Any]:
    """The small answer for a caller that stores every one, such as an AnalysisRun."""
    return {
        "verdict": said.verdict.value,
        "reason": said.reason if len(said.reason) <= MAX_REASON else said.reason[: MAX_REASON - 1] + "…",
        "evidence": {
            "start": moment(counts.start),
            "end": moment(counts.end),
            "requests": {"baseline": int(counts.baseline_requests.sum()), "canary": int(counts.canary_requests.sum())},
            "to_decide": _needs(said.needs, counts),
            "criteria": {one.name: _small(one) for one in said.findings},
            "digest": counting.digest(counting.document(counts, settings)),
        },
    }


def _small(finding: Finding) -> dict[str, Any]:
    found: dict[str, Any] = {"verdict": finding.verdict.value}
    if finding.evidence is not None:
        found |= {
            "ratio": _rounded(finding.evidence.interval.ratio),
            "e_fail": _rounded(e_value(finding.evidence.reached_fail)),
            "e_pass": _rounded(e_value(finding.evidence.reached_pass)),
        }
    return found


def _finding(finding: Finding, counts: Counts, said: Judgement) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": finding.name,
        "metric": finding.metric,
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "to_decide": _needs(finding.needs, counts),
    }
    if (told := finding.evidence) is not None:
        found |= {
            "channel": told.channel,
            "effect_ratio": told.interval.ratio,
            "interval": [told.interval.low, told.interval.high],
            "e_fail": e_value(told.reached_fail),
            "e_pass": e_value(told.reached_pass),
            "e_pass_needed": math.exp(said.pass_level),
            "events": {"baseline": told.baseline_events, "canary": told.canary_events},
            "requests": {"baseline": told.baseline_requests, "canary": told.canary_requests},
            "to_fail": _needs(told.towards_fail, counts),
        }
        if told.distance is not None:
            found["distance"] = {"largest": told.distance.distance, "bound": told.distance.bound}
    if (classified := finding.classified) is not None:
        found |= {
            "label": classified.label.value,
            "effect": classified.effect,
            "shift": None if classified.shift is None else vars(classified.shift),
            "samples": {"baseline": classified.baseline_size, "canary": classified.canary_size},
        }
    return found


def _needs(forecast: Forecast | None, counts: Counts) -> dict[str, Any] | None:
    if forecast is None:
        return None
    when = None if forecast.intervals is None else moment(round(counts.end + forecast.intervals * counts.interval))
    return {"canary_requests": forecast.requests, "at": when}


def _last(said: Judgement) -> float:
    return e_value(float(said.log_fail.max(initial=-math.inf)))


def e_value(log: float) -> float:
    """An e-value that JSON can hold."""
    return math.exp(min(log, 700.0))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


# On a terminal -------------------------------------------------------------------------------------------------------

_STYLES = {Verdict.PASS: "bold green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "bold yellow"}


def show(counts: Counts, said: Judgement) -> None:
    """Print a table of the criteria, and the verdict."""
    from rich.table import Table

    from midwatch import tables

    console = tables.make_console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("criterion", "verdict", "ratio", "interval", "baseline", "canary", "e fail", "e pass"):
        table.add_column(name, justify="left" if name in ("criterion", "verdict") else "right")
    for one in said.findings:
        table.add_row(*_row(one))
    tables.show(table, console=console)
    console.print(f"{counts.canary} against {counts.baseline}, {moment(counts.start)} to {moment(counts.end)}")
    console.print(_word(said), style=_STYLES[said.verdict])
    console.print(said.reason, highlight=False, soft_wrap=True)
    for note in counts.notes:
        console.print(f"note: {note}", style="dim", highlight=False)
    if (needed := _needs(said.needs, counts)) is not None:
        at = f", about {needed['at']}" if needed["at"] else "; there is no traffic now"
        console.print(f"to decide: about {needed['canary_requests']:,} more requests of {counts.canary}{at}")


def show_calibration(pods: Sequence[str], found: Sequence[Calibration]) -> None:
    """Print what the history of a fleet says of each criterion."""
    from rich.table import Table

    from midwatch import tables

    console = tables.make_console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("criterion", "comparisons", "dispersion", "pod effect", "failed at 1", "margin needed", "at most"):
        table.add_column(name, justify="left" if name == "criterion" else "right")
    for one in found:
        table.add_row(
            one.name,
            str(one.comparisons),
            "-" if one.dispersion is None else f"{one.dispersion:.2f}",
            "-" if one.pod_effect is None else f"{one.pod_effect:.0%}",
            str(one.alarms[1.0]),
            "-" if one.margin is None else f"{one.margin:g}",
            "-" if one.at_most is None else f"{one.at_most:.1%}",
        )
    tables.show(table, console=console)
    console.print(f"{len(pods)} pods: {', '.join(pods)}", highlight=False)
    for one in found:
        console.print(f"{one.name}: {one.reason}", highlight=False)


def _word(said: Judgement) -> str:
    if not said.two_sided:
        return said.verdict.value
    return {Verdict.FAIL: "different", Verdict.PASS: "equivalent"}.get(said.verdict, said.verdict.value)


def _row(finding: Finding) -> list[str]:
    told = finding.evidence
    if told is None:
        label = "" if finding.classified is None else finding.classified.label.value
        return [finding.name, finding.verdict.value, label, "", "", "", "", ""]
    interval = told.interval
    name = finding.name if told.channel == finding.name else f"{finding.name} {told.channel}"
    return [
        name,
        finding.verdict.value,
        "-" if interval.ratio is None else f"{interval.ratio:.3g}",
        f"{_number(interval.low, '0')} to {_number(interval.high, '∞')}",
        f"{told.baseline_events:,} / {told.baseline_requests:,}",
        f"{told.canary_events:,} / {told.canary_requests:,}",
        f"{e_value(told.reached_fail):.3g}",
        f"{e_value(told.reached_pass):.3g}",
    ]


def _number(value: float | None, unknown: str) -> str:
    return unknown if value is None else f"{value:.3g}"
