"""A process that takes what others need: processor time, or memory. It ends by itself after its time.

`python -m chaos.local.hog cpu SECONDS` keeps one core busy; `memory SECONDS BYTES` holds so much memory.
"""

from __future__ import annotations

import sys
import time

PAGE = 4096


def main() -> None:
    """Take it, and give it back at the end."""
    kind, seconds = sys.argv[1], float(sys.argv[2])
    deadline = time.monotonic() + seconds
    if kind == "memory":
        held = bytearray(int(sys.argv[3]))
        for place in range(0, len(held), PAGE):
            held[place] = 1  # untouched pages are not held
        time.sleep(max(0.0, deadline - time.monotonic()))
        return
    while time.monotonic() < deadline:
        for _ in range(100_000):
            pass


if __name__ == "__main__":
    main()
