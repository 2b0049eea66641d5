"""What a drill leaves as it found it: the copy's champion. Kept in a file before anything changes, and put back after.

`python -m monitors.loop.drill.restoring PLATFORM MODEL` is the process beside a drill. It waits for the end of its
standard input, which comes however the drill ends, `kill -9` included, and puts back what is still in the file.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from midwatch import files, modules, registry
from midwatch.errors import MidwatchError
from midwatch.registry import Registered
from midwatch.rest import Api
from midwatch.spec import load
from midwatch.spec.model import Model, Platform
from midwatch.spec.observed.mlflow import MlflowObserved
from monitors.loop.drill.looking import PROMOTED_BY

OPEN = "open.json"
"""Name of the file, in the folder of the drills' evidence; while it is there, a drill has something open."""
RESTORER = "midwatch loop drill, which put back the champion of before"
COMMAND_SECONDS = 300.0


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """What a drill has to put back: who was champion in the registry before it."""

    run: str
    model: str
    name: str
    alias: str
    champion: str


def observed(platform: Platform, model: Model) -> tuple[MlflowObserved, str]:
    """The registry that is asked about a model, and its name there; MidwatchError where none is."""
    use = platform.systems.get("mlflow")
    section = use.observe if use else None
    if not isinstance(section, MlflowObserved):
        raise MidwatchError("a drill of the loop asks the registry itself: add systems.mlflow.observe")
    names = section.registered([one.name for one in platform.models])
    if model.name not in names:
        raise MidwatchError(f"systems.mlflow.observe.models has no {model.name}: add the copy's registered model")
    return section, names[model.name]


def champion(section: MlflowObserved, registered: Registered) -> str:
    """Number of the version that is champion; empty without one, or with several."""
    if section.stage:
        found = registered.in_stage(section.stage)
        return found[0] if len(found) == 1 else ""
    return registered.aliases.get(section.role, "")


def keep(folder: Path, what: Open) -> None:
    """Write down what has to be put back, durably."""
    folder.mkdir(parents=True, exist_ok=True)
    files.replace(folder / OPEN, msgspec.json.encode(what))


def left(folder: Path) -> Open | None:
    """What a drill has left open; MidwatchError when the file says nothing that can be read."""
    path = folder / OPEN
    try:
        return msgspec.json.decode(path.read_bytes(), type=Open)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise MidwatchError(f"{path}: {error}; look at the copy's champion yourself, and remove the file") from error


def restore(platform: Platform, model: Model, folder: Path) -> str:
    """Put back what is open, and close it; what was done, in words. MidwatchError when it could not be done."""
    what = left(folder)
    if what is None:
        return "nothing was open"
    section, _ = observed(platform, model)
    api = Api(section.url, section.auth, section.timeout)
    now = champion(section, registry.ask(api, what.name))
    said = f"the champion of {what.name} is {now or 'nobody'}, as before"
    if now != what.champion and not what.champion:
        said = f"{what.name} had no champion before, and version {now} is it: remove the alias {what.alias} yourself"
    elif now != what.champion:
        tag = {"name": what.name, "version": what.champion, "key": PROMOTED_BY, "value": RESTORER}
        api.found(f"{registry.API}/model-versions/set-tag", tag)
        moved = {"name": what.name, "alias": what.alias, "version": what.champion}
        api.found(f"{registry.API}/registered-models/alias", moved)
        if (after := champion(section, registry.ask(api, what.name))) != what.champion:
            raise MidwatchError(f"{what.name}: the champion is {after or 'nobody'} and was to be {what.champion}")
        said = f"version {what.champion} of {what.name} is champion again"
    drill = model.loop.drill if model.loop else None
    if drill is not None and drill.restore:
        _run(drill.restore)
    (folder / OPEN).unlink(missing_ok=True)
    return said


def _run(command: list[str]) -> None:
    """The site's own command, with nothing to read and a time within which it has to end."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MidwatchError(f"loop.drill.restore: {error}") from error
    if done.returncode:
        raise MidwatchError(f"loop.drill.restore ended with {done.returncode}: {done.stderr.strip()[-300:]}")


@contextmanager
def guarded(platform_file: Path, model: str, log: Path) -> Iterator[None]:
    """While the block runs a process of its own waits for this one's end, to put back what is open then."""
    with log.open("ab") as written:
        waiting = subprocess.Popen(
            modules.command("monitors.loop.drill.restoring", str(platform_file.resolve()), model),
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=written,
            start_new_session=True,  # a Ctrl-C at the terminal is the drill's, which restores by itself
        )
    try:
        yield
    finally:
        if waiting.stdin:
            waiting.stdin.close()
        waiting.wait()


def main(arguments: list[str]) -> int:
    """Wait until the drill is gone, and put back what it has left."""
    file, name = Path(arguments[0]), arguments[1]
    sys.stdin.buffer.read()
    platform = load.load_platform(file)
    model = next(one for one in platform.models if one.name == name)
    if platform.loop is None:
        return 2
    try:
        said = restore(platform, model, load.base_folder(file) / platform.loop.evidence.folder)
        sys.stdout.write(f"{said}\n")
    except MidwatchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
