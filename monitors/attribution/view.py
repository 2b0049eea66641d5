"""A judgement of attributions for people on a terminal."""

from __future__ import annotations

from monitors.attribution.change import Verdict
from monitors.attribution.judge import Judgement

_STYLES = {Verdict.STABLE: "bold green", Verdict.CHANGED: "bold red", Verdict.UNKNOWN: "bold yellow"}


def show(said: Judgement) -> None:
    """Print the features that moved, and the verdict."""
    from rich.table import Table

    from midwatch import tables

    console = tables.make_console()
    if said.change and said.change.features:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("feature", "share before", "share now", "mean before", "mean now", "spreads off"):
            table.add_column(name, justify="left" if name == "feature" else "right")
        for one in said.change.features:
            shares = (f"{one.share_before:.1%}", f"{one.share_now:.1%}")
            table.add_row(one.name, *shares, f"{one.mean_before:.4g}", f"{one.mean_now:.4g}", f"{one.spreads:.1f}")
        tables.show(table, console=console)
    console.print(said.verdict.value, style=_STYLES[said.verdict])
    console.print(said.reason, soft_wrap=True)
