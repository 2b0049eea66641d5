"""The failing disk and the stepping clock of the process under test, set from outside while it runs."""

from __future__ import annotations

import errno
import mmap
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SOURCE = Path(__file__).with_name("disk.c")
_FAULTS = struct.Struct("6iq")
_NAMES = ("write_error", "torn_bytes", "sync_error", "truncate_error", "open_error", "unused", "clock_seconds")

FULL, BROKEN = errno.ENOSPC, errno.EIO


class Disk:
    """What is wrong now; nothing, to begin with. `environment` is for the process that it is to be wrong for."""

    def __init__(self, folder: Path, state: Path) -> None:
        """Compile the shim; RuntimeError without a C compiler."""
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise RuntimeError("a C compiler is needed for the failing disk: install gcc")
        library, control = folder / "disk.so", folder / "faults"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
        control.write_bytes(bytes(_FAULTS.size))
        with control.open("r+b") as file:
            self._mapped = mmap.mmap(file.fileno(), _FAULTS.size)
        self.environment = {"LD_PRELOAD": str(library), "SOAK_FAULTS": str(control), "SOAK_STATE": str(state)}

    @contextmanager
    def wrong(self, **faults: int) -> Iterator[None]:
        """Be wrong in one way for a while."""
        self._mapped[:] = _FAULTS.pack(*(faults.get(name, 0) for name in _NAMES))
        try:
            yield
        finally:
            self._mapped[:] = bytes(_FAULTS.size)
