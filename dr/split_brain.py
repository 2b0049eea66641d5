"""When two servers of a store were last seen to take writes: noted by the recoverer, published by the exporter.

A rival that is fenced within a second is gone before anybody scrapes; people have to hear of it all the same.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from midwatch import files

NAME = "split-brain.json"


def note(folder: Path, what: str) -> None:
    """Note that it was seen now; `folder` is the recoverer's."""
    folder.mkdir(parents=True, exist_ok=True)
    files.replace(folder / NAME, json.dumps({"at": time.time(), "what": what}).encode())


def last_seen(folder: Path) -> float:
    """Seconds since the epoch; 0 for never."""
    try:
        return float(json.loads((folder / NAME).read_text())["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
