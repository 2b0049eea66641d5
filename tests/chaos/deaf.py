"""An action that no signal interrupts."""

from __future__ import annotations

import signal
import time
from pathlib import Path


def be_deaf(ready: str) -> None:
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    Path(ready).touch()
    time.sleep(60)
