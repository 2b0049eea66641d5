"""Watches who is champion, and finds promotions that went around the gate. A webhook only makes it look sooner."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from midwatch import evidence, exposition, metrics
from midwatch.errors import MidwatchError
from midwatch.registry import Registered
from midwatch.spec.model import Model
from monitors.promotion import log
from monitors.promotion.log import Counted, Known
from monitors.promotion.promoter import Asked, Promoter
from monitors.promotion.registry import Registry
from monitors.promotion.requirements import Answer
from monitors.promotion.webhook import Delivery

REQUEST_TAG, REQUESTED, REASON_TAG = "midwatch.promotion", "requested", "midwatch.promotion_reason"
"""A version that asks for its promotion by a tag, and where it finds the answer."""
SETTLED_SECONDS = 60.0
"""A promotion that began so long ago and is champion was made by a process that ended before it could say so."""

_log = logging.getLogger(__name__)


class Watch:
    """Looks at the champions of models, and writes down what went around the gate."""

    def __init__(
        self,
        models: Sequence[Model],
        registry: Registry,
        promoter: Promoter,
        events: evidence.Log,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._models = {model.name: model for model in models}
        self._registry, self._promoter, self._events, self._clock = registry, promoter, events, clock
        self._looks: dict[str, float] = {}

    @property
    def _known(self) -> Known:
        return self._promoter.known

    # Looking -------------------------------------------------------------------------------------------------------

    def look(self) -> list[str]:
        """Look at every model once; what went wrong, by model, whatever that is: the next look may find it mended."""
        problems = []
        for model in self._models.values():
            try:
                with self._promoter.lock:
                    self._look_at(model)
            except MidwatchError as error:
                problems.append(f"{model.name}: {error}")
            except Exception as error:
                _log.exception("the look at %s failed", model.name)
                problems.append(f"{model.name}: the look failed: {type(error).__name__}")
        return problems

    def _look_at(self, model: Model) -> None:
        found = self._registry.ask(model.name)
        champion = self._registry.champion(found)
        self._known.read()
        self._notice(model.name, champion)
        if model.promotion is not None and model.promotion.by_tag:
            self._promote_requested(model.name, found)
        self._looks[model.name] = self._clock()

    def _notice(self, model: str, version: str | None) -> None:
        """Write down what is new about who is champion."""
        now = self._clock()
        intended, around = self._known.intended(model, now), self._known.around(model)
        if intended is not None and intended.version == version:
            if now - intended.at > SETTLED_SECONDS:
                self._write(log.Done(model=model, version=intended.version, previous=intended.previous, by=intended.by))
        elif not self._known.is_watched(model):
            self._write(log.FirstSeen(model=model, version=version, seen=now))
        elif version == self._known.champion(model):
            if around is not None:
                self._write(log.Mended(model=model, version=version, seen=now))
        elif around is None or around.version != version:
            previous = self._known.champion(model)
            self._write(log.Around(model=model, version=version, previous=previous, seen=now, seen_by="alias"))

    def _write(self, event: log.Event) -> None:
        log.append(self._events, self._known, event)

    # What others say -----------------------------------------------------------------------------------------------

    def take(self, delivery: Delivery) -> bool:
        """Take an event of the registry in; whether a watched model is concerned, so that it is time to look.

        A version that never was champion, on record, and got the alias is around the gate, also when the alias has
        moved on by the time somebody looks. EvidenceError when that cannot be written down.
        """
        named = delivery.alias()
        by_name = {self._registry.models[name]: name for name in self._models if name in self._registry.models}
        if named is None or named[1] != self._registry.observed.role or self._registry.observed.stage is not None:
            return delivery.data.get("name") in by_name
        name, _, version = named
        model = by_name.get(name)
        if model is None:
            return False
        with self._promoter.lock:
            self._known.read()
            now = self._clock()
            intended, around = self._known.intended(model, now), self._known.around(model)
            is_known = version is None or self._known.was_champion(model, version)
            is_meant = intended is not None and intended.version == version
            is_told = around is not None and around.version == version
            if self._known.is_watched(model) and not (is_known or is_meant or is_told):
                previous = self._known.champion(model)
                self._write(log.Around(model=model, version=version, previous=previous, seen=now, seen_by="webhook"))
        return True

    def _promote_requested(self, model: str, found: Registered) -> None:
        """Promote versions that ask for it by a tag. One that is undecided goes on asking."""
        for version in found.versions:
            if version.tags.get(REQUEST_TAG) != REQUESTED:
                continue
            asked = Asked(model=model, version=version.number, by=f"tag {REQUEST_TAG}")
            if self._promoter.decide(asked).answer is Answer.UNDECIDED:
                continue
            outcome = self._promoter.promote(asked)
            word = "promoted" if outcome.is_champion else "refused"
            reason = outcome.problem or outcome.decision.reason
            self._registry.tag(model, version.number, {REQUEST_TAG: word, REASON_TAG: reason})

    # Life ----------------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event, now: threading.Event) -> None:
        """Look in the interval of the registry until `stop`, and at once when `now` is set."""
        said: list[str] = []
        while not stop.is_set():
            now.clear()
            problems = self.look()
            if problems != said:
                _log.warning("the registry is %s", "; ".join(problems) or "seen again")
            said = problems
            now.wait(self._registry.observed.interval)

    def samples(self) -> list[exposition.Sample]:
        """What is published: events by model, whether the champion is on record, and when that was last seen."""
        found: list[exposition.Sample] = []
        for model in self._models:
            counts = self._known.counts
            found += [
                (metrics.PROMOTION_EVENTS, {"model": model, "event": one.value}, float(counts[model, one]))
                for one in Counted
            ]
            if model in self._looks:
                found.append((metrics.PROMOTION_LAST_LOOK, {"model": model}, self._looks[model]))
                around = self._known.around(model)
                version = self._known.champion(model) if around is None else around.version
                labels = {"model": model, "version": version or "none"}
                found.append((metrics.PROMOTION_UNRECORDED, labels, float(around is not None)))
        return found
