"""What a fault is, and how it is never forgotten: written down before it is injected, verified, and verified when gone.

A fault knows everything its revert needs before it is injected. The ledger keeps it, durably, from before the injection
until its revert is verified; whoever finds an open one (the experiment's rollback, the watchdog, `midwatch chaos stop`)
can revert it. Reverting twice does no harm.

A fault is kept as its class's name, its module and its fields. Every class is registered when it is defined. A process
that has not imported the module yet does so when it reads the fault; only modules of our own packages are.
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
from typing import Any, ClassVar

import msgspec

from midwatch import evidence, files, processes
from midwatch.errors import MidwatchError

EFFECTIVE_SECONDS = 5.0
"""How long a fault may take to be seen; longer, and it is unverified."""
REVERTED_SECONDS = 20.0


PACKAGES = ("chaos", "dr")
"""Where faults are defined: a document that is read can load nothing else."""


class FaultError(MidwatchError):
    """A fault could not be injected, was not seen to be there, or not seen to be gone."""


@dataclass(frozen=True, kw_only=True)
class Fault(ABC):
    """One fault at one target. Subclasses are frozen dataclasses of plain values: they are kept as JSON."""

    registered: ClassVar[dict[str, type[Fault]]] = {}
    """Every fault that this process can read, by the name of its class."""

    target: str

    def __init_subclass__(cls) -> None:
        """Register it under its name, which tells it from all others."""
        other = Fault.registered.setdefault(cls.__name__, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"{cls.__module__} and {other.__module__} both have a fault {cls.__name__}")
        Fault.registered[cls.__name__] = cls

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
    """The fault that was written; FaultError when there is no such fault, or it is not as it was written."""
    name, module = str(document.get("kind")), str(document.get("module"))
    if name not in Fault.registered:
        _import(name, module)
    known = Fault.registered.get(name)
    if known is None:
        raise FaultError(f"{module} has no fault {name}")
    try:
        return msgspec.convert(document.get("fault"), known)
    except msgspec.ValidationError as error:
        raise FaultError(f"fault {name} is not as it was written: {error}") from error


def _document(path: Path) -> Any:
    """A fault's document; None when another process has meanwhile seen that it is gone."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _import(name: str, module: str) -> None:
    """Import the module of a fault, which registers it."""
    if module.partition(".")[0] not in PACKAGES:
        raise FaultError(f"fault {name} is of {module!r}, which is no module of {' or '.join(PACKAGES)}")
    try:
        import_module(module)
    except ImportError as error:
        raise FaultError(f"fault {name} is of {module!r}, which cannot be imported: {error}") from error


class Ledger:
    """Open faults of one run, as files in its folder, and what became of them in the evidence log.

    `mirror` is told of each fault before it is injected, to keep it where it outlives this machine.
    """

    def __init__(self, folder: Path, log: evidence.Log, mirror: Mirror | None = None) -> None:
        self._folder, self.log, self._mirror = folder / "faults", log, mirror
        self._folder.mkdir(parents=True, exist_ok=True)

    def open_faults(self) -> dict[str, Fault]:
        """Faults that are there, or may be, by their number, in the order of injection."""
        documents = {path.stem: _document(path) for path in self._files()}
        return {number: read(document) for number, document in documents.items() if document is not None}

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

        def revert(path: Path) -> None:
            try:
                if (document := _document(path)) is not None:
                    self.revert(path.stem, read(document), seconds=seconds)
            except Exception as error:  # whatever it is, the fault was not seen to be gone
                problems.append(str(error) if isinstance(error, FaultError) else f"{path}: {error!r}")

        threads = [threading.Thread(target=revert, args=(path,)) for path in self._files()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(problems)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))

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
