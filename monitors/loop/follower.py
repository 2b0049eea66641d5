"""Follows the episodes of one model: opens one when drift holds, has the retraining asked for, and records every step.

Each owner is asked at every look, and what it says that is new is recorded. One that does not answer holds up no other,
and its steps are not taken for missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from midwatch.errors import MidwatchError
from midwatch.evidence import EvidenceError
from monitors.drift.episodes import id_of
from monitors.loop import drifting, ending, trace
from monitors.loop.asking import Asker
from monitors.loop.better import Helped
from monitors.loop.drifting import Drifting, Drifts
from monitors.loop.ending import Facts
from monitors.loop.episode import Began, Episode, Outcome, Seen, Step
from monitors.loop.episode_log import EpisodeLog, open_one
from monitors.loop.owner import Owner, Place, Sight
from monitors.loop.owners import Owners

JUDGES = "drift"
"""Source of what the drift judges publish."""
LABELS = "labels"
"""Source of what the labels of both versions say."""

Compare = Callable[[Episode], Helped | None]
"""What the labels of both versions of an episode say; None where nobody compares them."""

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class View:
    """What the last look of a model found: why steps cannot be seen, why nothing was asked, who did not answer."""

    unobserved: dict[Step, str] = field(default_factory=dict)
    why_not_asked: str = ""
    problems: dict[str, str] = field(default_factory=dict)


class Follower:
    """Follows one model. One thread looks."""

    def __init__(
        self, place: Place, owners: Owners, log: EpisodeLog, asker: Asker, compare: Compare | None = None
    ) -> None:
        self._place, self._owners, self._log, self._asker = place, owners, log, asker
        self._compare = compare
        self._looked: dict[tuple[str, str], float] = {}
        self._answered: set[str] = set()
        self.view = View(unobserved=owners.unobserved)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._place.model.name

    @property
    def sources(self) -> list[str]:
        """Everybody who is asked."""
        compared = {LABELS} if self._compare else set()
        return sorted({JUDGES, *compared, *(owner.source for owner in self._owners.owners)})

    def look(self, now: float) -> None:
        """Ask everybody once, and record what is new. EvidenceError when it cannot be recorded."""
        self._answered.clear()
        self.view.problems = {}
        drifts = self._drifts()
        episode = open_one(self._log.of(self.model)) or self._begun(drifts, now)
        if episode is None:
            self.view.why_not_asked = ""
            return
        self._ask(episode, drifts, now)
        for owner in self._owners.owners:
            self._look_at(owner, episode, now)
        if (ended := ending.judge(episode, self._facts(episode, drifts, now))) is not None:
            self._log.append(ended)
            _log.info("episode ended", extra={"episode": episode.id, "outcome": ended.outcome, "cause": ended.cause})

    # Drift ---------------------------------------------------------------------------------------------------------

    def _drifts(self) -> Drifts | None:
        """What the judges say; None when they cannot be asked."""
        try:
            found = drifting.ask(self._place.client, self.model)
        except MidwatchError as error:
            self._failed(JUDGES, error)
            return None
        self._answered.add(JUDGES)
        return found

    def _begun(self, drifts: Drifts | None, now: float) -> Episode | None:
        """A new episode, if there is drift that began after the last one ended: what was there then is the same."""
        ended = max((one.ended or 0.0 for one in self._log.of(self.model)), default=float("-inf"))
        new = next((one for one in (drifts.holding if drifts else ()) if one.detected > ended), None)
        if new is None:
            return None
        began = Began(
            episode=id_of(self.model, new.version, new.detected),
            model=self.model,
            version=new.version,
            onset=new.onset,
            detected=new.detected,
            seen=now,
            features=new.features,
            platform=self._place.platform.platform,
        )
        _log.info("episode began", extra={"episode": began.episode, "model": self.model, "version": new.version})
        return self._log.append(began)

    def _ask(self, episode: Episode, drifts: Drifts | None, now: float) -> None:
        """Ask for the retraining, if it is due, and record that it was asked for."""
        self._asker.recover(now)
        held = self._of_version(drifts, episode.version)
        self.view.why_not_asked = self._asker.why_not(episode, held, now)
        if self._asker.is_due(episode, held, now):
            self._asker.ask(episode, held, now, trace.parent(episode.id))
            self.view.why_not_asked = ""
        if (asked := self._asker.step(episode, now)) is not None:
            self._log.append(asked)

    def _of_version(self, drifts: Drifts | None, version: str) -> Drifting | None:
        return next((one for one in (drifts.holding if drifts else ()) if one.version == version), None)

    # Owners --------------------------------------------------------------------------------------------------------

    def _look_at(self, owner: Owner, episode: Episode, now: float) -> None:
        try:
            sights = owner.look(episode, now)
        except EvidenceError:
            raise
        except MidwatchError as error:
            self._failed(owner.source, error)
            return
        except Exception as error:  # an answer of a form that nobody knows must not end the other owners
            _log.exception("%s: an unexpected answer", owner.source)
            self._failed(owner.source, MidwatchError(f"unexpected {type(error).__name__}: {error}"))
            return
        self._answered.add(owner.source)
        key = owner.source, episode.id
        for sight in sights:
            if _is_new(episode, owner.source, sight):
                self._log.append(_seen(episode, owner.source, sight, now, self._looked.get(key)))
                _log.info("step seen", extra={"episode": episode.id, "step": sight.step, "result": sight.result})
        self._looked[key] = now

    def _failed(self, source: str, error: MidwatchError) -> None:
        self.view.problems[source] = str(error)

    def _facts(self, episode: Episode, drifts: Drifts | None, now: float) -> Facts:
        settings = self._place.platform.loop
        is_well = episode.is_done(Step.WELL) and episode.outcome is Outcome.OPEN
        return Facts(
            now=now,
            give_up_after=self._place.settings.give_up_after,
            interval=settings.interval if settings else 0.0,
            calm=drifts is not None and episode.version in drifts.calm,
            answered=frozenset(self._answered),
            blind=frozenset(self._owners.unobserved),
            unanswered=self._unanswered(),
            helped=self._helped(episode) if is_well else None,
            decide_within=self._place.settings.decide_within,
        )

    def _unanswered(self) -> frozenset[Step]:
        """Steps of which somebody did not answer at this look; to ask follows from what the judges say."""
        silent = {step for one in self._owners.owners if one.source not in self._answered for step in one.steps}
        return frozenset(silent if JUDGES in self._answered else silent | {Step.ASKED})

    def _helped(self, episode: Episode) -> Helped | None:
        """What the labels say; nothing while they cannot be asked for."""
        try:
            return self._compare(episode) if self._compare else None
        except MidwatchError as error:
            self._failed(LABELS, error)
        except Exception as error:  # a comparison that fails must not leave the episode open for ever
            _log.exception("the labels could not be compared")
            self._failed(LABELS, MidwatchError(f"unexpected {type(error).__name__}: {error}"))
        return None


def _is_new(episode: Episode, source: str, sight: Sight) -> bool:
    """Whether the owner has not said this before: another result, thing or fact of the step."""
    last = next((one for one in reversed(episode.steps) if (one.step, one.source) == (sight.step, source)), None)
    return last is None or (last.result, last.id, last.facts) != (sight.result, sight.id, dict(sight.facts))


def _seen(episode: Episode, source: str, sight: Sight, now: float, last_look: float | None) -> Seen:
    return Seen(
        episode=episode.id,
        step=sight.step,
        result=sight.result,
        source=source,
        id=sight.id,
        at=sight.at,
        seen=now,
        not_before=last_look if sight.at is None else None,
        said=sight.said,
        facts=dict(sight.facts),
    )
