"""The commands that take a version back where it is served and where it is registered. Nothing is run here."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from midwatch.spec.canary import Rollout
from midwatch.spec.model import Model, Platform
from midwatch.spec.observed.mlflow import MlflowObserved


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line, what it does, and when it is the right one."""

    does: str
    line: str


def commands(platform: Platform, model: Model, *, old: str, new: str, file: Path) -> list[Command]:
    """How to go back from `new` to `old`, versions as servers call them, where the platform file says what serves."""
    found = list(_of_rollout(model.canary.rollout, new) if model.canary and model.canary.rollout else ())
    mlflow = platform.systems.get("mlflow")
    if mlflow is not None and isinstance(mlflow.observe, MlflowObserved):
        found += _of_registry(mlflow.observe, model.name, old, file)
    return found


def _of_rollout(rollout: Rollout, new: str) -> Iterator[Command]:
    """Of Argo Rollouts: what aborts a rollout that goes on, and what undoes one that is through."""
    of = [rollout.name, *(("-n", rollout.namespace) if rollout.namespace else ())]
    yield Command(
        does=f"while only part of the traffic goes to {new}: all of it goes back at once",
        line=shlex.join(["kubectl", "argo", "rollouts", "abort", *of]),
    )
    yield Command(
        does=f"when {new} has all traffic: the revision before is rolled out, through its canary steps; "
        "where Argo CD syncs by itself, revert the commit instead",
        line=shlex.join(["kubectl", "argo", "rollouts", "undo", *of]),
    )


def _of_registry(observed: MlflowObserved, model: str, old: str, file: Path) -> Iterator[Command]:
    number = observed.number_of(old)
    if number is None:
        return
    yield Command(
        does=f"{observed.champion_role} of the registry back to version {number}, on record",
        line=shlex.join(["midwatch", "canary", "promote", "-f", str(file), model, number, "--rollback"]),
    )
    if observed.stage is None:
        body = json.dumps({"name": observed.registered([model])[model], "alias": observed.role, "version": number})
        url = f"{observed.url.rstrip('/')}/api/2.0/mlflow/registered-models/alias"
        yield Command(
            does="the same without Midwatch, and without a record",
            line=shlex.join(["curl", "-fsS", "-X", "POST", url, "-H", "Content-Type: application/json", "-d", body]),
        )
