"""Asking for the retraining of an episode: once, whatever dies in between.

Before an attempt it is on record that one begins. A webhook that was begun and has no answer on record may have been
taken: it is `unknown` and never sent again. A PipelineRun has its episode in its name, so that it may be.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from midwatch.spec.drift import Retrain
from midwatch.spec.model import Model, Platform
from midwatch.spec.values import describe_duration
from monitors.drift import episodes as drift_episodes
from monitors.drift import trigger
from monitors.drift.episodes import Trigger
from monitors.drift.retraining import ATTEMPTS, BACKOFF
from monitors.drift.trigger import Outcome
from monitors.loop.drifting import Drifting
from monitors.loop.episode import Asked, Asking, Episode, Result, Seen, Step
from monitors.loop.episode_log import EpisodeLog

Send = Callable[[Retrain, Path, dict[str, Any], str], Outcome]

_log = logging.getLogger(__name__)


class Asker:
    """Asks for retrainings of one model. `base` is the folder that files of the platform file are relative to."""

    def __init__(
        self, platform: Platform, model: Model, retrain: Retrain, base: Path, log: EpisodeLog, send: Send = trigger.send
    ) -> None:
        self._platform, self._model, self._retrain, self._base = platform, model, retrain, base
        self._log, self._send = log, send

    def recover(self, now: float) -> None:
        """Say what became of an attempt that was begun and whose answer is not on record.

        The process that made it has died, or could not write the answer down, as on a full disk.
        """
        for episode in self._log.of(self._model.name):
            if episode.trigger is Trigger.SENDING:
                self._interrupted(episode, now)

    def _interrupted(self, episode: Episode, now: float) -> None:
        if self._retrain.pipeline_run is not None:
            said = "it is not on record whether it was created; it is created again, under the same name"
            self._log.append(Asked(episode=episode.id, result=Trigger.PENDING, said=said, at=now, retry_at=now))
        else:
            said = "its answer is not on record: it may have been taken, and is not sent again"
            self._log.append(Asked(episode=episode.id, result=Trigger.UNKNOWN, said=said, at=now))

    def is_due(self, episode: Episode, drifting: Drifting | None, now: float) -> bool:
        """Whether an attempt is to be made now."""
        if episode.trigger is Trigger.PENDING:
            return episode.retry_at <= now and drifting is not None
        has_held = drifting is not None and drifting.windows >= self._retrain.windows
        return episode.trigger is Trigger.NONE and has_held and self.rests_until() <= now

    def rests_until(self) -> float:
        """When the model may be retrained again: the cooldown begins with the end of the last episode that asked."""
        asked = [one for one in self._log.of(self._model.name) if one.attempts and one.ended is not None]
        return max((one.ended or 0.0 for one in asked), default=float("-inf")) + self._retrain.cooldown

    def why_not(self, episode: Episode, drifting: Drifting | None, now: float) -> str:
        """Why nothing was asked yet; empty when something was."""
        if episode.trigger is not Trigger.NONE:
            return ""
        if drifting is None or drifting.windows < self._retrain.windows:
            held = 0 if drifting is None else drifting.windows
            return f"{held} of the {self._retrain.windows} drifted windows that make a retraining due"
        left = self.rests_until() - now
        return f"the model rests for another {describe_duration(float(math.ceil(left)))}" if left > 0 else ""

    def ask(self, episode: Episode, drifting: Drifting | None, now: float, trace_parent: str) -> None:
        """Make one attempt; what becomes of it is on record when this returns."""
        attempt = episode.attempts + 1
        self._log.append(Asking(episode=episode.id, attempt=attempt, at=now))
        outcome = self._send(self._retrain, self._base, self._document(episode, drifting), trace_parent)
        _log.info("retraining asked for", extra={"episode": episode.id, "result": outcome.trigger.value})
        self._settle(episode, attempt, outcome, now)

    def _settle(self, episode: Episode, attempt: int, outcome: Outcome, now: float) -> None:
        result, said, retry_at = outcome.trigger, outcome.said, None
        if result is Trigger.PENDING and attempt >= ATTEMPTS:
            result, said = Trigger.FAILED, f"after {ATTEMPTS} attempts: {said}"
        elif result is Trigger.PENDING:
            retry_at = now + BACKOFF * 2 ** (attempt - 1)
        request = outcome.request
        self._log.append(
            Asked(episode=episode.id, result=result, said=said, at=now, request=request, retry_at=retry_at)
        )

    def step(self, episode: Episode, now: float) -> Seen | None:
        """The step of having asked, once it is known what became of it."""
        results = {Trigger.SENT: Result.DONE, Trigger.FAILED: Result.FAILED}
        if episode.trigger not in results or episode.last(Step.ASKED) is not None:
            return None
        return Seen(
            episode=episode.id,
            step=Step.ASKED,
            result=results[episode.trigger],
            source="pipeline_run" if self._retrain.pipeline_run else "webhook",
            id=episode.request or episode.id,
            at=episode.retry_at,
            seen=now,
            said=episode.said,
        )

    def _document(self, episode: Episode, drifting: Drifting | None) -> dict[str, Any]:
        """What the trigger says: the same as that of an exporter."""
        features = list(drifting.features if drifting else episode.features)
        said = drift_episodes.Episode(
            episode.model,
            episode.version,
            began=episode.detected,
            windows=drifting.windows if drifting else 0,
            features=features,
            reason=f"drift of {_listed(features)} in {drifting.windows if drifting else 0} windows",
        )
        return {**drift_episodes.document(self._platform.platform, said), "episode": episode.id}


def _listed(features: Iterable[str]) -> str:
    return ", ".join(features) or "the rows together"
