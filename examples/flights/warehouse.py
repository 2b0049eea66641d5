"""What the platform keeps of its predictions once their labels are there, as rows of JSON lines: trained on later.

A row: `id`, `at` (seconds since 1970), `version` that answered, `release` of the feature pipeline, `features` as they
were served, `prediction`, and `late`, the label.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import features as pipeline

FILE = "predictions.ndjson"


class Writer:
    """Appends rows; a reader meets whole lines only."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / FILE).open("w", encoding="utf-8", buffering=1)

    def add(self, row: dict[str, Any]) -> None:
        """Keep a prediction whose label has come."""
        self._file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """Add nothing more."""
        self._file.close()


def load(folder: Path) -> Any:
    """All rows that are there, in order of time (a pandas.DataFrame): a column for each feature beside the others."""
    import pandas as pd

    with (folder / FILE).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.endswith("\n")]
    flat = [{**row.pop("features"), **row} for row in rows]
    return pd.DataFrame(flat).sort_values("at", kind="stable", ignore_index=True)


def in_release(rows: Any, release: str) -> Any:
    """Rows whose features this release of the pipeline computed."""
    return rows[rows["release"] == release].reset_index(drop=True)


def recomputed(rows: Any, release: str) -> Any:
    """Rows of the first release as another one would have computed them."""
    return pipeline.of_table(in_release(rows, pipeline.IMPERIAL), release)
