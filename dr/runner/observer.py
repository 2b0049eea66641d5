"""The observer: writes and reads through the clients' own endpoint, outside the fault's reach, and keeps the ledger.

It knows nothing of faults and recoverers. Each write has a number that is used once; the ledger says whether it was
acknowledged (and by which server), failed for certain, or is unknown. A second thread reads on a new connection each
time, as a model that looks up features would; a third asks the model servers, where there are any. Its clock is
CLOCK_MONOTONIC; the wall clock is noted at both ends as a label.

Run as `python -m dr.runner.observer CONFIG.json`; SIGTERM ends it with a complete ledger.
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
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dr import stores
from dr.drill import facts, ledger
from dr.drill.client import Client, ClientConfig, RequestError, UnknownError
from dr.drill.facts import Outcome
from dr.stores.setup import ModelRequest

RETRY_SECONDS = 0.002
"""Pause after a failed attempt: it bounds how late an acknowledgement can be noticed."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to observe, and how. Rates are per second; `timeout` is seconds a request."""

    run: str
    client: ClientConfig
    ledger: str
    rate: float = 200.0
    read_rate: float = 10.0
    timeout: float = 1.0
    model: ModelRequest | None = None
    model_rate: float = 20.0

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read what `save` wrote."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def save(self, path: Path) -> None:
        """Write it, closed to others: the client's arguments hold a password."""
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.encode(self))

    def connect(self) -> Client:
        """A client of the store."""
        return stores.named(self.client.kind).client(self.client.arguments, self.run)


class Observer:
    """The running observer."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ledger = ledger.Ledger(Path(config.ledger))
        self._stop = threading.Event()
        self._acknowledged: dict[int, int] = {}
        self._newest = 0
        self._broken: Exception | None = None

    def run(self) -> None:
        """Observe until SIGTERM or SIGINT; LedgerError when the ledger cannot be kept.

        What nobody expected of a reader ends it, too, without the ledger's last line: who no longer looks has not
        seen that nobody was served.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        config = self._config
        started = facts.Started(
            at=time.monotonic_ns(), wall=time.time(), boot=ledger.boot_id(), run=config.run, rate=config.rate
        )
        self._ledger.add(started)
        jobs: list[tuple[Callable[[], None], float]] = [(self._read, config.read_rate)]
        if config.model:
            jobs.append((self._predict, config.model_rate))
        threads = [threading.Thread(target=self._repeat, args=job, daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        self._write_on()
        for thread in threads:
            thread.join(2 * config.timeout + 3.0)
        if self._broken:
            self._ledger.close()
            raise self._broken
        self._ledger.add(facts.Ended(at=time.monotonic_ns(), wall=time.time()))
        self._ledger.close()

    # Writes ----------------------------------------------------------------------------------------------------------

    def _write_on(self) -> None:
        client = self._config.connect()
        due = time.monotonic()
        number = 0
        while not self._stop.is_set():
            number += 1
            if not self._write(client, number):
                time.sleep(RETRY_SECONDS)
                due = time.monotonic()
                continue
            due = max(due + 1.0 / self._config.rate, time.monotonic() - 1.0 / self._config.rate)
            time.sleep(max(0.0, due - time.monotonic()))
        client.close()

    def _write(self, client: Client, number: int) -> bool:
        sent = time.monotonic_ns()
        try:
            server = client.write(number)
        except RequestError as error:
            outcome = Outcome.UNKNOWN if isinstance(error, UnknownError) else Outcome.FAILED
            failed = facts.Write(
                sent=sent, answered=time.monotonic_ns(), outcome=outcome, number=number, why=_short(error)
            )
            self._ledger.add(failed)
            return False
        done = time.monotonic_ns()
        self._acknowledged[number] = done
        self._newest = number
        self._ledger.add(facts.Write(sent=sent, answered=done, outcome=Outcome.OK, number=number, server=server))
        return True

    # Reads -----------------------------------------------------------------------------------------------------------

    def _repeat(self, job: Callable[[], None], rate: float) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                job()
            except Exception as error:  # raised where the process ends
                self._broken = error
                self._stop.set()
            self._stop.wait(max(RETRY_SECONDS, 1.0 / rate - (time.monotonic() - begun)))

    def _read(self) -> None:
        """Read the newest write anew; it must be at least the newest that was acknowledged before."""
        client = self._config.connect()
        wanted = self._newest
        sent = time.monotonic_ns()
        try:
            newest, content = client.newest()
        except RequestError as error:
            failed = facts.Read(sent=sent, answered=time.monotonic_ns(), outcome=Outcome.FAILED, why=_short(error))
            self._ledger.add(failed)
            return
        now = time.monotonic_ns()
        read = facts.Read(
            sent=sent,
            answered=now,
            outcome=Outcome.OK if newest >= wanted else Outcome.STALE,
            newest=newest,
            wanted=wanted,
            age=self._age(newest, wanted, now),
            content=content,
        )
        self._ledger.add(read)

    def _age(self, newest: int, wanted: int, now: int) -> float | None:
        """Seconds since the row that was read was acknowledged; 0 when it is newer than all that were."""
        written = self._acknowledged.get(newest)
        if written is not None:
            return max(0, now - written) / facts.SECOND
        return 0.0 if newest > wanted else None

    def _predict(self) -> None:
        """Ask the model as a client does; the answer's version is kept."""
        model = self._config.model
        if model is None:
            return
        sent = time.monotonic_ns()
        request = urllib.request.Request(  # noqa: S310 - the platform file's own URL
            model.url, json.dumps(model.body).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self._config.timeout) as response:  # noqa: S310 - see above
                answer = json.loads(response.read())
                version = response.headers.get("x-model-version") or answer.get("version", "")
        except (OSError, ValueError, urllib.error.URLError) as error:
            why = type(error).__name__
            failed = facts.Prediction(sent=sent, answered=time.monotonic_ns(), outcome=Outcome.FAILED, why=why)
            self._ledger.add(failed)
            return
        answered = time.monotonic_ns()
        self._ledger.add(facts.Prediction(sent=sent, answered=answered, outcome=Outcome.OK, version=version))


def _short(error: RequestError) -> str:
    return str(error)[:120]


if __name__ == "__main__":
    Observer(Config.load(Path(sys.argv[1]))).run()
