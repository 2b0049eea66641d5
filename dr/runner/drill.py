"""One drill from its beginning to its evidence: set up, observe, inject, wait, read back, judge, put away."""

from __future__ import annotations

import hashlib
import os
import platform as machine
import random
import secrets
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chaos import faults, lease
from chaos.places.place import Home
from dr import children, stores, temporary
from dr.drill import facts, judge, judged, ledger, verdict
from dr.drill.client import Client, ClientConfig, RequestError, Row
from dr.drill_log import DrillLog
from dr.runner import experiment, observer
from dr.stores.kind import DrillSite
from dr.stores.setup import DrillSetup, NotReadyError, PlannedFault, RestoreDrill
from midwatch import modules, processes
from midwatch.errors import Exit, MidwatchError
from midwatch.spec import dr as spec
from midwatch.spec import load, model
from midwatch.spec.stores.base import Store

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
    """Which drill, of which file; `seed` is the phase.

    `state` is the folder of a running `midwatch up` that is to be drilled. `in_cluster` says that experiments run
    beside it in a cluster's namespace.
    """

    platform_file: Path
    drill: str
    evidence: Path | None = None
    keep: bool = False
    seed: int | None = None
    limit: float | None = None
    state: Path | None = None
    in_cluster: bool = False


def run(request: Request, say: Say) -> Document:
    """Run a drill and keep its evidence; the document has the verdict and what it rests on.

    Raises MidwatchError when it cannot begin: then nothing was hurt.
    """
    platform = load.load_platform(request.platform_file)
    recovery, drill, store = find(platform, request)
    log = DrillLog.of(platform, request.platform_file, request.evidence)
    with ExitStack() as stack:
        lock = _locked(stack, request.state) if request.state else None
        folder = stack.enter_context(temporary.folder(keep=request.keep, stop=stores.stop_leftovers))
        stack.enter_context(processes.sigterm_as_interrupt())
        if request.in_cluster:
            _lease_taken(stack, platform, drill)
        if request.keep:
            say(f"everything is kept in {folder}")
        return _Drill(request, platform, recovery, drill, store, log, folder, say, lock).run()


def _locked(stack: ExitStack, state: Path) -> int:
    """The lock of a running plane, which experiments and drills share; MidwatchError while a fault is open there."""
    home = Home(state.resolve())
    lock = stack.enter_context(lease.on_this_machine(home.lock))
    if left := [folder.name for folder in home.open_runs()]:
        raise MidwatchError(f"experiment {', '.join(left)} left something open; midwatch chaos stop reverts it")
    return lock


def _lease_taken(stack: ExitStack, platform: model.Platform, drill: spec.Drill) -> None:
    """The lease of the experiments' namespace, which experiments and drills share, until the stack is left.

    Raises MidwatchError while a fault may be left there, or the kill switch is set. A drill that loses the lease ends
    as by SIGTERM, which reverts its fault.
    """
    if platform.chaos is None or platform.chaos.kubernetes is None:
        return
    held = lease.ClusterLease(platform.chaos.kubernetes.namespace, f"drill-{drill.name}-{secrets.token_hex(3)}")
    stack.enter_context(lease.held(held, lambda _: os.kill(os.getpid(), signal.SIGTERM)))
    if held.is_stopped():
        raise MidwatchError(f"annotation {lease.STOP_ANNOTATION} is set: midwatch chaos stop --lift removes it")
    if left := held.kept_faults():
        raise MidwatchError(f"{len(left)} faults of an experiment may be left; midwatch chaos stop reverts them")


def find(platform: model.Platform, request: Request) -> tuple[spec.DisasterRecovery, spec.Drill, Store]:
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
        platform: model.Platform,
        recovery: spec.DisasterRecovery,
        drill: spec.Drill,
        store: Store,
        log: DrillLog,
        folder: Path,
        say: Say,
        lock: int | None,
    ) -> None:
        self._request, self._platform, self._recovery = request, platform, recovery
        self._drill, self._store, self._log, self._folder, self._say = drill, store, log, folder, say
        self._lock = lock
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
        return min(twice, LOCAL_LIMIT) if stores.kind_of(self._store).is_local else twice

    def run(self) -> Document:
        begun = time.monotonic()
        site = DrillSite(
            promised=self._recovery,
            store=self._store,
            file=self._request.platform_file.resolve(),
            folder=self._folder / "store",
            drill=self._drill,
            randomness=random.Random(self._seed),  # noqa: S311 - a phase
            state=self._request.state.resolve() if self._request.state else None,
        )
        setup = stores.kind_of(self._store).setup(site)
        if isinstance(setup, RestoreDrill):
            setup.start()
            with self._logged():
                result = setup.restore(self._number, self._objectives, self._say)
            return self._keep(result, setup.what, self._versions({}), time.monotonic() - begun)
        with ExitStack() as stack:
            stack.callback(setup.stop)
            self._say(f"setting up {self._store.name} ({self._store.kind})")
            setup.start()
            with self._logged():
                result, planned = self._observe(setup, stack)
            versions = self._versions(setup.versions())
        return self._keep(result, planned.fault.describe(), versions, time.monotonic() - begun)

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """That a drill began is in the evidence, however it ends."""
        self._log.append(
            "drill-started",
            drill=self._drill.name,
            run=self._number,
            store=self._store.name,
            fault=self._drill.fault,
            configuration=self._digest(),
            seed=self._seed,
        )
        try:
            yield
        except BaseException as error:
            self._log.chain.append("drill-aborted", run=self._number, reason=str(error) or type(error).__name__)
            raise

    # The drill itself ------------------------------------------------------------------------------------------------

    def _observe(self, setup: DrillSetup, stack: ExitStack) -> tuple[verdict.Result, PlannedFault]:
        events, seen = self._home / judged.RECOVERER, self._home / judged.OBSERVER
        command = setup.recoverer(events)
        recorded = setup.events(events)
        events = recorded or events
        if command:
            recoverer = children.start_command(command, self._home / "recoverer.log")
            stack.callback(children.stop, recoverer)
            self._wait_for(lambda: bool(ledger.Tail(events, ledger.RECORDED).read()), recoverer, "the recoverer")
        warmup = setup.prepare(self._drill.warmup)
        watcher = self._start_observer(setup, seen)
        stack.callback(children.stop, watcher)
        self._wait_for(lambda: _acknowledged(seen) >= judge.MIN_WRITES, watcher, "the observer")
        self._say(f"{warmup:.1f} s of writes before the fault")
        time.sleep(warmup)
        planned = setup.fault()
        if planned.warning:
            url = planned.warning.url
            exporter = children.start_command(planned.warning.command, self._home / "exporter.log")
            stack.callback(children.stop, exporter)
            self._wait_for(lambda: _answers(url), exporter, "the exporter")
        self._ready = time.monotonic_ns()
        self._inject(planned, events, seen)
        self._wait_for_service(setup, events)
        children.stop(watcher)
        return self._judge(setup, planned, events, needs_recoverer=recorded is not None), planned

    def _start_observer(self, setup: DrillSetup, seen: Path) -> subprocess.Popen[bytes]:
        config = observer.Config(
            run=self._number,
            client=setup.client(),
            ledger=str(seen),
            rate=self._drill.writes_per_second,
            model=setup.model,
        )
        config.save(self._home / "observer.json")
        return children.start_module(
            "dr.runner.observer", [str(self._home / "observer.json")], self._home / "observer.log"
        )

    def _wait_for(self, ready: Callable[[], bool], process: subprocess.Popen[bytes], who: str) -> None:
        deadline = time.monotonic() + STEADY_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                logs = " / ".join(path.read_text(errors="replace")[-300:] for path in self._home.glob("*.log"))
                raise NotReadyError(f"{who} did not begin: {logs.strip() or 'it said nothing'}")
            time.sleep(0.02)

    def _inject(self, planned: PlannedFault, events: Path, seen: Path) -> None:
        self._say(f"fault: {planned.fault.describe()}")
        plan = experiment.Plan(
            title=self._drill.name,
            kind=self._store.kind,
            fault=faults.written(planned.fault),
            observer=str(seen),
            recoverer=str(events),
            log=str(self._log.chain.path),
            key_file=str(self._log.key_file) if self._log.key_file else None,
            silences=planned.silences,
            spoils=planned.spoils,
            warning=planned.warning,
            fails_over=planned.fails_over,
            clients_follow=planned.clients_follow,
            old=planned.old,
            sink=planned.sink,
            steady_seconds=STEADY_SECONDS,
            objectives=self._objectives,
        )
        plan.save(self._home)
        words = [*modules.command("chaos.run.watchdog"), str(self._home), "--log", str(self._log.chain.path)]
        words += ["--seconds", str(self._objectives.limit + 4 * STEADY_SECONDS)]
        if self._log.key_file:
            words += ["--key-file", str(self._log.key_file)]
        words += ["--", *modules.command("dr.runner.experiment"), str(self._home)]
        with (self._home / "watchdog.log").open("ab") as log:
            watchdog = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=() if self._lock is None else (self._lock,),
            )
        try:
            self._report_until(watchdog, events)
        finally:
            if watchdog.stdin:
                watchdog.stdin.close()  # it ends the experiment and reverts the fault when we are gone
            watchdog.wait()

    def _report_until(self, process: subprocess.Popen[bytes], events: Path) -> None:
        """Say what the recoverer does until a process ends."""
        tail = ledger.Tail(events, ledger.RECORDED)
        said = len(tail.read())
        while process.poll() is None:
            known = tail.read()
            for event in known[said:]:
                if not isinstance(event, facts.Watching | facts.CheckFailed):
                    self._say(f"recoverer: {event.word}{f' ({event.detail})' if event.detail else ''}")
            said = len(known)
            time.sleep(0.05)

    def _wait_for_service(self, setup: DrillSetup, events: Path) -> None:
        """Until redundancy is restored, or nobody can expect it any more; at least so that readers were heard."""
        time.sleep(SERVICE_SECONDS)
        deadline = time.monotonic() + REDUNDANT_SECONDS
        acted = any(isinstance(event, facts.Rerouted) for event in self._since_ready(events))
        while acted and setup.is_redundant() is False and time.monotonic() < deadline:
            time.sleep(0.1)

    def _since_ready(self, events: Path) -> list[facts.Recorded]:
        return [event for event in ledger.read_recorded(events) if event.at > self._ready]

    # Judged ----------------------------------------------------------------------------------------------------------

    def _judge(
        self, setup: DrillSetup, planned: PlannedFault, events: Path, *, needs_recoverer: bool
    ) -> verdict.Result:
        self._say("reading everything back")
        rows, unread = _rows(setup.client(), self._number)
        facts_of_it = judged.Judged(
            run=self._number,
            objectives=self._objectives,
            injection=experiment.injection_of(self._home),
            since=self._ready,
            rows=rows,
            checks=[*setup.checks(), *experiment.told_check(self._home), *unread],
            needs_recoverer=needs_recoverer,
            has_model=setup.model is not None,
            is_warning=planned.warning is not None,
            warned=experiment.warned_at(self._home) if planned.warning else None,
        )
        facts_of_it.save(self._home)
        if events != self._home / judged.RECOVERER and events.exists():
            shutil.copyfile(events, self._home / judged.RECOVERER)  # of a recoverer that runs on
        return facts_of_it.judge(self._home)

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

    def _keep(self, result: verdict.Result, what: str, versions: dict[str, str], seconds: float) -> Document:
        document = {
            "run": self._number,
            "platform": self._platform.platform,
            "owner": self._recovery.owner,
            "drill": self._drill.name,
            "store": self._store.name,
            "fault": self._drill.fault,
            "what": what,
            **verdict.document(result),
            "objectives": asdict(self._objectives),
            "seed": self._seed,
            "versions": versions,
            "configuration": self._digest(),
            "started_at": self._began.isoformat(timespec="milliseconds"),
            "duration_seconds": round(seconds, 3),
            "exit": int(EXITS[result.verdict]),
        }
        return self._log.keep(document, self._home)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1.0).close()  # noqa: S310 - ours
    except OSError:
        return False
    return True


def _acknowledged(path: Path) -> int:
    tail = ledger.Tail(path, ledger.OBSERVED)
    return sum(isinstance(fact, facts.Write) and fact.is_acknowledged for fact in tail.read())


def _rows(config: ClientConfig, run: str) -> tuple[list[Row] | None, list[verdict.Check]]:
    """Everything that is read back; None with a check that nobody can tell when it cannot be read."""
    client: Client = stores.named(config.kind).client(config.arguments, run)
    try:
        return client.rows(), []
    except RequestError as error:
        return None, [verdict.Check(name="everything can be read back", holds=None, detail=str(error))]
