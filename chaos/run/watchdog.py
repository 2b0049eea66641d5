"""The process between the command and the experiment: whatever happens to either, the fault ends and is reverted.

`python -m chaos.run.watchdog FOLDER -- RUNNER...` starts the runner as its child and waits for the first of: the
runner's end, a line on standard input (a reason to stop), the end of standard input (the command is gone), SIGTERM, the
deadline. It then ends the whole tree of the run and reverts every fault that the ledger still has. Its last line on
standard output is the outcome as JSON. `--of PID` watches a process that is there already, such as a plain `chaos run`.

It imports little, because a fault must not wait for a library.
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
from midwatch import evidence, modules, processes

RUN_VARIABLE = "MIDWATCH_CHAOS_RUN"
"""In the environment of a run's processes: its folder. It marks the tree that has to end."""

GRACE_SECONDS = 0.45
"""For the runner's own rollbacks after it was told to stop; then it is killed and its faults are reverted from here."""
POLL_SECONDS = 0.02
ROLLBACK_SECONDS = 60.0


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

    def run(self, command: Sequence[str], *, has_rollbacks: bool = False) -> Outcome:
        """Start the runner and see it through.

        With `has_rollbacks` a runner that was killed is started again with `--only-rollbacks`.
        """
        processes.adopt_orphans()
        runner = self._start(command)
        self._say("runner-started", runner=runner.pid)
        stopped = self._wait(lambda: runner.poll() is not None)
        begun = time.monotonic()
        if stopped:
            self._say("stopping", reason=stopped)
            processes.send(runner.pid, signal.SIGUSR1)
            processes.wait_until(lambda: runner.poll() is not None, GRACE_SECONDS)
        code = runner.poll()
        outcome = self._clean(code, stopped, begun)
        if has_rollbacks and (code is None or code < 0):
            outcome = replace(outcome, problems=[*outcome.problems, *self._roll_back(command)])
        return outcome

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

    def _roll_back(self, command: Sequence[str]) -> list[str]:
        """Run the experiment's own rollbacks; what they could not do, in words."""
        try:
            code = self._start([*command, "--only-rollbacks"]).wait(ROLLBACK_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        processes.end_tree(self._tree)
        self._say("rollbacks-run", code=code)
        return [] if code == 0 else [f"the experiment's own rollbacks ended with {code}; see runner.log"]

    def watch(self, pid: int) -> Outcome:
        """See a process through that somebody else started."""
        identity = processes.identify(pid)
        stopped = self._wait(lambda: identity is None or not identity.is_alive)
        return self._clean(None, stopped, time.monotonic())

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
            return line.strip() or "the command is gone"
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


def main() -> None:
    """Watch as the command line says; exit code 0 when all is clean, 1 when something stays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the run")
    parser.add_argument("--log", type=Path, required=True, help="evidence log")
    parser.add_argument("--key-file", type=Path, help="key of the evidence log")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--of", type=int, help="watch this process instead of starting one")
    parser.add_argument("--rollbacks", action="store_true", help="if the runner is killed, start it for its rollbacks")
    place = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, command = sys.argv[1:place], sys.argv[place + 1 :]
    given = parser.parse_args(options)
    key = evidence.read_key(given.key_file) if given.key_file else b""
    deadline = None if given.seconds is None else time.monotonic() + given.seconds
    watchdog = Watchdog(given.folder, evidence.Log(given.log, key=key), deadline)
    outcome = watchdog.watch(given.of) if given.of else watchdog.run(command, has_rollbacks=given.rollbacks)
    with contextlib.suppress(OSError):  # nobody may read it any more; the evidence has it
        print(json.dumps(asdict(outcome)), flush=True)  # noqa: T201 - the outcome, for whoever started it
    sys.exit(0 if outcome.is_clean else 1)


if __name__ == "__main__":
    main()
