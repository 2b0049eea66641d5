"""The loop in the platform file: who follows an episode from drift to a better model, and what its steps are called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from midwatch.spec import loop_drill
from midwatch.spec.base import Finding, Strict
from midwatch.spec.loop_drill import DrillEvidence, LoopDrill
from midwatch.spec.scraped import Scraped
from midwatch.spec.values import Duration

if TYPE_CHECKING:
    from midwatch.spec.model import Model, Platform

TaskName = Annotated[str, Field(min_length=1, max_length=253)]
"""A task of a pipeline, as the pipeline calls it."""

RegistryName = Annotated[str, Field(min_length=1, max_length=255)]
"""A name of MLflow's, whose columns hold so many characters."""


class Tasks(Strict):
    """What a pipeline calls its tasks. A step without such a task is not observed there, and said to be so."""

    training: TaskName = "train"
    """The task that trains; without it in the run, the end of the run's tasks counts."""
    data_validation: TaskName = "validate-data"
    """The check of the data that is trained on."""
    evaluation: TaskName = "evaluate"
    """The evaluation of what was trained."""
    security_scan: TaskName = "security-scan"
    """The scan of the model and its image."""
    bias_check: TaskName = "bias-check"
    """The comparison of groups."""


class ModelLoop(Strict):
    """How a model's episodes are followed, and what is promised of them."""

    recover_within: Annotated[Duration, Field(ge=1.0)] | None = None
    """Promised time from the drift's onset until a better version has all traffic."""
    give_up_after: Annotated[Duration, Field(ge=1.0)] = 7 * 86400.0
    """How long the next step may be missing before the episode counts as abandoned."""
    decide_within: Annotated[Duration, Field(ge=1.0)] | None = None
    """How long the labels may take to say whether the new version is better, once the drift is gone; the episode is
    undecided after that. Without it what they say at once counts, and drift that is gone where they say nothing."""
    tasks: Tasks = Tasks()
    """What the pipeline calls its tasks."""
    experiment: RegistryName | None = None
    """MLflow's experiment of the training runs: one with the tag `midwatch.episode` is seen as soon as it starts."""
    drill: LoopDrill | None = None
    """Makes this model one that takes [copies for drills](loop-drill.md), and says which."""


class Loop(Scraped):
    """The service of `midwatch loop serve`: it asks for each retraining, once, and follows what becomes of it.

    With this section the exporters judge drift and ask nobody: however many there are, one retraining is asked for.
    """

    listen: str = "127.0.0.1:9560"
    """HOST:PORT where it serves `/metrics`; off loopback it needs a token."""
    interval: Annotated[Duration, Field(ge=0.5)] = 15.0
    """How often every owner of steps is asked."""
    timeout: Annotated[Duration, Field(ge=0.1)] = 10.0
    """How long one answer may take."""
    evidence: DrillEvidence = DrillEvidence()
    """Where [drills](loop-drill.md) leave what they have shown."""


def followed(platform: Platform) -> list[Model]:
    """Models whose episodes are followed: those that drift retrains, once the file has a loop."""
    if platform.loop is None:
        return []
    return [model for model in platform.models if model.drift is not None and model.drift.retrain is not None]


def find_problems(platform: Platform) -> Iterator[Finding]:
    """Parts of the loop that nothing would use."""
    is_compared = any(model.regression for model in platform.models)
    if platform.loop is not None and not followed(platform) and not is_compared:
        yield (
            ("loop",),
            "no model has drift.retrain, so there is nothing to follow",
            "add it to a model, or remove loop",
        )
    for index, model in enumerate(platform.models):
        if model.loop is None:
            continue
        place = ("models", index, "loop")
        if platform.loop is None:
            yield place, "nobody follows episodes without the section loop", "add loop: {} to the file"
        if model.drift is None or model.drift.retrain is None:
            yield place, f"nothing retrains {model.name}", "add drift.retrain, or remove this section"
    yield from loop_drill.find_problems(platform)
