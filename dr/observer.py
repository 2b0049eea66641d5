"""The observer: writes and reads through the clients' own endpoint, outside the fault's reach, and keeps the ledger.

It knows nothing of faults and recoverers. Each write has a number that is used once; the ledger says whether it was
acknowledged (and by which server), failed for certain, or is unknown. A second thread reads on a new connection each
time, as a model that looks up features would; a third asks the model servers, where there are any. Its clock is
CLOCK_MONOTONIC; the wall clock is noted at both ends as a label.

Run as `python -m dr.observer CONFIG.json`; SIGTERM ends it with a complete ledger.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dr import ledger, targets
from dr.postgres import session

RETRY_SECONDS = 0.002
"""Pause after a failed attempt: it bounds how late an acknowledgement can be noticed."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model to be asked through its endpoint: the URL and the JSON body of a prediction request."""

    url: str
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to observe: `target` as `targets.build` takes it. Rates are per second; `timeout` is seconds a request."""

    run: str
    target: dict[str, Any]
    ledger: str
    rate: float = 200.0
    read_rate: float = 10.0
    timeout: float = 1.0
    model: Model | None = None
    model_rate: float = 20.0
    labels: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read what `save` wrote."""
        document = json.loads(path.read_text())
        model = document.pop("model")
        return cls(**document, model=Model(**model) if model else None)

    def save(self, path: Path) -> None:
        """Write it, closed to others: the target holds a password."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))


class Observer:
    """The running observer."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ledger = ledger.Ledger(Path(config.ledger))
        self._stop = threading.Event()
        self._acknowledged: dict[int, int] = {}
        self._newest = 0

    def run(self) -> None:
        """Observe until SIGTERM or SIGINT; LedgerError when the ledger cannot be kept."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        config = self._config
        self._ledger.add(
            k="start",
            run=config.run,
            boot=ledger.boot_id(),
            wall=time.time(),
            t=time.monotonic_ns(),
            rate=config.rate,
            **config.labels,
        )
        jobs: list[tuple[Callable[[], None], float]] = [(self._read, config.read_rate)]
        if config.model:
            jobs.append((self._predict, config.model_rate))
        threads = [threading.Thread(target=self._repeat, args=job, daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        self._write_on()
        for thread in threads:
            thread.join(2 * config.timeout + 3.0)
        self._ledger.add(k="end", wall=time.time(), t=time.monotonic_ns())
        self._ledger.close()

    # Writes ----------------------------------------------------------------------------------------------------------

    def _write_on(self) -> None:
        target = targets.build(self._config.target, self._config.run)
        due = time.monotonic()
        number = 0
        while not self._stop.is_set():
            number += 1
            if not self._write(target, number):
                time.sleep(RETRY_SECONDS)
                due = time.monotonic()
                continue
            due = max(due + 1.0 / self._config.rate, time.monotonic() - 1.0 / self._config.rate)
            time.sleep(max(0.0, due - time.monotonic()))
        target.close()

    def _write(self, target: targets.Target, number: int) -> bool:
        begun = time.monotonic_ns()
        fact: dict[str, Any] = {"k": "w", "n": number, "t0": begun}
        try:
            server = target.write(number)
        except session.SqlError as error:
            result = "unknown" if isinstance(error, session.UnknownError) else "fail"
            self._ledger.add(**fact, t1=time.monotonic_ns(), r=result, why=str(error)[:120])
            return False
        done = time.monotonic_ns()
        self._acknowledged[number] = done
        self._newest = number
        self._ledger.add(**fact, t1=done, r="ok", s=server)
        return True

    # Reads -----------------------------------------------------------------------------------------------------------

    def _repeat(self, job: Callable[[], None], rate: float) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            job()
            self._stop.wait(max(RETRY_SECONDS, 1.0 / rate - (time.monotonic() - begun)))

    def _read(self) -> None:
        """Read the newest write anew; it must be at least the newest that was acknowledged before."""
        target = targets.build(self._config.target, self._config.run)
        wanted = self._newest
        fact: dict[str, Any] = {"k": "r", "t0": time.monotonic_ns()}
        try:
            seen, content = target.newest()
        except session.SqlError as error:
            self._ledger.add(**fact, t1=time.monotonic_ns(), r="fail", why=str(error)[:120])
            return
        now = time.monotonic_ns()
        written = self._acknowledged.get(seen)
        age = max(0, now - written) / 1e9 if written is not None else 0.0 if seen > wanted else None  # not answered yet
        result = "ok" if seen >= wanted else "stale"
        self._ledger.add(**fact, t1=now, r=result, n=seen, wanted=wanted, age=age, c=content)

    def _predict(self) -> None:
        """Ask the model as a client does; the answer's version is kept."""
        model = self._config.model
        if model is None:
            return
        begun = time.monotonic_ns()
        fact: dict[str, Any] = {"k": "m", "t0": begun}
        request = urllib.request.Request(  # noqa: S310 - the platform file's own URL
            model.url, json.dumps(model.body).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self._config.timeout) as response:  # noqa: S310 - see above
                answer = json.loads(response.read())
                version = response.headers.get("x-model-version") or answer.get("version", "")
        except (OSError, ValueError, urllib.error.URLError) as error:
            self._ledger.add(**fact, t1=time.monotonic_ns(), r="fail", why=type(error).__name__)
            return
        self._ledger.add(**fact, t1=time.monotonic_ns(), r="ok", v=version)


if __name__ == "__main__":
    Observer(Config.load(Path(sys.argv[1]))).run()
