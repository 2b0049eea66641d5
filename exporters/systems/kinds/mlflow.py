"""MLflow's registry: which version is champion and since when it was seen so, and what versions in use lack.

REST of MLflow 3.17 (`/api/2.0/mlflow`), the same since 2.0; aliases exist since 2.3. Moving an alias leaves no time
behind (store/model_registry/sqlalchemy_store.py), so the times are those at which it was seen here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any

from exporters.systems.registry_history import Keeper
from exporters.systems.rest import Api, StatusError
from exporters.systems.source import Sample
from midwatch import metrics
from midwatch.errors import MidwatchError
from midwatch.spec.model import Platform
from midwatch.spec.observed.mlflow import MlflowObserved

_API = "/api/2.0/mlflow"
_PAGE = 1000
_MOST_PAGES = 20
"""20,000 versions of one model; more is a registry that nobody can look through."""
_UNUSED_STAGES = frozenset({"", "None", "Archived"})
_LOGGED_MODEL = re.compile(r"models:/(m-[0-9a-f]+)")
"""Source of a version since MLflow 3: the logged model, which has the metrics."""
_IS_MODEL_FILE = re.compile(r"^flavors:", re.MULTILINE)
_SIGNATURE = re.compile(r"^signature:(?! *(?:null|~) *$)", re.MULTILINE)
"""The key in a file `MLmodel`, which MLflow writes as YAML of one key a line (models/model.py)."""


class Result(StrEnum):
    """Whether a version has something."""

    HAS = "has"
    LACKS = "lacks"
    UNKNOWN = "unknown"


# What the registry says --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a registered model; `created` is seconds since 1970."""

    number: str
    stage: str
    created: float
    run_id: str
    source: str
    tags: Mapping[str, str]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Version:
        """The version in an answer; KeyError and ValueError for what is none."""
        return cls(
            number=str(said["version"]),
            stage=str(said.get("current_stage") or "None"),
            created=float(said["creation_timestamp"]) / 1000,
            run_id=str(said.get("run_id") or ""),
            source=str(said.get("source") or ""),
            tags=_tags(said),
        )


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A registered model: its versions, those that have an alias, and its own tags. Empty where there is none."""

    versions: tuple[Version, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def in_stage(self, stage: str) -> tuple[str, ...]:
        """Numbers of the versions in a stage."""
        return tuple(sorted(one.number for one in self.versions if one.stage == stage))

    def roles(self) -> dict[str, tuple[str, ...]]:
        """Numbers of versions by what they are: `alias NAME` or `stage NAME`."""
        stages = {one.stage for one in self.versions} - _UNUSED_STAGES
        return {
            **{f"alias {alias}": (number,) for alias, number in self.aliases.items()},
            **{f"stage {stage}": self.in_stage(stage) for stage in stages},
        }

    def in_use(self) -> list[Version]:
        """Versions that have an alias or are in a stage, and the newest one, in the order of their numbers."""
        used = {number for numbers in self.roles().values() for number in numbers}
        newest = max(self.versions, key=lambda one: one.created, default=None)
        return [one for one in self.versions if one.number in used or one is newest]


def _tags(said: Mapping[str, Any]) -> dict[str, str]:
    return {str(tag["key"]): str(tag.get("value", "")) for tag in said.get("tags", ())}


def ask(api: Api, name: str) -> Registered:
    """A registered model; an empty one where there is none. MidwatchError when the registry does not answer."""
    try:
        said = api.document(f"{_API}/registered-models/get", name=name)["registered_model"]
    except StatusError as error:
        if error.status == HTTPStatus.NOT_FOUND and "RESOURCE_DOES_NOT_EXIST" in str(error):
            return Registered()
        raise
    return Registered(
        versions=tuple(sorted(map(Version.of, _pages(api, name)), key=lambda one: (len(one.number), one.number))),
        aliases={str(one["alias"]): str(one["version"]) for one in said.get("aliases", ())},
        tags=_tags(said),
    )


def _pages(api: Api, name: str) -> Iterator[Mapping[str, Any]]:
    """Every version of a registered model: its stages are said nowhere else, since several may be in one."""
    escaped = name.replace("'", "\\'")
    asked = {"filter": f"name='{escaped}'", "max_results": str(_PAGE)}
    token = ""
    for _ in range(_MOST_PAGES):
        page = api.document(f"{_API}/model-versions/search", **asked, **({"page_token": token} if token else {}))
        yield from page.get("model_versions", ())
        token = str(page.get("next_page_token") or "")
        if not token:
            return
    raise MidwatchError(f"{name} has more than {_PAGE * _MOST_PAGES} versions; delete those that nobody needs")


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
        if model := _LOGGED_MODEL.match(version.source):
            found = _or_unknown(lambda: _has_metrics(api.document(f"{_API}/logged-models/{model[1]}")["model"]))
            if found is not Result.LACKS:
                return found
        if not version.run_id:
            return Result.LACKS
        return _or_unknown(lambda: _has_metrics(api.document(f"{_API}/runs/get", run_id=version.run_id)["run"]))


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
        found = {model: ask(api, name) for model, name in self._models.items()}
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
        stage = "" if version.stage in _UNUSED_STAGES else version.stage
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
