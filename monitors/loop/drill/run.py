"""One drill of the loop from its beginning to its evidence: look, drift, follow, withdraw, judge, put back."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import midwatch
from midwatch import evidence, processes, registry
from midwatch.drills import Verdict
from midwatch.errors import Exit, MidwatchError
from midwatch.prometheus import Client
from midwatch.rest import Api
from midwatch.spec import load, loop_drill
from midwatch.spec.loop_drill import LoopDrill
from midwatch.spec.model import Model, Platform
from midwatch.spec.observed.mlflow import MlflowObserved
from monitors.loop import episode_log
from monitors.loop.drill import copies, facts, judge, kept, restoring
from monitors.loop.drill.facts import AnyFact, Counted
from monitors.loop.drill.judge import Evidence, Objectives
from monitors.loop.drill.kept import Document, DrillLog
from monitors.loop.drill.looking import Looks, now
from monitors.loop.drill.restoring import Open
from monitors.loop.drill.sender import Sender
from monitors.loop.drill.trace import Trace
from monitors.loop.episode import Outcome, Step

MARK = ("midwatch.drills", "allowed")
"""Tag of a registered model that says that drills may promote it: nobody else's model has it by chance."""
LONGEST_LOOK = 5.0
"""Seconds between looks at most: they are the resolution of the recovery time."""
SETTLE_LOOKS = 3
"""Looks after the episode has ended, so that all traffic is seen to stay."""
WAIT_FOR_STABLE = 3.0
"""Windows that a first stable verdict may take."""

EXITS = {Verdict.MET: Exit.PASS, Verdict.BREACHED: Exit.FAIL, Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE}

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which loop to drill: that of `model`. `state` is the folder of the loop's log of episodes."""

    platform_file: Path
    model: str
    state: Path
    limit: float | None = None
    prometheus: str | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """The copy that is drilled, and everything that says that it may be."""

    platform: Platform
    copy: Model
    drill: LoopDrill
    promised: float
    section: MlflowObserved
    name: str
    api: Api
    copies: copies.Copies
    log: DrillLog


def target(request: Request) -> Target:
    """What is to be drilled; MidwatchError, and nothing was touched, when it may not be, or cannot show anything."""
    platform = load.load_platform(request.platform_file)
    log = DrillLog.of(platform, request.platform_file)
    copy, drill, promised = _copy(platform, request)
    section, name = restoring.observed(platform, copy)
    if section.stage:
        raise MidwatchError("a drill puts the champion's alias back, and systems.mlflow.observe has a stage")
    api = Api(section.url, section.auth, section.timeout)
    registered = registry.ask(api, name)
    key, value = MARK
    if registered.tags.get(key) != value:
        raise MidwatchError(
            f"the registered model {name} does not allow drills: is it the copy? If it may be retrained and promoted "
            f"at any time, give it the tag {key}={value}"
        )
    if not restoring.champion(section, registered):
        raise MidwatchError(
            f"{name} has no champion that a drill could put back: give the version that serves the alias {section.role}"
        )
    if not (request.state / episode_log.LOG).exists():
        raise MidwatchError(f"{request.state}: no log of the loop; give the folder of midwatch loop serve with --state")
    if what := restoring.left(log.folder):
        raise MidwatchError(f"the drill {what.run} left something open; midwatch loop drill --restore puts it back")
    base = load.base_folder(request.platform_file)
    return Target(
        platform=platform,
        copy=copy,
        drill=drill,
        promised=promised,
        section=section,
        name=name,
        api=api,
        copies=copies.read(base / drill.requests, drill.inject),
        log=log,
    )


def _copy(platform: Platform, request: Request) -> tuple[Model, LoopDrill, float]:
    """The model that takes the copies, with its mark and its promise."""
    for model in loop_drill.drilled(platform):
        settings = model.loop
        if settings is not None and settings.drill is not None and settings.drill.copies == request.model:
            if settings.recover_within is None:
                raise MidwatchError(f"{model.name}: loop.recover_within is missing; a drill needs what is promised")
            return model, settings.drill, settings.recover_within
    known = [one.loop.drill.copies for one in loop_drill.drilled(platform) if one.loop and one.loop.drill]
    raise MidwatchError(
        f"{request.platform_file}: no model is marked as the copy of {request.model!r} (loop.drill.copies); "
        f"drilled: {', '.join(sorted(known)) or 'none'}"
    )


def restore(request: Request) -> str:
    """Put back what a drill has left open; what was done, in words."""
    platform = load.load_platform(request.platform_file)
    copy, _, _ = _copy(platform, request)
    return restoring.restore(platform, copy, DrillLog.of(platform, request.platform_file).folder)


def run(request: Request, say: Say) -> Document:
    """Drill the loop of a model and keep the evidence; MidwatchError when it cannot begin: then nothing was touched."""
    chosen = target(request)
    with processes.sigterm_as_interrupt():
        return _Drill(request, chosen, say).run()


class _Drill:
    """One run. What it sees is in its ledger before anything follows from it."""

    def __init__(self, request: Request, chosen: Target, say: Say) -> None:
        self._request, self._target, self._say = request, chosen, say
        self._began = datetime.now(UTC)
        self._number = f"{self._began:%Y%m%dT%H%M%SZ}-{request.model}-{secrets.token_hex(3)}"
        limit = request.limit or chosen.drill.limit or 2 * chosen.promised
        self._objectives = Objectives(recover_within=chosen.promised, limit=limit)
        self._ledger = chosen.log.ledger(self._number)
        self._ledger.path.parent.mkdir(parents=True, exist_ok=True)
        self._left_open = ""
        self._facts: list[AnyFact] = []
        settings = chosen.platform.loop
        self._interval = min(settings.interval if settings else LONGEST_LOOK, LONGEST_LOOK)
        self._looks = Looks(
            model=chosen.copy,
            client=Client.of(chosen.platform.prometheus, request.prometheus),
            api=chosen.api,
            name=chosen.name,
            champion=lambda registered: restoring.champion(chosen.section, registered),
            log=request.state / episode_log.LOG,
            timeout=chosen.section.timeout,
        )
        self._sender = Sender(chosen.drill.url, chosen.copies, chosen.drill.rate, self._number)

    def run(self) -> Document:
        """Drill, judge, keep, and put back, whatever happens."""
        chosen = self._target
        self._add(self._started())
        champion = restoring.champion(chosen.section, registry.ask(chosen.api, chosen.name))
        said = {"run": self._number, "model": self._request.model, "copy": chosen.copy.name}
        chosen.log.append(kept.STARTED, **said, champion=champion)
        opened = Open(
            run=self._number, model=chosen.copy.name, name=chosen.name, alias=chosen.section.role, champion=champion
        )
        restoring.keep(chosen.log.folder, opened)
        guard = restoring.guarded(
            self._request.platform_file, chosen.copy.name, self._ledger.path.with_name("restoring.log")
        )
        with guard:
            try:
                self._drill()
            except BaseException as error:
                chosen.log.append(kept.ABORTED, **said, reason=str(error) or type(error).__name__)
                raise
            finally:
                self._sender.stop()
                self._left_open = self._restored()
        return self._keep()

    def _restored(self) -> str:
        """Put back what was changed; why that could not be done, which must not cost the drill its verdict."""
        try:
            self._say(restoring.restore(self._target.platform, self._target.copy, self._target.log.folder))
        except MidwatchError as error:
            advice = "what the drill changed was not put back; midwatch loop drill --restore does"
            self._say(f"{error}: {advice}")
            return str(error)
        return ""

    def _started(self) -> facts.Started:
        episodes = episode_log.load(self._request.state / episode_log.LOG)
        episode_log.ensure_of(self._target.platform.platform, episodes.values(), self._request.state)
        mine = [one for one in episodes.values() if one.model == self._target.copy.name]
        is_open = next((one.id for one in mine if one.outcome is Outcome.OPEN), "")
        if is_open:
            raise MidwatchError(f"the episode {is_open} of {self._target.copy.name} is open: wait until it has ended")
        runs = {one.id for episode in episodes.values() for one in episode.steps if one.step is Step.RUN_STARTED}
        return facts.Started(
            **now(),
            run=self._number,
            boot=_boot_id(),
            model=self._request.model,
            stream=self._target.copy.name,
            interval=self._interval,
            episodes=tuple(sorted(episodes)),
            runs=tuple(sorted(runs)),
        )

    # Its parts -------------------------------------------------------------------------------------------------------

    def _drill(self) -> None:
        drill = self._target.drill
        self._say(f"{drill.rate:g} copies a second go to {self._target.copy.name}, without drift")
        self._sender.start()
        begun = time.monotonic()
        window = self._target.copy.drift.window if self._target.copy.drift else 0.0
        longest = max(drill.before, WAIT_FOR_STABLE * window)
        self._look_until(lambda: self._waited(begun, drill.before) and self._has_stable_window(), longest)
        before = now()  # T0 is just before the first request with the drift, which may be seen at once
        self._sender.drift(begins=True)
        self._add(facts.Injected(**before, what=str(drill.inject)))
        self._say(f"every request carries the drift: {drill.inject}")
        self._look_until(self._has_ended, self._objectives.limit)
        self._look_until(lambda: False, SETTLE_LOOKS * self._interval)
        self._add(facts.Withdrawn(**now()))
        self._sender.drift(begins=False)
        self._look()
        self._add(facts.Finished(**now()))

    def _look_until(self, is_over: Callable[[], bool], seconds: float) -> None:
        """Look in the interval until something is so, for so long at most."""
        deadline, pause = time.monotonic() + seconds, threading.Event()
        while True:
            self._look()
            if is_over() or time.monotonic() >= deadline:
                return
            pause.wait(min(self._interval, max(0.0, deadline - time.monotonic())))

    def _look(self) -> None:
        totals = self._sender.totals()
        self._add(facts.Sent(**now(), sent=totals.sent, answered=totals.answered, drifted=totals.drifted))
        for fact in self._looks.look():
            self._add(fact)
            if isinstance(fact, facts.Told) and "step" in fact.data:
                self._say(
                    f"loop: {fact.data['step']} {fact.data.get('result', '')} {fact.data.get('said', '')}".strip()
                )

    def _add(self, fact: AnyFact) -> None:
        self._ledger.append_event(fact)
        self._facts.append(fact)

    def _waited(self, begun: float, seconds: float) -> bool:
        return time.monotonic() - begun >= seconds

    def _has_stable_window(self) -> bool:
        counted = next((one for one in reversed(self._facts) if isinstance(one, Counted)), None)
        return counted is not None and any(one.get("stable", 0.0) > 0 for one in counted.windows.values())

    def _has_ended(self) -> bool:
        episode = Trace(self._facts).episode
        return episode is not None and episode.outcome is not Outcome.OPEN

    # Judged ----------------------------------------------------------------------------------------------------------

    def _keep(self) -> Document:
        verified = evidence.verify(self._request.state / episode_log.LOG)
        problems = [str(one) for one in verified.problems]
        result = judge.judge(Evidence(facts=self._facts, log_problems=problems), self._objectives)
        document = {
            "run": self._number,
            "platform": self._target.platform.platform,
            "model": self._request.model,
            "copy": self._target.copy.name,
            "inject": str(self._target.drill.inject),
            **kept.as_document(result),
            "objectives": asdict(self._objectives),
            "log_problems": problems,
            "started_at": self._began.isoformat(timespec="milliseconds"),
            "midwatch": midwatch.__version__,
            "left_open": self._left_open,
            "exit": int(EXITS[result.verdict] or (Exit.INCONCLUSIVE if self._left_open else Exit.PASS)),
        }
        return self._target.log.keep(document)


def _boot_id() -> str:
    """Which boot of which machine the monotonic clock belongs to."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
