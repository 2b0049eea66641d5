"""What is needed to end a run when all who know of it are gone: `open.json` in its folder, from its start to its end.

A run is open until no process and no fault of it is left and its own rollbacks ran. Nobody has to read the platform
file, or find a plane, to end one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from midwatch import evidence, files


class OpenRun(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run's evidence goes, and how its own rollbacks are started.

    `rollbacks` is a command, empty where the experiment has none but ours. `folder` is where it is started, and
    `environment` what it needs beside the environment of whoever starts it. `told` is a command that tells that
    nothing runs, for when the one who would have told is gone.
    """

    log: str
    key_file: str | None
    folder: str = "."
    environment: dict[str, str] = {}
    rollbacks: list[str] = []
    told: list[str] = []


def write(folder: Path, run: OpenRun) -> None:
    """Open a run; MidwatchError when that cannot be written."""
    files.replace(_file(folder), msgspec.json.encode(run))


def read(folder: Path) -> OpenRun | None:
    """The run as it was opened; None when it is not open, or its file cannot be read."""
    try:
        return msgspec.json.decode(_file(folder).read_bytes(), type=OpenRun)
    except (OSError, msgspec.MsgspecError):
        return None


def log_of(run: OpenRun) -> evidence.Log:
    """The run's evidence log; MidwatchError when its key cannot be read."""
    return evidence.Log(Path(run.log), key=evidence.read_key(Path(run.key_file)) if run.key_file else b"")


def close(folder: Path) -> None:
    """Say that nothing of a run is left to be done."""
    _file(folder).unlink(missing_ok=True)


def _file(folder: Path) -> Path:
    return folder / "open.json"
