"""One drill from its beginning to its evidence: set up, observe, hurt, wait, read back, judge, put away."""

from __future__ import annotations

import hashlib
import platform as machine
import random
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dr import experiment, judge, ledger, observer, operators, processes, records, scene, scenes, targets, verdict
from dr.postgres.session import SqlError
from midwatch import modules
from midwatch.errors import Exit, MidwatchError
from midwatch.spec import dr as spec
from midwatch.spec import load
from midwatch.spec import model as platforms

STEADY_SECONDS = 30.0
SERVICE_SECONDS = 2.0
"""Observed after the recovery, so that readers and models have been asked often enough."""
REDUNDANT_SECONDS = 60.0
LOCAL_LIMIT = 120.0
"""A local recovery takes seconds; who waits twice a 15-minute objective for one learns nothing more from it."""

EXITS = {
    verdict.Verdict.MET: Exit.PASS,
    verdict.Verdict.BREACHED: Exit.FAIL,
    verdict.Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE,
}

Say = Callable[[str], None]
Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which drill, of which file; `folder` is where local stores are put (a temporary one without), `seed` the phase.

    `state` is the folder of a running plane, for drills of it.
    """

    platform_file: Path
    drill: str
    evidence: Path | None = None
    keep: bool = False
    seed: int | None = None
    limit: float | None = None
    state: Path | None = None


def run(request: Request, say: Say) -> Document:
    """Run a drill and keep its evidence; the document has the verdict and what it rests on.

    Raises MidwatchError when it cannot begin: then nothing was hurt.
    """
    platform = load.load_platform(request.platform_file)
    recovery, drill, store = find(platform, request)
    book = records.Book.of(platform, request.platform_file, request.evidence)
    with processes.folder(request.keep) as folder, _sigterm_as_interrupt():
        if request.keep:
            say(f"everything is kept in {folder}")
        return _Drill(request, platform, recovery, drill, store, book, folder, say).run()


def find(platform: platforms.Platform, request: Request) -> tuple[spec.DisasterRecovery, spec.Drill, spec.Store]:
    """The drill of that name and its store; MidwatchError when there is none."""
    recovery = platform.disaster_recovery
    if recovery is None:
        raise MidwatchError(f"{request.platform_file}: there is no section disaster_recovery")
    drills = {drill.name: drill for drill in recovery.drills}
    if request.drill not in drills:
        known = ", ".join(sorted(drills)) or "none"
        raise MidwatchError(f"{request.platform_file}: there is no drill {request.drill!r}; known: {known}")
    drill = drills[request.drill]
    return recovery, drill, recovery.store(drill.store)


class _Drill:
    """One run."""

    def __init__(
        self,
        request: Request,
        platform: platforms.Platform,
        recovery: spec.DisasterRecovery,
        drill: spec.Drill,
        store: spec.Store,
        book: records.Book,
        folder: Path,
        say: Say,
    ) -> None:
        self._request, self._platform, self._recovery = request, platform, recovery
        self._drill, self._store, self._book, self._folder, self._say = drill, store, book, folder, say
        self._began = datetime.now(UTC)
        self._number = f"{self._began:%Y%m%dT%H%M%SZ}-{drill.name}-{secrets.token_hex(3)}"
        self._home = folder / "run"
        self._home.mkdir()
        self._ready = 0
        self._seed = secrets.randbits(32) if request.seed is None else request.seed
        self._objectives = verdict.Objectives(
            rto=recovery.rto,
            rpo=recovery.rpo_of(store),
            limit=self._limit(),
        )

    def _limit(self) -> float:
        if self._request.limit is not None:
            return self._request.limit
        if self._drill.limit is not None:
            return self._drill.limit
        twice = 2 * self._recovery.rto
        return min(twice, LOCAL_LIMIT) if self._store.local_postgresql or self._store.files else twice

    def run(self) -> Document:
        begun = time.monotonic()
        if self._store.velero:
            return self._restore(self._store.velero, begun)
        stage = scenes.build(
            self._platform,
            self._request.platform_file.resolve(),
            self._store,
            self._drill,
            self._folder / "store",
            random.Random(self._seed),  # noqa: S311 - a phase
            self._request.state,
        )
        with ExitStack() as stack:
            stack.callback(stage.stop)
            self._say(f"setting up {self._store.name} ({self._store.kind})")
            stage.start()
            with self._logged():
                judged, injury = self._observe(stage, stack)
            versions = self._versions(stage.versions())
        return self._keep(judged, injury.fault.describe(), versions, time.monotonic() - begun)

    def _restore(self, settings: spec.Velero, begun: float) -> Document:
        """A restore by Velero: nothing is hurt, and nobody writes into an empty namespace."""
        promised = self._objectives
        operators.ensure_restorable(settings)
        with self._logged():
            judged = operators.drill_velero(
                settings, self._number, rto=promised.rto, rpo=promised.rpo, limit=promised.limit, say=self._say
            )
        what = f"restore of the newest backup of {settings.namespace} into {settings.restore_namespace}"
        return self._keep(judged, what, self._versions({}), time.monotonic() - begun)

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """That a drill began is in the evidence, however it ends."""
        self._book.log.append(
            "drill-started",
            drill=self._drill.name,
            run=self._number,
            store=self._store.name,
            fault=self._drill.fault.value,
            configuration=self._digest(),
            seed=self._seed,
        )
        try:
            yield
        except BaseException as error:
            self._book.log.append("drill-aborted", run=self._number, reason=str(error) or type(error).__name__)
            raise

    # The drill itself ------------------------------------------------------------------------------------------------

    def _observe(self, stage: scene.Scene, stack: ExitStack) -> tuple[verdict.Result, scene.Injury]:
        events, facts = self._home / "guard.ledger", self._home / "observer.ledger"
        command = stage.guard(events)
        seen = stage.watched(events)
        events = seen or events
        guard = processes.start_command(command, self._home / "guard.log") if command else None
        if guard:
            stack.callback(processes.stop, guard)
            self._wait_for(lambda: bool(ledger.Tail(events).read()), guard, "the recoverer")
        warmup = stage.prepare(self._drill.warmup)
        config = observer.Config(
            run=self._number,
            target=stage.target(),
            ledger=str(facts),
            rate=self._drill.writes_per_second,
            model=scenes.model(stage),
        )
        config.save(self._home / "observer.json")
        watcher = processes.start_helper(
            "dr.observer", [str(self._home / "observer.json")], self._home / "observer.log"
        )
        stack.callback(processes.stop, watcher)
        self._wait_for(lambda: _acknowledged(facts) >= judge.MIN_WRITES, watcher, "the observer")
        self._say(f"{warmup:.1f} s of writes before the fault")
        time.sleep(warmup)
        injury = stage.injury()
        if injury.warning:
            exporter = processes.start_command(injury.warning.command, self._home / "exporter.log")
            stack.callback(processes.stop, exporter)
            self._wait_for(lambda: _answers(injury), exporter, "the exporter")
        self._ready = time.monotonic_ns()
        self._hurt(injury, events, facts)
        self._wait_for_service(stage, events)
        processes.stop(watcher)
        return self._judge(stage, injury, events, facts, needs_guard=seen is not None), injury

    def _wait_for(self, ready: Callable[[], bool], process: subprocess.Popen[bytes], who: str) -> None:
        deadline = time.monotonic() + STEADY_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                logs = " / ".join(path.read_text(errors="replace")[-300:] for path in self._home.glob("*.log"))
                raise scene.NotReadyError(f"{who} did not begin: {logs.strip() or 'it said nothing'}")
            time.sleep(0.02)

    def _hurt(self, injury: scene.Injury, events: Path, facts: Path) -> None:
        self._say(f"fault: {injury.fault.describe()}")
        plan = experiment.Plan(
            title=self._drill.name,
            fault={
                "module": type(injury.fault).__module__,
                "kind": type(injury.fault).__name__,
                "arguments": asdict(injury.fault),
            },
            observer=str(facts),
            guard=str(events),
            log=str(self._book.log.path),
            key_file=str(self._book.key_file) if self._book.key_file else None,
            silences=injury.silences,
            spoils=injury.spoils,
            warning=asdict(injury.warning) if injury.warning else None,
            fails_over=injury.fails_over,
            old=injury.old,
            sink=injury.sink,
            steady_seconds=STEADY_SECONDS,
            objectives=asdict(self._objectives),
        )
        plan.save(self._home)
        words = [*modules.command("chaos.run.watchdog"), str(self._home), "--log", str(self._book.log.path)]
        words += ["--seconds", str(self._objectives.limit + 4 * STEADY_SECONDS)]
        if self._book.key_file:
            words += ["--key-file", str(self._book.key_file)]
        words += ["--", *modules.command("dr.experiment"), str(self._home)]
        with (self._home / "watchdog.log").open("ab") as log:
            watchdog = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        try:
            self._report_until(watchdog, events)
        finally:
            if watchdog.stdin:
                watchdog.stdin.close()  # it ends the experiment and reverts the fault when we are gone
            watchdog.wait()

    def _report_until(self, process: subprocess.Popen[bytes], events: Path) -> None:
        tail = ledger.Tail(events)
        said = len(tail.read())
        while process.poll() is None:
            known = tail.read() if events.exists() else []
            for event in known[said:]:
                if event["k"] not in ("watching", "failed"):
                    detail = (
                        event.get("plan")
                        or event.get("how")
                        or event.get("from_")
                        or event.get("to")
                        or event.get("why")
                    )
                    self._say(f"recoverer: {event['k'].replace('_', ' ')}{f' ({detail})' if detail else ''}")
            said = len(known)
            time.sleep(0.05)

    def _wait_for_service(self, stage: scene.Scene, events: Path) -> None:
        """Until redundancy is restored, or nobody can expect it any more; at least so that readers were heard."""
        time.sleep(SERVICE_SECONDS)
        deadline = time.monotonic() + REDUNDANT_SECONDS
        acted = any(event["k"] == "rerouted" and event["t"] > self._ready for event in _events(events))
        while acted and stage.is_redundant() is False and time.monotonic() < deadline:
            time.sleep(0.1)

    # Judged ----------------------------------------------------------------------------------------------------------

    def _judge(
        self, stage: scene.Scene, injury: scene.Injury, events: Path, facts: Path, *, needs_guard: bool
    ) -> verdict.Result:
        self._say("reading everything back")
        rows, unread = _rows(stage.target(), self._number)
        injection = experiment.injection_of(self._home)
        found = verdict.Evidence(
            run=self._number,
            facts=ledger.read(facts),
            injection=injection,
            events=[event for event in _events(events) if event["t"] > self._ready],
            rows=rows,
            checks=[*stage.checks(), *experiment.told_check(self._home), *unread],
            needs_guard=needs_guard,
            has_model=scenes.model(stage) is not None,
        )
        if injury.warning:
            return judge.judge_warning(found, experiment.warned_at(self._home), self._objectives)
        return judge.judge(found, self._objectives)

    def _digest(self) -> str:
        """Digest of the configuration: the platform file, whole, as it is checked and with its defaults."""
        return hashlib.sha256(self._platform.model_dump_json().encode()).hexdigest()

    def _versions(self, others: dict[str, str]) -> dict[str, str]:
        import midwatch

        return {
            "midwatch": midwatch.__version__,
            "chaostoolkit-lib": version("chaostoolkit-lib"),
            "psycopg": version("psycopg"),
            "python": machine.python_version(),
            "kernel": machine.release(),
            **others,
        }

    def _keep(self, judged: verdict.Result, what: str, versions: dict[str, str], seconds: float) -> Document:
        document = {
            "run": self._number,
            "drill": self._drill.name,
            "store": self._store.name,
            "fault": self._drill.fault.value,
            "what": what,
            "verdict": judged.verdict.value,
            "reasons": list(judged.reasons),
            "rto_seconds": judged.rto_seconds,
            "rto_exceeds": judged.rto_exceeds,
            "rpo_seconds": judged.rpo_seconds,
            "rpo_is_bound": judged.rpo_is_bound,
            "resolution_seconds": judged.resolution_seconds,
            "phases": [asdict(phase) for phase in judged.phases],
            "writes": judged.writes,
            "checks": [asdict(check) for check in judged.checks],
            "notes": list(judged.notes),
            "objectives": asdict(self._objectives),
            "seed": self._seed,
            "versions": versions,
            "configuration": self._digest(),
            "started_at": self._began.isoformat(timespec="milliseconds"),
            "duration_seconds": round(seconds, 3),
            "exit": int(EXITS[judged.verdict]),
        }
        return self._book.keep(document, self._home)


def _answers(injury: scene.Injury) -> bool:
    import urllib.request

    try:
        urllib.request.urlopen(injury.warning.url if injury.warning else "", timeout=1.0).close()  # noqa: S310 - ours
    except OSError:
        return False
    return True


def _events(path: Path) -> list[ledger.Fact]:
    return ledger.read(path) if path.exists() else []


def _acknowledged(path: Path) -> int:
    return sum(fact.get("r") == "ok" and fact["k"] == "w" for fact in ledger.Tail(path).read())


def _rows(description: dict[str, Any], run: str) -> tuple[list[targets.Row] | None, list[verdict.Check]]:
    """Everything that is read back; None with a check that nobody can tell when it cannot be read."""
    try:
        return targets.build(description, run).rows(), []
    except SqlError as error:
        return None, [verdict.Check(name="everything can be read back", holds=None, detail=str(error))]


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """A SIGTERM ends the drill as Ctrl-C does: everything is stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
