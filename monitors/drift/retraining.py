"""From verdicts to triggers: episodes, attempts in the background, a record of every step.

Before an attempt its episode is stored as being sent; what a process that died in between had begun is known by that.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from midwatch import evidence, metrics
from midwatch.spec import model as spec
from midwatch.spec.drift import Retrain
from monitors.drift import episodes, trigger
from monitors.drift.episodes import Episode, Trigger
from monitors.drift.verdict import Judgement

ATTEMPTS = 6
BACKOFF = 10.0
"""Seconds to the second attempt; doubled for each one more: the last is about five minutes after the first."""

RESULTS = (Trigger.SENT, Trigger.FAILED, Trigger.UNKNOWN, Trigger.WITHDRAWN)

_log = logging.getLogger(__name__)


class Saved(msgspec.Struct):
    """What survives: episodes, and the counts that are published, by model (and version, or result)."""

    episodes: episodes.Saved = msgspec.field(default_factory=episodes.Saved)
    began: list[tuple[str, str, int]] = []
    results: list[tuple[str, str, int]] = []


class Retraining:
    """Episodes of every watched model and the triggers that they are worth.

    `folder` gets an evidence log, `audit.jsonl`, with every step. Where the platform file has a loop, that asks for
    retrainings, once for all exporters, and none is triggered here.
    """

    def __init__(self, platform: spec.Platform, base: Path, folder: Path, saved: Saved) -> None:
        self._platform, self._base = platform, base
        self._models = {model.name: model.drift for model in platform.models if model.drift}
        self._episodes = episodes.Episodes(saved.episodes)
        self._steps = evidence.Log(folder / "audit.jsonl")
        self._began = Counter({(model, version): count for model, version, count in saved.began})
        self._results = Counter({(model, result): count for model, result, count in saved.results})
        self._outcomes: queue.Queue[tuple[str, trigger.Outcome]] = queue.Queue()
        for episode in self._episodes:
            if episode.trigger is Trigger.SENDING:
                self._interrupted(episode)

    def _interrupted(self, episode: Episode) -> None:
        retrain, settled = self._retrain(episode), self._settled(episode)
        if settled is not None:
            episode.trigger = settled
        elif retrain is not None and retrain.pipeline_run is not None:
            episode.trigger = Trigger.PENDING  # its name is taken if the attempt got through
        else:
            self._settle(episode, Trigger.UNKNOWN, "the process ended while it was being sent")

    def _settled(self, episode: Episode) -> Trigger | None:
        """A result that reached the record but not the state."""
        steps = (step for step in evidence.read(self._steps.path) if step.data.get("episode") == episode.id)
        return next((Trigger(step.kind) for step in steps if step.kind in RESULTS), None)

    def _retrain(self, episode: Episode) -> Retrain | None:
        return self._triggered_here(episode.model)

    def _triggered_here(self, model: str) -> Retrain | None:
        """What drift of a model triggers; nothing where the loop asks."""
        drift = self._models.get(model)
        return drift.retrain if drift and self._platform.loop is None else None

    def observe(self, model: str, version: str, said: Judgement, *, start: float, end: float) -> None:
        """Take the verdict of a window from `start` to `end` in."""
        retrain = self._triggered_here(model)
        after, cooldown = (None, 0.0) if retrain is None else (retrain.windows, retrain.cooldown)
        changes = self._episodes.observe(model, version, said, start=start, end=end, after=after, cooldown=cooldown)
        for change, episode in changes:
            self._note(change, episode, reason=episode.reason, windows=episode.windows)
            if change == "began":
                self._began[model, version] += 1
            if change == "ended":
                if episode.trigger is Trigger.WITHDRAWN:
                    self._settle(episode, Trigger.WITHDRAWN, "drift ended before it could be sent")
                self._episodes.forget()

    def step(self, now: float, store: Callable[[], None]) -> bool:
        """Take outcomes in and begin the attempts that are due, once `store` has kept both; whether one was."""
        changed = self._take_outcomes(now)
        attempts: list[Callable[[], None]] = []
        for episode in self._episodes:
            if episode.trigger is Trigger.PENDING and episode.due <= now:
                changed = True
                attempts += self._prepared(episode)
        if changed:
            store()
        for attempt in attempts:  # a thread each: one that hangs holds up no other
            threading.Thread(target=attempt, name="retrain", daemon=True).start()
        return changed

    def _prepared(self, episode: Episode) -> list[Callable[[], None]]:
        """The attempt that is due; none when the platform file has changed its mind."""
        retrain = self._retrain(episode)
        if retrain is None:
            self._settle(episode, Trigger.WITHDRAWN, "the platform file no longer asks for it")
            return []
        episode.trigger = Trigger.SENDING
        episode.attempts += 1
        self._note("attempt", episode, attempt=episode.attempts)
        document = episodes.document(self._platform.platform, episode)

        def attempt() -> None:
            try:
                outcome = trigger.send(retrain, self._base, document)
            except Exception as error:  # without an outcome the episode would be under way for ever
                _log.exception("an attempt failed unexpectedly")
                may_be_repeated = retrain.webhook is None
                result = Trigger.PENDING if may_be_repeated else Trigger.UNKNOWN
                outcome = trigger.Outcome(result, f"the attempt failed: {type(error).__name__}")
            self._outcomes.put((episode.id, outcome))

        return [attempt]

    def _take_outcomes(self, now: float) -> bool:
        changed = False
        while not self._outcomes.empty():
            name, outcome = self._outcomes.get()
            episode = next(one for one in self._episodes if one.id == name)
            changed = True
            if outcome.trigger is not Trigger.PENDING:
                self._settle(episode, outcome.trigger, outcome.said)
            elif episode.attempts >= ATTEMPTS:
                self._settle(episode, Trigger.FAILED, f"after {ATTEMPTS} attempts: {outcome.said}")
            elif episode.ended is not None:
                self._settle(episode, Trigger.WITHDRAWN, f"drift ended; the last attempt: {outcome.said}")
            else:
                episode.trigger = Trigger.PENDING
                episode.due = now + BACKOFF * 2 ** (episode.attempts - 1)
                self._note("retry", episode, attempt=episode.attempts, said=outcome.said)
        self._episodes.forget()
        return changed

    def _settle(self, episode: Episode, result: Trigger, said: str) -> None:
        episode.trigger = result
        self._results[episode.model, result.value] += 1
        self._note(result.value, episode, said=said)

    def _note(self, step: str, episode: Episode, **more: object) -> None:
        """Record a step, on the disk before anything else happens."""
        about = {"episode": episode.id, "model": episode.model, "version": episode.version, **more}
        self._steps.append(step, **about)
        _log.info("drift episode: %s", step, extra={"event": step, **about})

    def forget(self, model: str, version: str) -> None:
        """Publish nothing more of a version, unless an episode of it holds."""
        if self._episodes.holding(model, version) is None:
            self._began.pop((model, version), None)

    def samples(self, key: tuple[str, str] | None = None) -> list[tuple[str, dict[str, str], float]]:
        """Metrics to publish: of a model's version (and of the model), or all.

        Results that never happened are 0, so that the first one is an increase.
        """
        samples: list[tuple[str, dict[str, str], float]] = []
        for model, version in self._began if key is None else self._began.keys() & {key}:
            where = {"model": model, "version": version}
            holding = self._episodes.holding(model, version)
            samples.append((metrics.DRIFT_EPISODES.name, where, float(self._began[model, version])))
            samples.append((metrics.DRIFT_EPISODE.name, where, float(holding is not None)))
            if holding is not None:
                onset = holding.began if holding.onset is None else holding.onset
                samples.append((metrics.DRIFT_EPISODE_ONSET.name, where, onset))
                samples.append((metrics.DRIFT_EPISODE_DETECTED.name, where, holding.began))
                samples.append((metrics.DRIFT_EPISODE_WINDOWS.name, where, float(holding.windows)))
        for model in self._models if key is None else self._models.keys() & {key[0]}:
            for result in RESULTS if self._triggered_here(model) else ():
                labels = {"model": model, "result": result.value}
                samples.append((metrics.RETRAIN_TRIGGERS.name, labels, float(self._results[model, result.value])))
        return samples

    def saved(self) -> Saved:
        """Everything to keep."""
        return Saved(
            episodes=self._episodes.saved(),
            began=[(*key, count) for key, count in self._began.items()],
            results=[(*key, count) for key, count in self._results.items()],
        )
