"""MLflow's registry: which version is champion and since when it was seen so, and what versions in use lack.

REST of MLflow 3.17 (`/api/2.0/mlflow`), the same since 2.0; aliases exist since 2.3. Moving an alias leaves no time
behind (store/model_registry/sqlalchemy_store.py), so the times are those at which it was seen here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from exporters.systems.registry_history import Keeper
from exporters.systems.source import Sample
from midwatch import metrics, registry
from midwatch.registry import API, UNUSED_STAGES, Registered, Version
from midwatch.rest import Api, StatusError
from midwatch.spec.model import Platform
from midwatch.spec.observed.mlflow import MlflowObserved

_IS_MODEL_FILE = re.compile(r"^flavors:", re.MULTILINE)
_SIGNATURE = re.compile(r"^signature:(?! *(?:null|~) *$)", re.MULTILINE)
"""The key in a file `MLmodel`, which MLflow writes as YAML of one key a line (models/model.py)."""


class Result(StrEnum):
    """Whether a version has something."""

    HAS = "has"
    LACKS = "lacks"
    UNKNOWN = "unknown"


# What versions lack ------------------------------------------------------------------------------------------------


class Checks:
    """Whether versions have an owner, a signature and an evaluation. A signature, once seen, is not asked for again."""

    def __init__(self, observed: MlflowObserved) -> None:
        self._observed = observed
        self._signatures: dict[tuple[str, str, float], Result] = {}

    def of(self, api: Api, name: str, registered: Registered, version: Version) -> dict[str, Result]:
        """Results by what was looked for."""
        return {
            "owner": self._owner(registered, version),
            "signature": self._signature(api, name, version),
            "evaluation": self._evaluation(api, version),
        }

    def _owner(self, registered: Registered, version: Version) -> Result:
        tag = self._observed.owner_tag
        return Result.HAS if (version.tags.get(tag) or registered.tags.get(tag)) else Result.LACKS

    def _signature(self, api: Api, name: str, version: Version) -> Result:
        key = name, version.number, version.created  # a number may come again when a model was deleted
        if key not in self._signatures:
            asked = {"name": name, "version": version.number, "path": "MLmodel"}
            found = _or_unknown(lambda: _of_model_file(api.text("/model-versions/get-artifact", **asked)))
            if found is Result.UNKNOWN:
                return found
            self._signatures[key] = found
        return self._signatures[key]

    def _evaluation(self, api: Api, version: Version) -> Result:
        if version.tags.get(self._observed.evaluation_tag):
            return Result.HAS
        if model := registry.LOGGED_MODEL.match(version.source):
            found = _or_unknown(lambda: _has_metrics(api.document(f"{API}/logged-models/{model[1]}")["model"]))
            if found is not Result.LACKS:
                return found
        if not version.run_id:
            return Result.LACKS
        return _or_unknown(lambda: _has_metrics(api.document(f"{API}/runs/get", run_id=version.run_id)["run"]))


def _of_model_file(text: str) -> Result:
    if not _IS_MODEL_FILE.search(text):
        return Result.UNKNOWN
    return Result.HAS if _SIGNATURE.search(text) else Result.LACKS


def _has_metrics(said: Mapping[str, Any]) -> Result:
    return Result.HAS if said.get("data", {}).get("metrics") else Result.LACKS


def _or_unknown(ask: Callable[[], Result]) -> Result:
    """The result; unknown where the server answers that it cannot say. MidwatchError when it does not answer at all."""
    try:
        return ask()
    except StatusError:
        return Result.UNKNOWN


# The source --------------------------------------------------------------------------------------------------------


class Registry:
    """MLflow's registry as a source."""

    def __init__(self, observed: MlflowObserved, models: Mapping[str, str], keeper: Keeper) -> None:
        """`models` are names in the registry by those of the platform file."""
        self._observed, self._models, self._keeper = observed, models, keeper
        self._checks = Checks(observed)

    def read(self, now: float) -> list[Sample]:
        """Samples of every model. What has changed in a role is on record when this returns."""
        api = Api(self._observed.url, self._observed.auth, self._observed.timeout)
        found = {model: registry.ask(api, name) for model, name in self._models.items()}
        champion = self._observed.champion_role
        self._keeper.look({model: {champion: (), **one.roles()} for model, one in found.items()}, now)
        return [sample for model, one in found.items() for sample in self._samples(api, model, one)]

    def _samples(self, api: Api, model: str, registered: Registered) -> Iterator[Sample]:
        champions = registered.roles().get(self._observed.champion_role, ())
        yield Sample(metric=metrics.REGISTRY_CHAMPIONS, labels={"model": model}, value=len(champions))
        for number in champions:
            served = self._observed.served_as.replace("{version}", number)
            labels = {"model": model, "version": number, "served_version": served}
            yield Sample(metric=metrics.REGISTRY_CHAMPION, labels=labels, value=1)
        for version in registered.in_use():
            yield from self._roles(model, registered, version)
            labels = {"model": model, "version": version.number}
            yield Sample(metric=metrics.REGISTRY_CREATED, labels=labels, value=version.created)
            for what, result in self._checks.of(api, self._models[model], registered, version).items():
                checked = {**labels, "what": what, "result": result.value}
                yield Sample(metric=metrics.REGISTRY_CHECK, labels=checked, value=1)

    def _roles(self, model: str, registered: Registered, version: Version) -> Iterator[Sample]:
        stage = "" if version.stage in UNUSED_STAGES else version.stage
        aliases = [alias for alias, number in registered.aliases.items() if number == version.number]
        for alias in aliases or [""]:
            labels = {"model": model, "version": version.number, "alias": alias, "stage": stage}
            yield Sample(metric=metrics.REGISTRY_VERSION, labels=labels, value=1)
            role = f"alias {alias}" if alias else f"stage {stage}" if stage else ""
            since = self._keeper.since(model, role, version.number) if role else None
            if since is not None:
                yield Sample(metric=metrics.REGISTRY_SINCE, labels=labels, value=since)


def build(platform: Platform, observed: MlflowObserved, state: Path) -> Registry:
    """The registry of the platform file; its history is kept in `state`."""
    models = observed.registered([model.name for model in platform.models])
    return Registry(observed, models, Keeper(state, observed.unseen))
