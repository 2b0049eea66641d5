"""Heads of the evidence log that were kept elsewhere: they show that its end was cut off."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from chaos.places.place import Home
from midwatch.errors import MidwatchError
from midwatch.evidence import Head


def given(texts: Iterable[str]) -> Iterator[Head]:
    """Heads of texts such as `12:ab34`; MidwatchError when one is none."""
    for text in texts:
        seq, colon, digest = text.partition(":")
        if not colon or not seq.isdigit():
            raise MidwatchError(f"--head {text!r} is not SEQ:HASH")
        yield Head(seq=int(seq), hash=digest)


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
