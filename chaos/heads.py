"""Heads of the evidence log that were kept elsewhere: they show that its end was cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from chaos.places.place import Home
from midwatch.evidence import Head


def kept(home: Home) -> Iterator[Head]:
    """Heads in the results of runs: another place than the log itself."""
    for path in sorted(home.runs.glob("*/result.json")):
        if head := _head(path):
            yield head


def _head(path: Path) -> Head | None:
    try:
        head = json.loads(path.read_text())["evidence_head"]
    except (OSError, ValueError, KeyError):
        return None
    return Head(seq=head["seq"], hash=head["hash"]) if head else None
