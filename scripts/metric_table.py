"""Write the table of every metric into docs/exporter.md: `python -m scripts.metric_table`."""

from __future__ import annotations

from pathlib import Path

from midwatch import metrics

GUIDE = Path(__file__).parents[1] / "docs" / "exporter.md"
BEGIN = "<!-- metrics: written by python -m scripts.metric_table -->\n"
END = "<!-- end of metrics -->\n"


def table() -> str:
    """Every metric of the catalogue: name, type, labels, help; of the burn rates' windows one row."""
    rows = ["| metric | type | labels | |", "|---|---|---|---|"]
    windows = ", ".join(metrics.BURN_RATE_WINDOWS)
    first = metrics.SLO_BURN_RATES[metrics.BURN_RATE_WINDOWS[0]]
    for metric in metrics.CATALOGUE.values():
        if metric in metrics.SLO_BURN_RATES.values() and metric != first:
            continue
        text = f"{metric.help} One record for each of {windows}." if metric == first else metric.help
        rows.append(f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {text} |")
    return "\n".join(rows) + "\n"


def refreshed(guide: str) -> str:
    """The guide with the table of today between its marks."""
    before, _, rest = guide.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    GUIDE.write_text(refreshed(GUIDE.read_text()))
