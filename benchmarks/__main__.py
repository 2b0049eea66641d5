"""Runs every benchmark and prints one table; `--smoke` checks in a minute that they run, and says nothing of speed."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from benchmarks import dr, exporter, render
from benchmarks.figure import Figure

BENCHMARKS = {"exporter": exporter.run, "render": render.run, "dr": dr.run}


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
    figures: list[Figure] = []
    for name in given.names or BENCHMARKS:
        print(f"measuring: {name}", file=sys.stderr)
        figures += BENCHMARKS[name](smoke=given.smoke)
    if given.json:
        print(json.dumps([asdict(figure) | {"met": figure.met} for figure in figures]))
        return
    table = Table(title="figures (smoke sizes: only that they run)" if given.smoke else "figures")
    for column in ("figure", "target", "measured", "", "met"):
        table.add_column(column, justify="right" if column in ("target", "measured") else "left")
    for figure in figures:
        sign = "≥" if figure.better == "more" else "≤"
        met = "-" if given.smoke else "yes" if figure.met else "NO"
        table.add_row(
            figure.name,
            f"{sign} {figure.target:,g}",
            f"{figure.measured:,.4g}" if figure.measured < 1000 else f"{figure.measured:,.0f}",
            figure.unit,
            met,
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
