"""Record what real programs expose, `python -m scripts.recordings [SYSTEM…]`; `--check` compares and writes nothing.

Programs that are not here are said and left out. Exit code 0 when all that are here were recorded, or say what the
folders say, 1 when one does not, 3 when none is here.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import scripts.recordings
from midwatch import files, system_recordings
from midwatch.spec import system_rules
from midwatch.spec.systems import parse_version
from midwatch.system_recordings import FOLDER, IDLE, Recording
from scripts.recordings.recorder import Program, RecordingError

SYSTEMS = Path("midwatch/systems")


def modules() -> Iterator[ModuleType]:
    """What records a system each."""
    for found in pkgutil.iter_modules(scripts.recordings.__path__):
        module = import_module(f"scripts.recordings.{found.name}") if found.name != "__main__" else None
        if hasattr(module, "SYSTEM") and module is not None:
            yield module


def main() -> int:
    """Record, or check; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.recordings", description=__doc__)
    parser.add_argument("systems", nargs="*")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    codes = [
        _one(module, program, write=not given.check)
        for module in modules()
        if not given.systems or module.SYSTEM in given.systems
        for program in _programs(module)
    ]
    return max(codes, default=3)


def _programs(module: ModuleType) -> list[Program]:
    programs = list(module.programs())
    if not programs:
        _say(f"{module.SYSTEM}: no program of it is here")
    return programs


def _one(module: ModuleType, program: Program, *, write: bool) -> int:
    """Record one program; 1 when that fails or differs from the folder."""
    with tempfile.TemporaryDirectory(prefix="midwatch-recording-") as name:
        try:
            expositions = module.record(program, Path(name))
        except RecordingError as error:
            _say(f"{module.SYSTEM} {program.version}: {error}")
            return 1
    about = f"{module.SYSTEM} {program.version}\n{(module.__doc__ or '').splitlines()[0]}"
    described = system_rules.system(module.SYSTEM)
    kept = {suffix: system_recordings.written(text, about, described) for suffix, text in expositions.items()}
    if write:
        folder = SYSTEMS / module.SYSTEM / FOLDER
        folder.mkdir(exist_ok=True)
        for suffix, text in kept.items():
            files.replace(folder / f"{program.version}{suffix}.prom", text.encode())
    recordings = [_recording(program, suffix, text) for suffix, text in kept.items()]
    problems = list(system_recordings.find_problems(described, recordings))
    for place, message, remedy in problems:
        _say(f"{module.SYSTEM} {program.version}: {'.'.join(map(str, place))}: {message}; {remedy}")
    _say(f"{module.SYSTEM} {program.version}: {len(kept[''].splitlines())} lines, {len(problems)} differences")
    return 1 if problems else 0


def _recording(program: Program, suffix: str, text: str) -> Recording:
    return Recording(
        file=f"{program.version}{suffix}.prom",
        version=parse_version(program.version),
        is_idle=suffix == IDLE,
        text=text,
    )


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
