"""The process between the command and the experiment: whatever happens to either, the fault ends and is reverted.

`python -m chaos.run.watchdog FOLDER -- RUNNER...` starts the runner as its child and waits for the first of: the
runner's end, a line on standard input (a reason to stop), the end of standard input (the command is gone), SIGTERM, the
deadline. It then ends the whole tree of the run and reverts every fault that the ledger still has. Its last line on
standard output is the outcome as JSON. `--of PID` watches a process that is there already, such as a plain `chaos run`.

Then come the experiment's own rollbacks, in a process of their own that nothing is ended after: what they start may
live on. Last the run is closed. It imports little, because a fault must not wait for a library.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType

from chaos import faults
from chaos.run import open_run
from midwatch import evidence, modules, processes

RUN_VARIABLE = "MIDWATCH_CHAOS_RUN"
"""In the environment of a run's processes: its folder. It marks the tree that has to end."""

GRACE_SECONDS = 0.45
"""For the runner's own rollbacks after it was told to stop; then it is killed and its faults are reverted from here."""
POLL_SECONDS = 0.02
ROLLBACK_SECONDS = 60.0
TOLD_SECONDS = 20.0
COMMAND_GONE = "the command is gone"
ROLLBACKS_FAILED = "a rollback of the experiment's own failed; see runner.log"


def command(folder: Path, log: Path, key_file: Path | None, *options: str) -> list[str]:
    """Words that start a watchdog."""
    words = [str(folder), "--log", str(log), *(["--key-file", str(key_file)] if key_file else [])]
    return [*modules.command("chaos.run.watchdog"), *words, *options]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. `stopped` says why it was stopped, empty when it ended by itself; `problems` is what stays."""

    code: int | None
    stopped: str
    seconds_to_clean: float
    problems: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether no process and no fault stays."""
        return not self.problems


class Watchdog:
    """Watches one run in its folder."""

    def __init__(self, folder: Path, log: evidence.Log, deadline: float | None = None) -> None:
        self._folder, self._ledger = folder.resolve(), faults.Ledger(folder.resolve(), log)
        self._log, self._deadline = log, deadline
        self._reason = ""

    def run(self, command: Sequence[str]) -> Outcome:
        """Start the runner and see it through."""
        processes.adopt_orphans()
        runner = self._start(command)
        self._say("runner-started", runner=runner.pid)
        stopped = self._wait(lambda: runner.poll() is not None)
        begun = time.monotonic()
        if stopped:
            self._say("stopping", reason=stopped)
            processes.send(runner.pid, signal.SIGUSR1)
            processes.wait_until(lambda: runner.poll() is not None, GRACE_SECONDS)
        return self._close(self._clean(runner.poll(), stopped, begun))

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._folder / "runner.log").open("ab") as output:
            return subprocess.Popen(
                command,
                env={**os.environ, RUN_VARIABLE: str(self._folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=processes.end_with_parent,  # noqa: PLW1509 - one system call
            )

    def _close(self, outcome: Outcome) -> Outcome:
        """Play the experiment's own rollbacks once all else is over, and close the run when nothing of it is left."""
        run = open_run.read(self._folder)
        problems = [*outcome.problems, *(self._roll_back(run) if run and run.rollbacks else [])]
        if not problems or problems == [ROLLBACKS_FAILED]:
            open_run.close(self._folder)
        if run and run.told and outcome.stopped == COMMAND_GONE:
            self._tell(run)
        return replace(outcome, problems=problems)

    def _roll_back(self, run: open_run.OpenRun) -> list[str]:
        """Run the experiment's own rollbacks; what they could not do, in words."""
        code = self._done(run, run.rollbacks, ROLLBACK_SECONDS)
        self._say("rollbacks-run", code=code)
        if code is None or code < 0:
            how = "were killed" if code else f"did not end within {ROLLBACK_SECONDS:g} s"
            where = f"undo it by hand and remove {self._folder / 'open.json'}"
            return [f"the experiment's own rollbacks {how}, see runner.log; the next run plays them again, or {where}"]
        return [] if code == 0 else [ROLLBACKS_FAILED]

    def _tell(self, run: open_run.OpenRun) -> None:
        code = self._done(run, run.told, TOLD_SECONDS)
        self._say("told-that-nothing-runs", code=code)

    def _done(self, run: open_run.OpenRun, command: Sequence[str], seconds: float) -> int | None:
        """A command of the run's: its code, None when it did not end in time. What it starts is not waited for."""
        try:
            with (self._folder / "runner.log").open("ab") as output:
                process = subprocess.Popen(
                    command,
                    cwd=run.folder if Path(run.folder).is_dir() else None,
                    env={**os.environ, **run.environment, RUN_VARIABLE: str(self._folder)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            print(f"{command[0]}: {error}", file=sys.stderr)  # noqa: T201 - whoever started us reads it
            return None
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            processes.end_tree(lambda: {process.pid, *processes.descendants(process.pid)})
            return None

    def watch(self, pid: int) -> Outcome:
        """See a process through that somebody else started."""
        identity = processes.identify(pid)
        stopped = self._wait(lambda: identity is None or not identity.is_alive)
        return self._close(self._clean(None, stopped, time.monotonic()))

    def _wait(self, has_ended: Callable[[], bool]) -> str:
        """Why to stop, empty when the run ended by itself."""

        def terminate(_number: int, _frame: FrameType | None) -> None:
            self._reason = self._reason or "the watchdog was told to end"

        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; the command passes it on
        while not has_ended():
            if self._reason:
                return self._reason
            if self._deadline is not None and time.monotonic() > self._deadline:
                return "it took longer than it may"
            if not select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
                continue
            line = sys.stdin.readline()
            return line.strip() or COMMAND_GONE
        return ""

    def _clean(self, code: int | None, stopped: str, begun: float) -> Outcome:
        left = processes.end_tree(self._tree)
        problems = [f"process {pid} of the run could not be ended" for pid in sorted(left)]
        problems += self._ledger.revert_all()
        outcome = Outcome(
            code=code, stopped=stopped, seconds_to_clean=round(time.monotonic() - begun, 4), problems=problems
        )
        self._say("clean" if outcome.is_clean else "not-clean", **asdict(outcome))
        return outcome

    def _tree(self) -> set[int]:
        own = {os.getpid(), os.getppid()}
        return (processes.descendants(os.getpid()) | processes.marked(RUN_VARIABLE, str(self._folder))) - own

    def _say(self, kind: str, **data: object) -> None:
        try:
            self._log.append(kind, run=self._folder.name, **data)
        except evidence.EvidenceError as error:
            print(error, file=sys.stderr)  # noqa: T201 - reverting goes on when the log cannot be written


def _log(path: Path, key_file: Path | None, folder: Path) -> evidence.Log:
    """The evidence log; one of the run's own where the key cannot be read, because reverting must not wait for it."""
    try:
        return evidence.Log(path, key=evidence.read_key(key_file) if key_file else b"")
    except evidence.EvidenceError as error:
        own = folder / "evidence.jsonl"
        print(f"{error}; the evidence goes to {own}, without a key", file=sys.stderr)  # noqa: T201
        return evidence.Log(own)


def main() -> None:
    """Watch as the command line says; exit code 0 when all is clean, 1 when something stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the run")
    parser.add_argument("--log", type=Path, required=True, help="evidence log")
    parser.add_argument("--key-file", type=Path, help="key of the evidence log")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--of", type=int, help="watch this process instead of starting one")
    place = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, command = sys.argv[1:place], sys.argv[place + 1 :]
    given = parser.parse_args(options)
    deadline = None if given.seconds is None else time.monotonic() + given.seconds
    watchdog = Watchdog(given.folder, _log(given.log, given.key_file, given.folder), deadline)
    outcome = watchdog.watch(given.of) if given.of else watchdog.run(command)
    with contextlib.suppress(OSError):  # nobody may read it any more; the evidence has it
        print(json.dumps(asdict(outcome)), flush=True)  # noqa: T201 - the outcome, for whoever started it
    sys.exit(0 if outcome.is_clean else 1)


if __name__ == "__main__":
    main()
