"""Episodes of drift: from the first drifted window to the second calm one in a row, and at most one trigger in each.

One calm window between two drifted ones belongs to the episode, as it belongs to the page. A window that decides
nothing neither lengthens an episode nor ends it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from monitors.drift.verdict import Judgement, Verdict

CALM = 2
"""Calm windows in a row that end an episode."""


class Trigger(StrEnum):
    """What became of an episode's trigger.

    `unknown`: it was sent and no answer came, so it is not sent again. `withdrawn`: drift ended before it was sent.
    """

    NONE = "none"
    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    WITHDRAWN = "withdrawn"


class Episode(msgspec.Struct):
    """Drift of one model version; times are seconds since the epoch. `features` are those that drifted last.

    It began in the window from `onset` to `began`, or where `onset` is not known, before `began`.
    """

    model: str
    version: str
    began: float
    windows: int = 0
    calm: int = 0
    reason: str = ""
    features: list[str] = []
    ended: float | None = None
    trigger: Trigger = Trigger.NONE
    attempts: int = 0
    due: float = 0.0
    onset: float | None = None

    @property
    def id(self) -> str:
        """The same for the same episode after any restart; fit for a Kubernetes name."""
        return id_of(self.model, self.version, self.began)


def id_of(model: str, version: str, began: float) -> str:
    """What an episode is called, whoever sees it."""
    return hashlib.sha256(f"{model}/{version}/{began:.3f}".encode()).hexdigest()[:16]


class Saved(msgspec.Struct):
    """Episodes that hold or whose trigger is under way, and when each model was last triggered."""

    episodes: list[Episode] = []
    triggered: dict[str, float] = {}


class Episodes:
    """Every episode that holds, and those whose trigger is still under way."""

    def __init__(self, saved: Saved) -> None:
        self._episodes = saved.episodes
        self._triggered = saved.triggered
        self._holding = {(one.model, one.version): one for one in self._episodes if one.ended is None}

    def observe(
        self,
        model: str,
        version: str,
        judgement: Judgement,
        *,
        start: float,
        end: float,
        after: int | None,
        cooldown: float,
    ) -> list[tuple[str, Episode]]:
        """Take a window's verdict in, and say what happened: `began`, `ended`, `due` (a trigger is to be sent).

        `after` is how many drifted windows make a trigger due, None for never; `cooldown` the least seconds between
        two triggers of a model, whatever its version.
        """
        episode = self.holding(model, version)
        if judgement.verdict is Verdict.DRIFT:
            return self._drifted(episode or self._begun(model, version, start, end), judgement, end, after, cooldown)
        if episode is None or judgement.verdict is Verdict.INCONCLUSIVE:
            return []
        episode.calm += 1
        if episode.calm < CALM:
            return []
        episode.ended = end
        del self._holding[model, version]
        if episode.trigger is Trigger.PENDING:
            episode.trigger = Trigger.WITHDRAWN
            self._triggered.pop(model, None)
        return [("ended", episode)]

    def _drifted(
        self,
        episode: Episode,
        judgement: Judgement,
        end: float,
        after: int | None,
        cooldown: float,
    ) -> list[tuple[str, Episode]]:
        changes = [] if episode.windows else [("began", episode)]
        episode.windows += 1
        episode.calm = 0
        episode.reason = judgement.reason
        episode.features = list(dict.fromkeys(finding.feature for finding in judgement.drifted))
        rested = end - self._triggered.get(episode.model, float("-inf")) >= cooldown
        if after is not None and episode.windows >= after and episode.trigger is Trigger.NONE and rested:
            episode.trigger, episode.due = Trigger.PENDING, end
            self._triggered[episode.model] = end
            changes.append(("due", episode))
        return changes

    def _begun(self, model: str, version: str, start: float, end: float) -> Episode:
        episode = Episode(model, version, began=end, onset=start)
        self._episodes.append(episode)
        self._holding[model, version] = episode
        return episode

    def holding(self, model: str, version: str) -> Episode | None:
        """The episode of a version that has not ended."""
        return self._holding.get((model, version))

    def forget(self) -> None:
        """Drop ended episodes whose trigger needs nothing more."""
        under_way = (Trigger.PENDING, Trigger.SENDING)
        self._episodes = [one for one in self._episodes if one.ended is None or one.trigger in under_way]

    def __iter__(self) -> Iterator[Episode]:
        return iter(self._episodes)

    def saved(self) -> Saved:
        """Everything to keep."""
        return Saved(episodes=self._episodes, triggered=self._triggered)


def document(platform: str, episode: Episode) -> dict[str, object]:
    """What a trigger says: flat, so that a Tekton TriggerBinding can bind each key as `$(body.key)`."""
    return {
        "event": "drift",
        "episode": episode.id,
        "platform": platform,
        "model": episode.model,
        "version": episode.version,
        "began": datetime.fromtimestamp(episode.began, UTC).isoformat(timespec="seconds"),
        "windows": episode.windows,
        "features": ",".join(episode.features),
        "reason": episode.reason,
    }
