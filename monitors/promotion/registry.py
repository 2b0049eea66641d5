"""MLflow's registry for a promotion: what a version shows, and the alias that is moved.

Moving an alias takes no expected old value and leaves neither who nor when behind (mlflow
store/model_registry/sqlalchemy_store.py, 3.17), so it is read before and after. Who and why are tags of the version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from midwatch import registry
from midwatch.errors import InvalidInputError, MidwatchError, Problem
from midwatch.registry import API, Registered, Version
from midwatch.rest import StatusError, WritableApi
from midwatch.spec.model import Platform
from midwatch.spec.observed.mlflow import MlflowObserved

_READY = "READY"
_MOST_TAG = 5000
"""Characters of a tag's value; older servers take no more (5,000 until 2.x, 100,000 in 3.17: mlflow
utils/validation.py)."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the registry shows of a version: whether it is there and ready, its tags, its metrics (None: not said)."""

    exists: bool
    is_ready: bool
    tags: Mapping[str, str]
    metrics: Mapping[str, float] | None


class Registry:
    """The registry of a platform's models, asked and told as `systems.mlflow.observe` says."""

    def __init__(self, observed: MlflowObserved, models: Mapping[str, str]) -> None:
        self.observed = observed
        self.models = models
        self._api = WritableApi(observed.url, observed.auth, observed.timeout)

    @classmethod
    def of(cls, platform: Platform) -> Registry:
        """The registry that the platform file names; InvalidInputError when it names none."""
        use = platform.systems.get("mlflow")
        if use is None or not isinstance(use.observe, MlflowObserved):
            message = "nobody says where the registry is"
            remedy = "add systems.mlflow.observe with its url"
            raise InvalidInputError([Problem(file="--file", path="systems.mlflow", message=message, remedy=remedy)])
        return cls(use.observe, use.observe.registered([model.name for model in platform.models]))

    def name_of(self, model: str) -> str:
        """What a model is called in the registry; InvalidInputError for one that is not looked up there."""
        if model not in self.models:
            known = ", ".join(self.models) or "none"
            message = f"{model!r} is not looked up in the registry"
            raise InvalidInputError([Problem(file="MODEL", message=message, remedy=f"known: {known}")])
        return self.models[model]

    # Asking --------------------------------------------------------------------------------------------------------

    def ask(self, model: str) -> Registered:
        """A model's versions and roles; MidwatchError when the registry does not answer."""
        return registry.ask(self._api, self.name_of(model))

    def champion(self, found: Registered) -> str | None:
        """The version in the role of the champion; None where none is, and MidwatchError where several are."""
        numbers = found.roles().get(self.observed.champion_role, ())
        if len(numbers) > 1:
            raise MidwatchError(f"versions {', '.join(numbers)} are all {self.observed.role} in the registry")
        return numbers[0] if numbers else None

    def shown(self, found: Registered, number: str) -> Shown:
        """What a version shows; MidwatchError when the registry does not answer."""
        version = next((one for one in found.versions if one.number == number), None)
        if version is None:
            return Shown(exists=False, is_ready=False, tags={}, metrics=None)
        is_ready = version.status == _READY
        return Shown(exists=True, is_ready=is_ready, tags=version.tags, metrics=self._metrics(version))

    def _metrics(self, version: Version) -> Mapping[str, float] | None:
        """Metrics of the run, and over them those of the logged model; None where the registry does not say them."""
        try:
            run = registry.run(self._api, version.run_id) if version.run_id else None
            logged = registry.logged_metrics(self._api, version)
        except StatusError:
            return None
        return {**(run.metrics if run else {}), **dict(map(_value, logged))}

    # Telling -------------------------------------------------------------------------------------------------------

    def tag(self, model: str, number: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version; MidwatchError when it cannot be told."""
        for key, value in tags.items():
            document = {"name": self.name_of(model), "version": number, "key": key, "value": value[:_MOST_TAG]}
            self._api.post(f"{API}/model-versions/set-tag", document)

    def make_champion(self, model: str, number: str) -> None:
        """Give a version the champion's alias, or move it to its stage; MidwatchError when it cannot be told."""
        name = self.name_of(model)
        if self.observed.stage is None:
            document = {"name": name, "alias": self.observed.role, "version": number}
            self._api.post(f"{API}/registered-models/alias", document)
            return
        document = {"name": name, "version": number, "stage": self.observed.stage}
        self._api.post(f"{API}/model-versions/transition-stage", {**document, "archive_existing_versions": True})


def _value(metric: Mapping[str, Any]) -> tuple[str, float]:
    return str(metric["key"]), float(metric["value"])
