"""Running one experiment safely: preconditions, lease, watchdog, stop conditions, verdict, and what is left to read.

This process decides; it injects nothing. The experiment runs below the watchdog, which reverts whatever this process,
or itself, leaves behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import msgspec

from chaos import expectations, kept, lease, preconditions
from chaos.causes import Causes
from chaos.document import ACTIONS, PROBES, ActivityRun, Experiment, Journal, activities, extension
from chaos.places.place import Place
from chaos.preconditions import Precondition
from chaos.run import current, open_run, publish, recovery, verdict, watchdog
from chaos.run import plan as plans
from chaos.run.recovery import WatchdogOutcome
from chaos.run.result import Result, within
from chaos.run.result import activities as ran_activities
from chaos.run.sequential import StopCondition
from chaos.run.traffic import Traffic
from midwatch import anchors, files, modules, processes, telemetry
from midwatch.errors import MidwatchError
from midwatch.evidence import Head
from midwatch.prometheus import QueryError

LOOK_SECONDS = 1.0
"""Between two looks at preconditions and error rates, which ask Prometheus."""
SWITCH_SECONDS = 0.05
"""Between two looks at the kill switch, which is a file."""
CLEAN_SECONDS = 30.0 + watchdog.ROLLBACK_SECONDS
"""How long the watchdog may take to end by itself after a stop; then this process cleans up."""
LONGEST_SECONDS = 3600.0
"""How long an experiment may take that does not say so."""
LATE_SECONDS = 10.0
"""The watchdog ends an experiment at its time; so long after it nobody waits for the watchdog any more."""


@dataclass
class _Stop:
    """Why to stop, once it is known; the first reason counts."""

    reason: str = ""
    is_deviation: bool = False
    _event: threading.Event = field(default_factory=threading.Event)

    def set(self, reason: str, *, is_deviation: bool = False) -> None:
        if not self._event.is_set():
            self.reason, self.is_deviation = reason, is_deviation
            self._event.set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)


class Supervisor:
    """One run of one experiment at a place."""

    def __init__(self, place: Place, experiment: Experiment, say: Callable[[str], None]) -> None:
        self.place, self._experiment, self._say = place, experiment, say
        self._about = extension(experiment)
        self._run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        self._folder = place.home.runs / self._run
        self._log = place.log()
        self._lease = place.lease(f"{self._run}-{os.getpid()}")

    @property
    def name(self) -> str:
        """The experiment's name."""
        return plans.title_of(self._experiment)

    # Before ------------------------------------------------------------------------------------------------------

    def plan(self) -> plans.Plan:
        """Targets and preconditions, as they are now; nothing is changed."""
        asked = {"nothing else open": preconditions.nothing_open(self.place.home)}
        if self._lease is not None:
            asked["nothing else open in the cluster"] = preconditions.nothing_open_in_cluster(self._lease)
        return plans.plan(self.place, self._experiment, asked | self._preconditions())

    def _preconditions(self) -> dict[str, Precondition]:
        limits = self.place.chaos.guard
        asked = {"kill switch": preconditions.kill_switch(self.place.home.kill_switch)}
        if self._lease is not None:
            asked["kill switch of the cluster"] = self._is_not_stopped
        asked["time window"] = preconditions.window(limits.windows)
        if limits.forbid_pages:
            asked["no page firing"] = preconditions.no_page(self.place.prometheus)
        return asked | plans.of_error_budgets(self.place, self._experiment)

    def _is_not_stopped(self) -> str:
        if self._lease is not None and self._lease.is_stopped():
            raise preconditions.RefusalError(
                f"annotation {lease.STOP_ANNOTATION} is set: midwatch chaos stop --lift removes it"
            )
        return "not set"

    # The run -----------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Run it; everything that can be known is in the result. LeaseTakenError when another one runs."""
        processes.adopt_orphans()
        with ExitStack() as stack:
            lock = stack.enter_context(lease.on_this_machine(self.place.home.lock))
            stop = _Stop()
            stack.enter_context(_signals_stop(stop))
            if self._lease is not None:
                self._lease.take()
                stack.callback(self._give_back)
            self._recover(lock)
            result = self._recorded(stop, lock)
            for problem in publish.ended(self.place, result.document()):
                self._say(f"not told: {problem}")
            return result

    def _give_back(self) -> None:
        with contextlib.suppress(MidwatchError):
            assert self._lease is not None  # noqa: S101 - only called with one
            if not self.place.home.open_runs():
                self._lease.forget_faults()
            self._lease.give_back()

    def _recover(self, lock: int) -> None:
        """Revert what an earlier run left behind; MidwatchError when that is not possible."""
        if problems := recovery.recover(self.place, lock, self._say).problems:
            raise MidwatchError(f"an earlier run left a fault behind that cannot be reverted: {'; '.join(problems)}")

    def _recorded(self, stop: _Stop, lock: int) -> Result:
        begun, started_at = time.monotonic(), datetime.now(UTC)
        self._folder.mkdir(parents=True)
        file = self._folder / "experiment.json"
        text = json.dumps(self._experiment, indent=1).encode()
        files.replace(file, text)
        of = {"experiment": self.name, "sha256": hashlib.sha256(text).hexdigest(), **self.place.platform.place_labels}
        self._log.append("run-requested", run=self._run, **of)
        self._say("asking the preconditions")
        plan = plans.plan(self.place, self._experiment, self._preconditions())
        self._log.append("guards", run=self._run, decisions=[asdict(one) for one in plan.guards], hit=plan.hit)
        outcome: WatchdogOutcome = {"stopped": "", "problems": [], "seconds_to_clean": None}
        if plan.refusals:
            judgement = verdict.Judgement(verdict=verdict.Verdict.INCONCLUSIVE, reasons=tuple(plan.refusals))
            self._log.append("refused", run=self._run, reasons=plan.refusals)
            journal = None
        else:
            publish.running(self.place, self.name)
            outcome = self._watched(file, stop, lock)
            journal = _journal(self._folder)
            judgement = verdict.judge(
                journal,
                stopped=outcome["stopped"],
                deviation=stop.is_deviation,
                problems=list(outcome["problems"]),
                within=within,
            )
        ended = self._log.append(
            kept.ENDED,
            run=self._run,
            verdict=judgement.verdict.value,
            reasons=judgement.reasons,
            digests=kept.digests(self._folder, kept.BEFORE_THE_END),
            **outcome,
        )
        result = Result(
            platform=self.place.platform.platform,
            owner=plans.owner_of(self.place.platform, self._experiment),
            experiment=self.name,
            kind=plan.kind,
            model=plans.model_of(self._experiment),
            verdict=judgement.verdict,
            reasons=judgement.reasons,
            run=self._run,
            started_at=started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            seconds=round(time.monotonic() - begun, 2),
            hit=plan.hit,
            candidates=plan.candidates,
            blast_radius=plan.blast_radius,
            expected_alert=plan.expected_alert,
            refused=bool(plan.refusals),
            stopped=outcome["stopped"],
            seconds_to_clean=outcome["seconds_to_clean"],
            problems=tuple(outcome["problems"]),
            clean=outcome["seconds_to_clean"] is not None and not outcome["problems"],
            guards=plan.guards,
            activities=tuple(ran_activities(journal)),
            evidence=str(self.place.home.evidence),
            evidence_head={"seq": ended.seq, "hash": ended.hash},
            folder=str(self._folder),
        )
        files.replace(self._folder / kept.RESULT, json.dumps(result.document(), default=str, indent=1).encode())
        return result

    def seal(self) -> None:
        """Put on record what the run has left, and keep the log's head outside of it; MidwatchError when that fails."""
        record = kept.seal(self._log, self._run, self._folder)
        if self.place.anchor_file is not None:
            anchors.keep(self.place.anchor_file, kept.log_name(self._log.path), Head(seq=record.seq, hash=record.hash))

    def _watched(self, file: Path, stop: _Stop, lock: int) -> WatchdogOutcome:
        """Outcome of the watchdog."""
        longest = float(self._about.get("longest_seconds") or LONGEST_SECONDS)
        self._open(file)
        process = subprocess.Popen(
            self._watchdog_command(file, longest),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self.place.environment(), **telemetry.trace_environment()},
            start_new_session=True,
            pass_fds=(lock,),
        )
        with process:
            looking = threading.Thread(target=self._look, args=(stop, process), name="looking", daemon=True)
            looking.start()
            self._say("running")
            self._wait(stop, process, time.monotonic() + longest + LATE_SECONDS)
            if process.poll() is None:
                self._say(f"stopping: {stop.reason}")
            return self._outcome(process, stop.reason, lock)

    def _open(self, file: Path) -> None:
        """Write down what ends the run when nobody is left who knows of it."""
        key_file = self.place.key_file
        files.replace(self._folder / current.CAUSES, msgspec.json.encode(self._causes))
        run = open_run.OpenRun(
            log=str(self.place.home.evidence.resolve()),
            key_file=str(key_file.resolve()) if key_file else None,
            folder=str(Path.cwd()),
            environment=self.place.environment(),
            rollbacks=[*self._runner_command(file), "--only-rollbacks"] if self._has_own_rollbacks() else [],
            told=modules.command("chaos.run.publish"),
        )
        open_run.write(self._folder, run)

    @cached_property
    def _causes(self) -> Causes:
        """Which pages the faults can be the cause of."""
        return expectations.causes(self.place.platform, plans.kinds_and_models(self._experiment), self._expected())

    def _expected(self) -> list[str]:
        """Alerts that the experiment waits for."""
        providers = [one.get("provider") or {} for _, one in activities(self._experiment)]
        asked = [(one.get("arguments") or {}).get("alert") for one in providers if one.get("module") == PROBES]
        return sorted({str(alert) for alert in [self._about.get("expected_alert"), *asked] if alert})

    def _has_own_rollbacks(self) -> bool:
        rollbacks = self._experiment.get("rollbacks") or []
        return any((one.get("provider") or {}).get("module") != ACTIONS for one in rollbacks)

    def _wait(self, stop: _Stop, process: subprocess.Popen[bytes], deadline: float) -> None:
        """Until the watchdog has ended, or there is a reason to stop it: that it does nothing any more is one."""
        watchdog_identity = processes.identify(process.pid)
        while process.poll() is None and not stop.wait(SWITCH_SECONDS):
            if self.place.home.kill_switch.exists():
                stop.set("the kill switch was set")
            elif watchdog_identity and watchdog_identity.is_stopped:
                stop.set("the watchdog was stopped, so that nobody would have ended the experiment")
            elif time.monotonic() > deadline:
                stop.set("it took longer than it may, and its watchdog did not end it")
        # `chaos stop` sets the switch and then ends what runs: the end may be seen first.
        if self.place.home.kill_switch.exists():
            stop.set("the kill switch was set")

    def _runner_command(self, file: Path) -> list[str]:
        runner = modules.command("chaos.run.runner", str(file.resolve()))
        runner += ["--journal", str(self._folder.resolve() / "journal.json")]
        key_file = self.place.key_file
        key = ["--key-file", str(key_file.resolve())] if key_file else []
        return [*runner, "--log", str(self.place.home.evidence.resolve()), *key]

    def _watchdog_command(self, file: Path, longest: float) -> list[str]:
        watching = watchdog.command(
            self._folder, self.place.home.evidence, self.place.key_file, "--seconds", f"{longest:g}"
        )
        without = ["--without-rollbacks"] if self._has_own_rollbacks() else []
        return [*watching, "--", *self._runner_command(file), *without]

    def _outcome(self, process: subprocess.Popen[bytes], reason: str, lock: int) -> WatchdogOutcome:
        """Tell the watchdog to stop, if there is a reason, and wait for what it says; do its work if it cannot."""
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - pipes of our own
        if reason:
            with contextlib.suppress(OSError):
                process.stdin.write(reason.replace("\n", " ").encode() + b"\n")
                process.stdin.flush()
        identity = processes.identify(process.pid)
        is_stuck = identity is not None and identity.is_stopped
        line = b"" if is_stuck else _line(process.stdout, CLEAN_SECONDS)
        if line:
            outcome: WatchdogOutcome = json.loads(line)
            # A runner that ends while it is told to is stopped all the same.
            return {**outcome, "stopped": outcome["stopped"] or reason}
        process.kill()
        process.wait()
        processes.end_tree(lambda: processes.descendants(os.getpid()))
        return {
            **recovery.clean_up(self._folder, self.place.home, lock, self.place.key_file),
            "stopped": reason or "the watchdog was killed",
        }

    def _look(self, stop: _Stop, process: subprocess.Popen[bytes]) -> None:
        """Look at preconditions and error rates while it runs."""
        try:
            self._look_on(stop, process)
        except Exception as error:  # whatever it is: without a look the experiment must not go on
            stop.set(f"what has to be watched cannot be: {error or type(error).__name__}")

    def _look_on(self, stop: _Stop, process: subprocess.Popen[bytes]) -> None:
        condition = self._condition()
        model = str(self._about.get("model") or plans.model_of(self._experiment) or self.place.platform.models[0].name)
        traffic = Traffic(self.place.prometheus, model, self._about.get("versions", ()))
        window = preconditions.window(self.place.chaos.guard.windows)
        asked = [*plans.of_error_budgets(self.place, self._experiment).values(), self._no_other_page]
        seen = time.monotonic()
        while process.poll() is None:
            if self._lease is not None:
                self._lease.renew()
                self._is_not_stopped()
            try:
                self._ensure_place()
                window()
                for one in asked:
                    one()
                condition.observe(*traffic.since())
                seen = time.monotonic()
            except preconditions.RefusalError as error:
                stop.set(str(error))
            except (QueryError, preconditions.NoDataError) as error:
                if self._may_be_blind(error):
                    seen = time.monotonic()
                elif time.monotonic() - seen > self.place.chaos.stop.blind_for:
                    stop.set(f"no data for {self.place.chaos.stop.blind_for:g} s: {error}")
            if reason := condition.reason():
                stop.set(reason, is_deviation=True)
            if stop.wait(LOOK_SECONDS):
                return

    def _ensure_place(self) -> None:
        if not self.place.is_there():
            raise preconditions.RefusalError("the plane has ended")

    def _may_be_blind(self, error: Exception) -> bool:
        """Whether the fault itself is why nothing is seen: only while it is there, and only what it takes away."""
        if not any((self._folder / "faults").glob("*.json")):
            return False
        return bool(self._about.get("silences" if isinstance(error, QueryError) else "blinds"))

    def _no_other_page(self) -> str:
        """No page fires that the fault cannot have caused."""
        if not self.place.chaos.guard.forbid_pages:
            return "not asked"
        firing = self.place.prometheus.query('ALERTS{alertstate="firing", severity="page"}')
        others = self._causes.others([one.labels for one in firing], current.alerts_before(self._folder))
        if others:
            raise preconditions.RefusalError(f"a page of another cause fires: {', '.join(others)}")
        return "no other page fires"

    def _condition(self) -> StopCondition:
        tolerated = float(self.place.chaos.stop.tolerated_errors)
        return StopCondition(
            target_tolerated=self._about.get("tolerated_errors", tolerated),
            control_tolerated=tolerated,
            false_stops=float(self.place.chaos.stop.false_stops),
        )


@contextmanager
def _signals_stop(stop: _Stop) -> Iterator[None]:
    """SIGTERM and Ctrl-C stop the experiment; the command then ends with its verdict."""
    before = {}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        before[number] = signal.signal(number, lambda got, _frame: stop.set(f"{signal.Signals(got).name} was sent"))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _journal(folder: Path) -> Journal | None:
    """The journal, with what the rollbacks did that ran in a process of their own."""
    journal: Journal | None = _read(folder / "journal.json")
    rolled_back: list[ActivityRun] | None = _read(folder / "rollbacks.json")
    if journal is not None and rolled_back is not None:
        journal["rollbacks"] = rolled_back
    return journal


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _line(stream: IO[bytes], seconds: float) -> bytes:
    """A line of a stream, empty when none comes in time or it ends."""
    lines: list[bytes] = []
    thread = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
    thread.start()
    thread.join(seconds)
    return lines[0] if lines else b""
