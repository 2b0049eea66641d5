"""The drill of a model's loop: which model takes the marked copy of its traffic, and the drift that is put into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from midwatch.spec import cron
from midwatch.spec.base import Finding, Name, Place, Strict
from midwatch.spec.cron import LATE_SHARE, Cron
from midwatch.spec.dr import Evidence
from midwatch.spec.values import SomeDuration

if TYPE_CHECKING:
    from midwatch.spec.model import Model, Platform

UNSCHEDULED_AGE = 90 * 86400.0
"""Seconds: a drill that somebody runs by hand is expected every quarter."""


class DrillEvidence(Evidence):
    """Where drills of the loop leave what they have shown."""

    folder: Path = Field(default=Path("evidence/loop"), strict=False)
    """The folder it is written to."""


class Inject(Strict):
    """The known drift: a number of every request is multiplied, or moved. `factor` 1.609344 turns miles into km."""

    feature: Annotated[str, Field(min_length=1)]
    """The feature as `drift.features` names it; in a request, every number behind a key of that name."""
    factor: float = 1.0
    """What each value is multiplied by."""
    shift: float = 0.0
    """What is added to each value, after that."""

    @model_validator(mode="after")
    def _changes_something(self) -> Inject:
        if (self.factor, self.shift) == (1.0, 0.0):
            raise ValueError("changes nothing; write factor or shift")
        return self

    def __str__(self) -> str:
        moved = f" plus {self.shift:g}" if self.shift else ""
        return f"{self.feature} times {self.factor:g}{moved}"


class LoopDrill(Strict):
    """A model that takes nothing but a marked copy of another one's traffic, in drills of the loop.

    It is a model of its own in everything: server, reference, pipeline, registered model. This section is the mark: it
    says that the model may be drifted, retrained and promoted at any time.
    """

    copies: Name
    """The model whose traffic it gets a copy of, and whose loop the drill is of."""
    url: Annotated[str, Field(pattern=r"^https?://")]
    """Where its server takes a request."""
    requests: Path = Field(strict=False)
    """File with requests of the real model as they were recorded: one JSON object a line."""
    inject: Inject
    """The drift that is put into them."""
    rate: Annotated[float, Field(ge=1, le=1000)] = 20.0
    """Requests per second."""
    before: SomeDuration = 60.0
    """How long requests flow without drift; a window has to be judged in that time, or before."""
    restore: list[str] = []
    """Command that has the server take the champion of before again, where it does not follow the registry."""
    limit: SomeDuration | None = None
    """How long a better version is waited for; twice `recover_within` without it."""
    schedule: Cron | None = None
    """When a timer of systemd runs it, as cron writes it; `max_age` follows from it. Refused with `kubernetes`."""
    max_age: SomeDuration | None = None
    """How old its newest result may be."""

    @property
    def result_age(self) -> float:
        """Seconds within which there has to be a result."""
        if self.max_age is not None:
            return self.max_age
        if self.schedule is None:
            return UNSCHEDULED_AGE
        return LATE_SHARE * cron.parse(self.schedule).longest_gap()


def drilled(platform: Platform) -> list[Model]:
    """Models that take copies for drills."""
    return [model for model in platform.models if model.loop is not None and model.loop.drill is not None]


def find_problems(platform: Platform) -> Iterator[Finding]:
    """Drills that would show nothing, or hurt what they must not."""
    by_name = {model.name: model for model in platform.models}
    copied: set[str] = set()
    for index, model in enumerate(platform.models):
        if model.loop is None or model.loop.drill is None:
            continue
        drill, place = model.loop.drill, ("models", index, "loop", "drill")
        if drill.copies not in by_name or drill.copies == model.name:
            yield (
                (*place, "copies"),
                f"there is no other model {drill.copies!r}",
                f"known: {', '.join(sorted(by_name))}",
            )
        if drill.copies in copied:
            yield (*place, "copies"), f"a second drill of {drill.copies}", "give each model one"
        copied.add(drill.copies)
        if model.loop.recover_within is None:
            yield (*place[:-1], "recover_within"), "missing; a drill needs what is promised", "add recover_within"
        if drill.schedule is not None and platform.kubernetes is not None:
            # It reads the loop's log and sends recorded requests: the volume is the loop's pod's, the file nobody's.
            message = "nothing in a cluster would run it: no CronJob reaches the volume of the loop's log"
            remedy = f"write max_age, and run midwatch loop drill --model {drill.copies} in the loop's pod"
            yield (*place, "schedule"), message, remedy
        yield from _check_inject(place, model, drill)


def _check_inject(place: Place, model: Model, drill: LoopDrill) -> Iterator[Finding]:
    features = model.drift.features if model.drift else {}
    if model.drift is not None and drill.inject.feature not in features:
        known = ", ".join(sorted(features))
        yield (*place, "inject", "feature"), f"{model.name} watches no {drill.inject.feature!r}", f"watched: {known}"
    elif features.get(drill.inject.feature, "numeric") != "numeric":
        yield (*place, "inject", "feature"), f"{drill.inject.feature} is no number", "name a numeric feature"
