"""A process that takes what others need: processor time, memory or disk. It ends by itself after its time.

`python -m chaos.places.local.hog cpu SECONDS` keeps one core busy; `memory SECONDS BYTES` holds so much memory;
`disk SECONDS BYTES` fills a temporary file, which is gone with the process.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

PAGE = 4096
BLOCK = 2**20


def main() -> None:
    """Take it, and give it back at the end."""
    takes, seconds = sys.argv[1], float(sys.argv[2])
    deadline = time.monotonic() + seconds
    if takes == "memory":
        held = bytearray(int(sys.argv[3]))
        for place in range(0, len(held), PAGE):
            held[place] = 1  # untouched pages are not held
        time.sleep(max(0.0, deadline - time.monotonic()))
        return
    if takes == "disk":
        with tempfile.TemporaryFile() as file:
            for _ in range(int(sys.argv[3]) // BLOCK):
                file.write(os.urandom(BLOCK))
            file.flush()
            os.fsync(file.fileno())
            time.sleep(max(0.0, deadline - time.monotonic()))
        return
    while time.monotonic() < deadline:
        for _ in range(100_000):
            pass


if __name__ == "__main__":
    main()
