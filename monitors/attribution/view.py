"""A judgement of attributions for people on a terminal."""

from __future__ import annotations

from monitors.attribution import others
from monitors.attribution.change import Change, Interval, Verdict
from monitors.attribution.judge import Judgement

_STYLES = {Verdict.STABLE: "bold green", Verdict.CHANGED: "bold red", Verdict.UNKNOWN: "bold yellow"}


def show(said: Judgement) -> None:
    """Print the features that moved, and the verdict."""
    from rich.table import Table

    from midwatch import tables

    console = tables.make_console()
    if said.change and said.change.features:
        table = Table(box=None, pad_edge=False, header_style="dim")
        columns = ("feature", "share before", "now", "change", "mean before", "now", "change", "spreads off")
        for name in columns:
            table.add_column(name, justify="left" if name == "feature" else "right")
        for one in said.change.features:
            shares = (f"{one.share_before:.1%}", f"{one.share_now:.1%}", _points(one.share_change))
            means = (f"{one.mean_before:.4g}", f"{one.mean_now:.4g}", _between(one.mean_change))
            table.add_row(one.name, *shares, *means, f"{one.spreads:.1f}")
        tables.show(table, console=console)
    console.print(said.verdict.value, style=_STYLES[said.verdict])
    console.print(said.reason, soft_wrap=True)
    if said.change and said.change.ndcg is not None:
        console.print(_of_others(said.change), style="dim", soft_wrap=True)


def _points(change: Interval) -> str:
    low, high = (end * 100 for end in change)
    return f"{low:+.1f} to {high:+.1f} points"


def _between(change: Interval) -> str:
    return f"{change[0]:+.4g} to {change[1]:+.4g}"


def _of_others(change: Change) -> str:
    """What SageMaker Clarify and Vertex AI would have measured."""
    order = f"nDCG of the order {change.ndcg:.3f} (usually {change.usual_ndcg:.3f} or more"
    clarify = f"{order}; Clarify alarms below {others.LOWEST_NDCG:g})"
    apart = [one.divergence for one in (*change.features, *change.others) if one.divergence is not None]
    if not apart:
        return clarify
    vertex = f"Vertex alarms beyond {others.HIGHEST_DIVERGENCE:g}"
    return f"{clarify}; greatest divergence of places {max(apart):.3f} bits ({vertex})"
