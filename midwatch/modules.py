"""How Midwatch starts a child process of its own, and how it notices that other files hide its packages.

`python -m` puts the working folder first on the module path, so a file `chaos.py` there would run in place of our
package. `-P` leaves the folder out (Python 3.11, "What's New"); the packages that are installed stay. `PYTHONPATH` is
read even so, and every child inherits it: what the command finds in its own path is what its children will find.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from midwatch.errors import MidwatchError

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds all of our packages, installed or in a clone."""

PACKAGES = ("midwatch", "monitors", "dashboards", "alerts", "chaos", "dr", "exporters")


def command(module: str, *arguments: str) -> list[str]:
    """Words that start a module of ours with this Python."""
    return [sys.executable, "-P", "-m", module, *arguments]


def leave_out_working_folder() -> None:
    """Undo what `python -m` without `-P` does to the module path, unless the working folder is our own."""
    if not sys.flags.safe_path and Path(sys.path[0]).resolve() != ROOT:
        del sys.path[0]


def ensure_not_hidden() -> None:
    """Raise MidwatchError, naming the file, when Python finds something else under the name of one of our packages."""
    for name in PACKAGES:
        file = _origin(name)
        if file is not None and not file.is_relative_to(ROOT / name):
            raise MidwatchError(_explanation(name, file))


def _origin(name: str) -> Path | None:
    """The file that an import of a package would run; None when there is none."""
    spec = find_spec(name)
    return Path(spec.origin).resolve() if spec and spec.origin else None


def _explanation(name: str, file: Path) -> str:
    """Which file hides a package, and what brought it onto the module path."""
    folder = (file.parent if file.name == "__init__.py" else file).parent
    for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        if Path(entry).resolve() == folder:
            remedy = f"take {entry or 'the empty entry'} out of PYTHONPATH, or rename the file"
            return f"{file} hides Midwatch's package {name}, because PYTHONPATH names {folder}; {remedy}"
    remedy = f"rename it, or take {folder} off Python's module path"
    return f"{file} hides Midwatch's package {name}; {remedy}"
