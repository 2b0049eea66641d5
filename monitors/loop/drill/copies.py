"""Copies of requests, as they were recorded or with a known drift in them. Pure but for reading the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midwatch.errors import MidwatchError
from midwatch.spec.loop_drill import Inject

LEAST_REQUESTS = 20
"""Recorded requests: with fewer the copy's windows are of few different rows, and drift by themselves."""


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Bodies of requests, and the same bodies with the drift, in the same order."""

    plain: Sequence[bytes]
    drifted: Sequence[bytes]


def read(path: Path, inject: Inject) -> Copies:
    """Read recorded requests; MidwatchError for a file or a line that is of no use."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise MidwatchError(f"{path}: {error.strerror}; loop.drill.requests names it") from error
    plain, drifted = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MidwatchError(f"{path}:{number}: not JSON; write one request a line") from error
        changed, count = with_drift(document, inject)
        if not count:
            raise MidwatchError(f"{path}:{number}: no number behind a key {inject.feature!r}, which the drift changes")
        plain.append(json.dumps(document).encode())
        drifted.append(json.dumps(changed).encode())
    if len(plain) < LEAST_REQUESTS:
        raise MidwatchError(f"{path}: {len(plain)} requests; record at least {LEAST_REQUESTS} different ones")
    return Copies(plain=plain, drifted=drifted)


def with_drift(document: Any, inject: Inject) -> tuple[Any, int]:
    """A request with the drift in it, and how many numbers were changed.

    >>> with_drift({"rows": [{"distance": 100}]}, Inject(feature="distance", factor=1.5))
    ({'rows': [{'distance': 150.0}]}, 1)
    """
    if isinstance(document, dict):
        found = {key: _changed(key, value, inject) for key, value in document.items()}
        return {key: value for key, (value, _) in found.items()}, sum(count for _, count in found.values())
    if isinstance(document, list):
        items = [with_drift(one, inject) for one in document]
        return [one for one, _ in items], sum(count for _, count in items)
    return document, 0


def _changed(key: str, value: Any, inject: Inject) -> tuple[Any, int]:
    if key == inject.feature and isinstance(value, int | float) and not isinstance(value, bool):
        return value * inject.factor + inject.shift, 1
    return with_drift(value, inject)
