"""Traffic that knows what it has sent: steady_traffic.py EXPORTER RATE, until SIGTERM.

Predictions so often a second, each with its label a second later, by the event log that model servers use. Nothing is
given up; the last line on standard output is the sum.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import deque

from midwatch.client import event_log, events

LABEL_SECONDS = 1.0
CLOSE_SECONDS = 30.0


def run(exporter: str, rate: float, stop: threading.Event) -> dict[str, object]:
    log = event_log.EventLog(exporter)
    due: deque[tuple[float, str]] = deque()
    sent = labels = 0
    while not stop.wait(1 / rate):
        now = time.time()
        name = f"{now:.6f}-{sent}"
        log.send(events.Prediction(id=name, model="fraud", version="v1", ts=now, prediction="fraud"))
        sent += 1
        due.append((now + LABEL_SECONDS, name))
        while due[0][0] <= now:
            log.send(events.Label(id=due.popleft()[1], model="fraud", label="fraud", ts=now))
            labels += 1
    stats = log.close(CLOSE_SECONDS)
    return {"final": True, "ok": sent, "labels": labels, "acknowledged": stats.acknowledged}


if __name__ == "__main__":
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    print(json.dumps(run(sys.argv[1], float(sys.argv[2]), stopped)), flush=True)
