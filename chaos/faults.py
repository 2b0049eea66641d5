"""What a fault is, and how it is never forgotten: written down before it is injected, verified, and verified when gone.

A fault knows everything its revert needs before it is injected. The ledger keeps it, durably, from before the injection
until its revert is verified; whoever finds an open one (the experiment's rollback, the watchdog, `midwatch chaos stop`)
can revert it. Reverting twice does no harm.
"""

from __future__ import annotations

import json
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from midwatch import evidence, files, processes
from midwatch.errors import MidwatchError

EFFECTIVE_SECONDS = 5.0
"""How long a fault may take to be seen; longer, and it is unverified."""
REVERTED_SECONDS = 20.0


class FaultError(MidwatchError):
    """A fault could not be injected, was not seen to be there, or not seen to be gone."""


@dataclass(frozen=True, kw_only=True)
class Fault(ABC):
    """One fault at one target. Subclasses are frozen dataclasses of plain values: they are kept as JSON."""

    target: str

    @abstractmethod
    def inject(self) -> None:
        """Make it happen."""

    @abstractmethod
    def is_effective(self) -> bool:
        """Whether it is there, by looking at what it does."""

    @abstractmethod
    def revert(self) -> None:
        """Undo it; harmless when it is not there, or undone."""

    @abstractmethod
    def is_reverted(self) -> bool:
        """Whether it is gone, by looking."""

    @abstractmethod
    def describe(self) -> str:
        """What it does, in a line."""


Mirror = Callable[[str, dict[str, Any]], None]
"""Keeps a fault's number and document; what it raises keeps the fault from being injected."""


def written(fault: Fault) -> dict[str, Any]:
    """A fault as JSON has it."""
    return {"module": type(fault).__module__, "kind": type(fault).__name__, "fault": asdict(fault)}


def read(document: dict[str, Any]) -> Fault:
    """The fault that was written."""
    fault: Fault = getattr(import_module(document["module"]), document["kind"])(**document["fault"])
    return fault


class Ledger:
    """Open faults of one run, as files in its folder, and what became of them in the evidence log.

    `mirror` is told of each fault before it is injected, to keep it where it outlives this machine.
    """

    def __init__(self, folder: Path, log: evidence.Log, mirror: Mirror | None = None) -> None:
        self._folder, self.log, self._mirror = folder / "faults", log, mirror
        self._folder.mkdir(parents=True, exist_ok=True)

    def open_faults(self) -> dict[str, Fault]:
        """Faults that are there, or may be, by their number, in the order of injection."""
        found = {}
        for path in sorted(self._folder.glob("*.json")):
            found[path.stem] = read(json.loads(path.read_text()))
        return found

    def take_over(self, number: str, document: dict[str, Any]) -> None:
        """Add a fault that another ledger had open."""
        files.replace(self._folder / f"{number}.json", json.dumps(document, indent=1).encode())

    def inject(self, fault: Fault, *, seconds: float = EFFECTIVE_SECONDS) -> None:
        """Inject a fault and see it happen; FaultError when it is not seen (it is reverted then)."""
        number = self._open(fault)
        about = {"fault": number, "what": fault.describe(), "target": fault.target}
        self.log.append("fault-injecting", **about, kind_of_fault=type(fault).__name__)
        try:
            fault.inject()
            if not processes.wait_until(fault.is_effective, seconds):
                raise FaultError(f"{fault.target}: {fault.describe()}: not seen to happen within {seconds:g} s")
        except Exception as error:
            self.log.append("fault-unverified", **about, reason=str(error) or type(error).__name__)
            self.revert(number, fault)
            raise
        self.log.append("fault-effective", **about)

    def revert(self, number: str, fault: Fault, *, seconds: float = REVERTED_SECONDS) -> None:
        """Revert a fault and see it gone; FaultError when it is not (it stays in the ledger)."""
        about = {"fault": number, "what": fault.describe(), "target": fault.target}
        try:
            fault.revert()
            gone = processes.wait_until(fault.is_reverted, seconds)
            reason = f"not seen to be gone within {seconds:g} s"
        except Exception as error:
            gone, reason = False, str(error) or type(error).__name__
        if not gone:
            self._say("fault-stays", **about, reason=reason)
            raise FaultError(f"{fault.target}: {fault.describe()}: {reason}")
        (self._folder / f"{number}.json").unlink(missing_ok=True)
        self._say("fault-reverted", **about)

    def revert_all(self, *, seconds: float = REVERTED_SECONDS) -> list[str]:
        """Revert every open fault, all at the same time; what could not be reverted, in words."""
        problems: list[str] = []

        def revert(number: str, fault: Fault) -> None:
            try:
                self.revert(number, fault, seconds=seconds)
            except FaultError as error:
                problems.append(str(error))

        threads = [threading.Thread(target=revert, args=item) for item in self.open_faults().items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(problems)

    def _open(self, fault: Fault) -> str:
        number = f"{sum(1 for _ in self._folder.iterdir()):03d}-{os.getpid()}-{threading.get_ident()}"
        document = written(fault)
        if self._mirror is not None:
            self._mirror(number, document)
        files.replace(self._folder / f"{number}.json", json.dumps(document, indent=1).encode())
        descriptor = os.open(self._folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        return number

    def _say(self, kind: str, **about: Any) -> None:
        """Reverting goes on when the log cannot be written."""
        try:
            self.log.append(kind, **about)
        except MidwatchError:
            return
