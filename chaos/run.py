"""Running one experiment safely: guards, lease, plan, watchdog, stop conditions, verdict, and what is left to read.

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
from pathlib import Path
from typing import IO, Any

from chaos import actions, experiments, faults, guards, lease, publish, runs, verdict
from chaos.sequential import StopCondition
from chaos.targets import Prepared
from chaos.traffic import Traffic
from midwatch import files, modules, processes, telemetry
from midwatch.errors import MidwatchError
from midwatch.prometheus import QueryError
from midwatch.spec.chaos import Chaos

LOOK_SECONDS = 1.0
"""Between two looks at guards and error rates, which ask Prometheus."""
SWITCH_SECONDS = 0.05
"""Between two looks at the kill switch, which is a file."""
CLEAN_SECONDS = 30.0
"""How long the watchdog may take to end by itself after a stop; then this process cleans up."""

Document = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do: its targets, how far it reaches, and what the guards say now."""

    experiment: str
    title: str
    kind: str
    blast_radius: str
    expected_alert: str
    hit: tuple[str, ...]
    candidates: tuple[str, ...]
    what: tuple[str, ...]
    guards: tuple[guards.Decision, ...]
    problem: str = ""

    @property
    def refusals(self) -> list[str]:
        """Why it may not start, empty when it may."""
        return [*([self.problem] if self.problem else []), *guards.refusals(self.guards)]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run has shown, and where its evidence is. Times are RFC 3339 in UTC, durations seconds."""

    experiment: str
    kind: str
    verdict: verdict.Verdict
    reasons: tuple[str, ...]
    run: str
    started_at: str
    seconds: float
    hit: tuple[str, ...]
    candidates: tuple[str, ...]
    blast_radius: str
    expected_alert: str
    refused: bool
    stopped: str
    seconds_to_clean: float | None
    problems: tuple[str, ...]
    guards: tuple[guards.Decision, ...]
    activities: tuple[Document, ...]
    evidence: str
    evidence_head: Document | None
    folder: str

    def document(self) -> Document:
        """As JSON has it."""
        return asdict(self) | {"verdict": self.verdict.value, "exit": int(self.verdict.exit)}


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

    def __init__(self, place: runs.Place, document: Document, say: Say) -> None:
        self.place, self._document, self._say = place, document, say
        self._about = experiments.extension(document)
        self._chaos: Chaos = place.platform.chaos or Chaos()
        self._run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        self._folder = place.home.runs / self._run
        self._log = place.log()
        self._lease = place.lease(f"{self._run}-{os.getpid()}")

    @property
    def name(self) -> str:
        """The experiment's name."""
        return str(self._about.get("experiment") or self._document.get("title"))

    # Before ------------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Targets and guards, as they are now; nothing is changed."""
        prepared, problem = self._prepared()
        hit = [target for one in prepared for target in one.hit]
        candidates = [target for one in prepared for target in one.candidates]
        return Plan(
            experiment=self.name,
            title=str(self._document["title"]),
            kind=str(self._about.get("kind", "")),
            blast_radius=str(self._about.get("blast_radius", "not stated")),
            expected_alert=str(self._about.get("expected_alert", "")),
            hit=tuple(dict.fromkeys(hit)),
            candidates=tuple(dict.fromkeys(candidates)),
            what=tuple(fault.describe() for one in prepared for fault in one.faults),
            guards=tuple(guards.decide_all(self._guards(), self._chaos.guard.timeout)),
            problem=problem,
        )

    def _prepared(self) -> tuple[list[Prepared], str]:
        """What the experiment's actions would hit, by the arguments that stand in its file, or why they cannot."""
        found: list[Prepared] = []
        for activity in self._document.get("method", ()):
            provider = activity.get("provider", {})
            if provider.get("module") != "chaos.actions" or provider.get("func") == "revert":
                continue
            try:
                kind, settings = actions.asked(provider["func"], provider.get("arguments", {}))
                found.append(self.place.target.prepare(kind, settings))
            except (MidwatchError, OSError, ValueError, TypeError) as error:
                return found, f"targets: {error}"
        return found, ""

    def _guards(self) -> dict[str, guards.Guard]:
        limits = self._chaos.guard
        found = {"kill switch": guards.kill_switch(self.place.home.kill_switch)}
        if self._lease is not None:
            found["kill switch of the cluster"] = self._is_not_stopped
        found["time window"] = guards.window(limits.windows)
        if limits.forbid_pages:
            found["no page firing"] = guards.no_page(self.place.prometheus)
        return found | self._budget_guards()

    def _budget_guards(self) -> dict[str, guards.Guard]:
        least = self._chaos.guard.error_budget
        if least is None:
            return {}
        return {
            f"error budget of {model.name}": guards.error_budget(self.place.prometheus, model, float(least))
            for model in self.place.platform.models
            if model.name == self._about.get("model", model.name)
        }

    def _is_not_stopped(self) -> str:
        if self._lease is not None and self._lease.is_stopped():
            raise guards.RefusalError(
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
            return self._guarded(stop, lock)

    def _give_back(self) -> None:
        with contextlib.suppress(MidwatchError):
            assert self._lease is not None  # noqa: S101 - only called with one
            if not self.place.home.open_runs():
                self._lease.forget_faults()
            self._lease.give_back()

    def _recover(self, lock: int) -> None:
        """Revert what an earlier run left behind; MidwatchError when that is not possible."""
        if problems := recover(self.place, lock, self._say):
            raise MidwatchError(f"an earlier run left a fault behind that cannot be reverted: {'; '.join(problems)}")

    def _guarded(self, stop: _Stop, lock: int) -> Result:
        begun, started_at = time.monotonic(), datetime.now(UTC)
        self._folder.mkdir(parents=True)
        file = self._folder / "experiment.json"
        text = json.dumps(self._document, indent=1).encode()
        files.replace(file, text)
        self._log.append("run-requested", run=self._run, experiment=self.name, sha256=hashlib.sha256(text).hexdigest())
        self._say("asking the guards")
        plan = self.plan()
        self._log.append("guards", run=self._run, decisions=[asdict(one) for one in plan.guards], hit=plan.hit)
        outcome: Document = {"stopped": "", "problems": [], "seconds_to_clean": None}
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
                within=_within,
            )
        ended = self._log.append(
            "run-ended", run=self._run, verdict=judgement.verdict.value, reasons=judgement.reasons, **outcome
        )
        result = Result(
            experiment=self.name,
            kind=plan.kind,
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
            guards=plan.guards,
            activities=tuple(_activities(journal)),
            evidence=str(self.place.home.evidence),
            evidence_head={"seq": ended.seq, "hash": ended.hash},
            folder=str(self._folder),
        )
        files.replace(self._folder / "result.json", json.dumps(result.document(), default=str, indent=1).encode())
        return result

    def _watched(self, file: Path, stop: _Stop, lock: int) -> Document:
        """Outcome of the watchdog."""
        longest = float(self._about.get("longest_seconds") or 3600.0)
        watchdog = subprocess.Popen(
            self._watchdog_command(file, longest),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self.place.environment(), **telemetry.trace_environment()},
            start_new_session=True,
            pass_fds=(lock,),
        )
        with watchdog:
            looking = threading.Thread(target=self._look, args=(stop, watchdog), name="looking", daemon=True)
            looking.start()
            self._say("running")
            while watchdog.poll() is None and not stop.wait(SWITCH_SECONDS):
                if self.place.home.kill_switch.exists():
                    stop.set("the kill switch was set")
            if watchdog.poll() is None:
                self._say(f"stopping: {stop.reason}")
            return self._outcome(watchdog, stop.reason, lock)

    def _watchdog_command(self, file: Path, longest: float) -> list[str]:
        key = runs.key_file(self.place.platform, self.place.platform_file)
        log = ["--log", str(self.place.home.evidence), *(["--key-file", str(key)] if key else [])]
        own = [*_modules(self._document.get("rollbacks", ()))] != ["chaos.actions"]
        command = [*modules.command("chaos.watchdog"), str(self._folder), *log, "--seconds", f"{longest:g}"]
        command += ["--rollbacks"] if own and self._document.get("rollbacks") else []
        runner = [*modules.command("chaos.runner"), str(file), "--journal", str(self._folder / "journal.json")]
        return [*command, "--", *runner, *log]

    def _outcome(self, watchdog: subprocess.Popen[bytes], reason: str, lock: int) -> Document:
        """Tell the watchdog to stop, if there is a reason, and wait for what it says; do its work if it cannot."""
        assert watchdog.stdin is not None and watchdog.stdout is not None  # noqa: S101 - pipes of our own
        if reason:
            with contextlib.suppress(OSError):
                watchdog.stdin.write(reason.replace("\n", " ").encode() + b"\n")
                watchdog.stdin.flush()
        line = _line(watchdog.stdout, CLEAN_SECONDS)
        if line:
            outcome: Document = json.loads(line)
            return outcome
        watchdog.kill()
        watchdog.wait()
        processes.end_tree(lambda: processes.descendants(os.getpid()))
        return clean_up(self._folder, self.place, lock) | {"stopped": reason or "the watchdog was killed"}

    def _look(self, stop: _Stop, watchdog: subprocess.Popen[bytes]) -> None:
        """Look at guards and error rates while it runs."""
        try:
            self._look_on(stop, watchdog)
        except Exception as error:  # whatever it is: without a look the experiment must not go on
            stop.set(f"what has to be watched cannot be: {error or type(error).__name__}")

    def _look_on(self, stop: _Stop, watchdog: subprocess.Popen[bytes]) -> None:
        condition = self._condition()
        model = str(self._about.get("model", self.place.platform.models[0].name))
        traffic = Traffic(self.place.prometheus, model, self._about.get("versions", ()))
        window, budgets = guards.window(self._chaos.guard.windows), self._budget_guards()
        seen = time.monotonic()
        while watchdog.poll() is None:
            if self._lease is not None:
                self._lease.renew()
                self._is_not_stopped()
            try:
                window()
                for guard in budgets.values():
                    guard()
                condition.observe(*traffic.since())
                seen = time.monotonic()
            except guards.RefusalError as error:
                stop.set(str(error))
            except (QueryError, guards.NoDataError) as error:
                if not self._about.get("blinds") and time.monotonic() - seen > self._chaos.stop.blind_for:
                    stop.set(f"no data for {self._chaos.stop.blind_for:g} s: {error}")
            if reason := condition.reason() or self._unexpected_page():
                stop.set(reason, is_deviation=True)
            if stop.wait(LOOK_SECONDS):
                return

    def _condition(self) -> StopCondition:
        tolerated = float(self._chaos.stop.tolerated_errors)
        return StopCondition(
            target_tolerated=self._about.get("tolerated_errors", tolerated),
            control_tolerated=tolerated,
            false_stops=float(self._chaos.stop.false_stops),
        )

    def _unexpected_page(self) -> str:
        """A page of another model, which the fault has nothing to do with: empty without one, or without an answer."""
        if not self._chaos.guard.forbid_pages:
            return ""
        try:
            firing = self.place.prometheus.query('ALERTS{alertstate="firing", severity="page"}')
        except QueryError:
            return ""
        model = self._about.get("model")
        others = {
            f"{one.labels['alertname']} of {one.labels['model']}"
            for one in firing
            if model is not None and one.labels.get("model") not in (None, model)
        }
        return f"a page fires elsewhere: {', '.join(sorted(others))}" if others else ""


def recover(place: runs.Place, lock: int, say: Say) -> list[str]:
    """Revert what earlier runs left behind, here and in the cluster's lease; what cannot be reverted, in words."""
    lasting = place.lease("recovery")
    kept = lasting.kept_faults() if lasting else {}
    # What is no longer there was reverted, or somebody has changed the object since: then it is theirs.
    if left := {number: one for number, one in kept.items() if faults.read(one).is_effective()}:
        folder = place.home.runs / f"recovered-{time.time_ns()}"
        ledger = faults.Ledger(folder, place.log())
        for number, document in left.items():
            ledger.take_over(number, document)
    problems: list[str] = []
    for folder in place.home.open_runs():
        say(f"reverting what {folder.name} left behind")
        problems += clean_up(folder, place, lock)["problems"]
    if lasting and not problems:
        lasting.forget_faults()
    return problems


def clean_up(folder: Path, place: runs.Place, lock: int) -> Document:
    """Do a dead watchdog's work: end the run's tree and revert its faults, by another watchdog."""
    key = runs.key_file(place.platform, place.platform_file)
    command = [*modules.command("chaos.watchdog"), str(folder), "--log", str(place.home.evidence)]
    command += [*(["--key-file", str(key)] if key else []), "--of", str(_nobody())]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, pass_fds=(lock,))
    try:
        document: Document = json.loads(done.stdout)
    except ValueError:
        return {"problems": [done.stderr.decode(errors="replace")[-300:]], "seconds_to_clean": None, "stopped": ""}
    return document


def _nobody() -> int:
    """A number that no process has: one above the largest."""
    return int(Path("/proc/sys/kernel/pid_max").read_text()) + 1


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


def _modules(activities: Any) -> Iterator[str]:
    yield from sorted({str(one.get("provider", {}).get("module", "")) for one in activities})


def _journal(folder: Path) -> Document | None:
    try:
        document: Document = json.loads((folder / "journal.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return document


def _within(tolerance: Any, value: Any) -> bool:
    from chaoslib.hypothesis import within_tolerance

    return bool(within_tolerance(tolerance, value))


def _activities(journal: Document | None) -> Iterator[Document]:
    """Each activity in the order it ran: phase, name, status, seconds, what it said."""
    if journal is None:
        return
    states = journal.get("steady_states") or {}
    phases = {
        "before": (states.get("before") or {}).get("probes", ()),
        "method": journal.get("run") or (),
        "after": (states.get("after") or {}).get("probes", ()),
        "rollbacks": journal.get("rollbacks") or (),
    }
    for phase, ran in phases.items():
        for one in ran:
            tolerance = one["activity"].get("tolerance")
            is_good = not verdict.failure(one) and (tolerance is None or _within(tolerance, one.get("output")))
            yield {
                "phase": phase,
                "type": one["activity"]["type"],
                "name": one["activity"].get("name"),
                "good": is_good,
                "seconds": round(float(one.get("duration") or 0.0), 2),
                "started_at": one.get("start"),
                "said": verdict.failure(one) or one.get("output"),
            }


def _line(stream: IO[bytes], seconds: float) -> bytes:
    """A line of a stream, empty when none comes in time or it ends."""
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(stream.readline()), daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else b""
