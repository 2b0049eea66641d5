"""Runs every benchmark and prints one table; `--smoke` checks in a minute that they run, and says nothing of speed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from benchmarks import (
    alerts,
    attributions,
    budgets,
    chaos,
    client,
    console,
    dashboards,
    dr,
    explain,
    exporter,
    fairness,
    render,
    size,
    stream,
    stream_drift,
)
from benchmarks.canary import run as canary
from benchmarks.drift import honesty, speed
from benchmarks.figure import Comparison, Figure
from benchmarks.incident import run as incident
from benchmarks.kafka import run as kafka
from benchmarks.loop import honesty as loop_honesty
from benchmarks.soak import run as soak
from benchmarks.stream_kills import run as stream_kills

BENCHMARKS: dict[str, Callable[..., Sequence[Figure | Comparison]]] = {
    "alerts": alerts.run,
    "budgets": budgets.run,
    "exporter": exporter.run,
    "kafka": kafka.run,
    "client": client.run,
    "render": render.run,
    "dashboards": dashboards.run,
    "console": console.run,
    "drift": speed.run,
    "drift-honesty": honesty.run,
    "canary": canary.run,
    "loop-honesty": loop_honesty.run,
    "fairness": fairness.run,
    "attributions": attributions.run,
    "explain": explain.run,
    "chaos": chaos.run,
    "dr": dr.run,
    "incident": incident.run,
    "soak": soak.run,
    "size": size.run,
    "stream": stream.run,
    "stream-drift": stream_drift.run,
    "stream-driver-kills": stream_kills.run_drivers,
    "stream-executor-kills": stream_kills.run_executors,
}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(BENCHMARKS)}; all without any")
    parser.add_argument("--smoke", action="store_true", help="small sizes")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args()
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    found: list[Figure | Comparison] = []
    for name in given.names or BENCHMARKS:
        print(f"measuring: {name}", file=sys.stderr)
        found += BENCHMARKS[name](smoke=given.smoke)
    figures = [one for one in found if isinstance(one, Figure)]
    comparisons = [one for one in found if isinstance(one, Comparison)]
    if given.json:
        measured = [asdict(figure) | {"met": figure.met} for figure in figures]
        print(json.dumps({"figures": measured, "comparisons": [asdict(one) for one in comparisons]}))
        return
    console = Console(width=140)
    if figures:
        console.print(_table(figures, smoke=given.smoke))
    for comparison in comparisons:
        table = Table(*comparison.columns, title=comparison.title, title_justify="left")
        for row in comparison.rows:
            table.add_row(*row)
        console.print(table)


def _table(figures: list[Figure], *, smoke: bool) -> Table:
    table = Table(title="figures (smoke sizes: only that they run)" if smoke else "figures")
    for column in ("figure", "target", "measured", "", "met", "others, same run"):
        table.add_column(column, justify="right" if column in ("target", "measured") else "left")
    for figure in figures:
        sign = "≥" if figure.better == "more" else "≤"
        table.add_row(
            figure.name,
            f"{sign} {figure.target:,g}",
            f"{figure.measured:,.4g}" if figure.measured < 1000 else f"{figure.measured:,.0f}",
            figure.unit,
            "-" if smoke else "yes" if figure.met else "NO",
            figure.peer,
        )
    return table


if __name__ == "__main__":
    main()
