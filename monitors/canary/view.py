"""A verdict for people on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from monitors.canary.calibrate import Calibration
from monitors.canary.counts import Counts
from monitors.canary.criteria import Evidence
from monitors.canary.document import e_value, to_decide
from monitors.canary.findings import Finding, Verdict
from monitors.canary.judge import Judgement
from monitors.canary.times import moment

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
        table.add_row(*_row(one, said))
    tables.show(table, console=console)
    when = f", {moment(counts.start)} to {moment(counts.end)}" if counts.end else ""  # samples have no times
    console.print(f"{counts.canary} against {counts.baseline}{when}")
    console.print(said.word(said.verdict), style="bold" if said.two_sided else _STYLES[said.verdict])
    console.print(said.reason, highlight=False, soft_wrap=True)
    for note in counts.notes:
        console.print(f"note: {note}", style="dim", highlight=False)
    if (needed := to_decide(said.needs, counts)) is not None:
        at = f", about {needed['at']}" if needed["at"] else "; there is no traffic now"
        console.print(f"to decide: about {needed['canary_requests']:,} more requests of {counts.canary}{at}")


def show_calibration(pods: Sequence[str], calibrations: Sequence[Calibration]) -> None:
    """Print what the history of a fleet says of each criterion."""
    from rich.table import Table

    from midwatch import tables

    console = tables.make_console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("criterion", "comparisons", "dispersion", "pod effect", "failed at 1", "margin needed", "at most"):
        table.add_column(name, justify="left" if name == "criterion" else "right")
    for one in calibrations:
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
    for one in calibrations:
        console.print(f"{one.name}: {one.reason}", highlight=False)


def _row(finding: Finding, said: Judgement) -> list[str]:
    told = finding.evidence
    if told is None:
        label = "" if finding.classified is None else finding.classified.label.value
        return [finding.name, said.word(finding.verdict), label, "", "", "", "", ""]
    name = finding.name if told.channel == finding.name else f"{finding.name} {told.channel}"
    return [
        name,
        said.word(finding.verdict),
        *_effect(told),
        f"{told.baseline_events:,} / {told.baseline_requests:,}",
        f"{told.canary_events:,} / {told.canary_requests:,}",
        f"{e_value(told.reached_fail):.3g}",
        f"{e_value(told.reached_pass):.3g}",
    ]


def _effect(told: Evidence) -> tuple[str, str]:
    """The ratio of the arms' shares, or by how many points groups are farther apart, and its interval."""
    if told.gap is not None:
        low, high = (f"{end * 100:+.1f}" for end in told.gap.interval)
        return f"{told.gap.change * 100:+.1f} points", f"{low} to {high}"
    interval = told.interval
    ratio = "-" if interval.ratio is None else f"{interval.ratio:.3g}"
    return ratio, f"{_number(interval.low, '0')} to {_number(interval.high, '∞')}"


def _number(value: float | None, unknown: str) -> str:
    return unknown if value is None else f"{value:.3g}"
