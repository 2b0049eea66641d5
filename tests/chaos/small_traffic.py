"""Traffic of a small plane: asks each server so often a second, and tells the exporter what came of it.

small_traffic.py EXPORTER RATE VERSION=URL...
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
import urllib.request
import uuid


def ask(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def run(exporter: str, rate: float, version: str, url: str) -> None:
    due = time.monotonic()
    while True:
        begun = time.monotonic()
        good = ask(url)
        event = {
            "event": "prediction",
            "id": str(uuid.uuid4()),
            "model": "fraud",
            "version": version,
            "ts": time.time(),
            "outcome": "ok" if good else "error",
            "duration_seconds": time.monotonic() - begun,
            **({"prediction": "fraud"} if good else {}),
        }
        request = urllib.request.Request(f"{exporter}/events", json.dumps(event).encode())
        with contextlib.suppress(OSError):
            urllib.request.urlopen(request, timeout=1.0).close()
        due = max(due + 1 / rate, time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    exporter, rate = sys.argv[1], float(sys.argv[2])
    for text in sys.argv[3:]:
        version, _, url = text.partition("=")
        threading.Thread(target=run, args=(exporter, rate, version, url), daemon=True).start()
    threading.Event().wait()
