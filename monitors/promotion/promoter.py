"""Promoting a version: decided, written down, done and read back, in this order; and the way back.

The registry cannot be asked to move an alias only from an expected version: two promoters race. So it is read back, and
a promotion that lost is on record as failed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midwatch import evidence
from midwatch.errors import InvalidInputError, MidwatchError, Problem
from midwatch.spec.model import Model, Platform
from midwatch.spec.promotion import Promotion
from monitors.promotion import log
from monitors.promotion.log import Known, Stands
from monitors.promotion.registry import Registry
from monitors.promotion.requirements import Answer, Decision, Facts, State, decide


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A promotion that somebody asks for; `canary` is the version as the gate's verdicts call it, where not as served.

    With an `override`, the reason for it, a version is promoted that lacks something; that is on record. A rollback
    needs nothing but a record that the version was champion before.
    """

    model: str
    version: str
    by: str
    canary: str = ""
    override: str = ""
    is_rollback: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was decided, and whether the version is champion now; `previous` is who was. `problem`: why it is not."""

    asked: Asked
    decision: Decision
    previous: str | None
    is_champion: bool
    problem: str = ""


class Promoter:
    """Decides and promotes. `path` is the gate's evidence log, which says the verdicts and takes the promotions."""

    def __init__(
        self, platform: Platform, path: Path, registry: Registry, clock: Callable[[], float] = time.time
    ) -> None:
        self._models = {model.name: model for model in platform.models}
        self._registry, self._clock = registry, clock
        self._log = evidence.Log(path)
        self.known = Known.of(path)
        self.lock = threading.RLock()
        """Held while the registry is looked at or told: what is decided is done before anything else is."""

    def decide(self, asked: Asked) -> Decision:
        """Whether a version may become champion. InvalidInputError for a model that is not known here."""
        with self.lock:
            return self._decided(asked)[0]

    def promote(self, asked: Asked) -> Outcome:
        """Make a version champion if it may be; what was decided and done is on record when this returns.

        EvidenceError when it cannot be written down: then nothing was done, or what was done is said to be begun.
        """
        with self.lock:
            return self._promoted(asked)

    def _promoted(self, asked: Asked) -> Outcome:
        decision, previous = self._decided(asked)
        stands = tuple(Stands(name=one.name, state=one.state.value, reason=one.reason) for one in decision.requirements)
        answer = decision.answer.value
        if not self._may(asked, decision):
            refused = log.Refused(
                model=asked.model,
                version=asked.version,
                by=asked.by,
                answer=answer,
                reason=decision.reason,
                requirements=stands,
            )
            log.append(self._log, self.known, refused)
            return Outcome(
                asked=asked,
                decision=decision,
                previous=previous,
                is_champion=False,
                problem=self._why_not_back(asked),
            )
        began = log.Began(
            model=asked.model,
            version=asked.version,
            previous=previous,
            role=self._registry.observed.champion_role,
            by=asked.by,
            at=self._clock(),
            answer=answer,
            requirements=stands,
            override=asked.override,
            is_rollback=asked.is_rollback,
        )
        record = self._log.append_event(began)
        self.known.read()
        problem, found = self._told(asked, previous, record)
        if problem:
            failed = log.Failed(model=asked.model, version=asked.version, found=found, reason=problem)
            log.append(self._log, self.known, failed)
        else:
            done = log.Done(model=asked.model, version=asked.version, previous=previous, by=asked.by)
            log.append(self._log, self.known, done)
        return Outcome(asked=asked, decision=decision, previous=previous, is_champion=not problem, problem=problem)

    def _may(self, asked: Asked, decision: Decision) -> bool:
        """Whether it is done: allowed, overridden with a reason, or back to what is on record as a champion.

        What the registry does not have, nobody makes champion.
        """
        if decision.answer is Answer.ALLOWED:
            return True
        is_there = decision.requirements[0].state is State.HAS
        is_back = asked.is_rollback and self.known.was_champion(asked.model, asked.version)
        return is_there and (is_back or bool(asked.override.strip()))

    def _why_not_back(self, asked: Asked) -> str:
        if not asked.is_rollback or self.known.was_champion(asked.model, asked.version):
            return ""
        return (
            f"no record tells that version {asked.version} was champion before; --override REASON goes on all the same"
        )

    def _told(self, asked: Asked, previous: str | None, record: evidence.Record) -> tuple[str, str | None]:
        """Tell the registry; why the version is not champion (empty when it is), and which one is."""
        tags = {
            "midwatch.promoted_by": asked.by,
            "midwatch.evidence": f"{record.seq}:{record.hash}",
            "midwatch.previous": previous or "none",
        }
        try:
            self._registry.tag(asked.model, asked.version, tags)
            self._registry.make_champion(asked.model, asked.version)
        except MidwatchError as error:
            problem = str(error)
        else:
            problem = ""
        try:
            found = self._registry.champion(self._registry.ask(asked.model))
        except MidwatchError as error:
            return problem or f"the registry could not be read back: {error}", None
        if found == asked.version:
            return "", found
        return problem or f"somebody else promoted at the same time: version {found or 'none'} is champion", found

    # What is known -------------------------------------------------------------------------------------------------

    def _model(self, name: str) -> Model:
        if name not in self._models:
            known = ", ".join(self._models) or "none"
            message = f"there is no model {name!r}"
            raise InvalidInputError([Problem(file="MODEL", message=message, remedy=f"known: {known}")])
        return self._models[name]

    def _decided(self, asked: Asked) -> tuple[Decision, str | None]:
        model = self._model(asked.model)
        self._registry.name_of(asked.model)
        self.known.read()
        facts, previous = self._facts(asked, model)
        return decide(facts, model.promotion or Promotion(), self._clock()), previous

    def _facts(self, asked: Asked, model: Model) -> tuple[Facts, str | None]:
        served_version = self._registry.observed.served_version
        served = asked.canary or served_version(asked.version)
        common: dict[str, Any] = {
            "model": asked.model,
            "version": asked.version,
            "served": served,
            "verdicts": self.known.verdicts(asked.model),
            "min_requests": model.canary.min_requests if model.canary else 1,
            "log_problem": self.known.problem,
        }
        try:
            found = self._registry.ask(asked.model)
            champion = self._registry.champion(found)
            shown = self._registry.shown(found, asked.version)
        except MidwatchError as error:
            return Facts(**common, problem=str(error)), None
        previous = champion
        if champion == asked.version:  # it is champion already: what counts is whom it replaced
            previous = self.known.before(asked.model, asked.version)
        against = None if previous in (None, asked.version) else served_version(str(previous))
        facts = Facts(
            **common,
            champion=against,
            exists=shown.exists,
            is_ready=shown.is_ready,
            tags=shown.tags,
            metrics=shown.metrics,
        )
        return facts, previous


def document(outcome: Outcome) -> dict[str, Any]:
    """What became of a promotion, as JSON."""
    return {
        **of_decision(outcome.asked, outcome.decision),
        "promoted": outcome.is_champion,
        "previous": outcome.previous,
        "problem": outcome.problem,
    }


def of_decision(asked: Asked, decision: Decision) -> dict[str, Any]:
    """An answer with how each requirement stands, as JSON."""
    return {
        "model": asked.model,
        "version": asked.version,
        "answer": decision.answer.value,
        "reason": decision.reason,
        "lacking": list(decision.lacking),
        "requirements": [
            {"name": one.name, "state": one.state.value, "reason": one.reason, "remedy": one.remedy}
            for one in decision.requirements
        ],
    }
