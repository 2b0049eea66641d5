"""MLflow as its REST API says it: versions of a registered model, who has an alias, runs. Nothing is judged here.

REST of MLflow 3.17 (`/api/2.0/mlflow`), the same since 2.0; aliases exist since 2.3. Asking for a registered model says
its aliases; a search of versions leaves them out (mlflow#16734).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from midwatch.errors import MidwatchError
from midwatch.rest import Api, StatusError

API = "/api/2.0/mlflow"
_PAGE = 1000
_MOST_PAGES = 20
"""20,000 versions of one model; more is a registry that nobody can look through."""
LOGGED_MODEL = re.compile(r"models:/(m-[0-9a-f]+)")
"""Source of a version since MLflow 3: the logged model, which has the metrics."""
UNUSED_STAGES = frozenset({"", "None", "Archived"})

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a registered model; `created` is seconds since 1970."""

    number: str
    stage: str
    created: float
    run_id: str
    source: str
    tags: Mapping[str, str]
    status: str = "READY"

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
            status=str(said.get("status") or "READY"),
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
        stages = {one.stage for one in self.versions} - UNUSED_STAGES
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
    said = _unless_missing(lambda: api.document(f"{API}/registered-models/get", name=name)["registered_model"])
    if said is None:
        return Registered()
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
        page = api.document(f"{API}/model-versions/search", **asked, **({"page_token": token} if token else {}))
        yield from page.get("model_versions", ())
        token = str(page.get("next_page_token") or "")
        if not token:
            return
    raise MidwatchError(f"{name} has more than {_PAGE * _MOST_PAGES} versions; delete those that nobody needs")


# Runs --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of an experiment. `status` is RUNNING, SCHEDULED, FINISHED, FAILED or KILLED; times are in seconds.

    `measured` is when the newest of its metrics was logged; None without any.
    """

    run_id: str
    status: str
    started: float | None
    ended: float | None
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    measured: float | None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Run:
        """The run in an answer; KeyError and ValueError for what is none."""
        info, data = said["info"], said.get("data", {})
        logged = data.get("metrics", ())
        return cls(
            run_id=str(info["run_id"]),
            status=str(info.get("status", "")),
            started=_seconds(info.get("start_time")),
            ended=_seconds(info.get("end_time")),
            tags=_tags(data),
            metrics={str(one["key"]): float(one["value"]) for one in logged},
            measured=max((float(one["timestamp"]) / 1000 for one in logged), default=None),
        )


def _seconds(milliseconds: object) -> float | None:
    return float(str(milliseconds)) / 1000 if milliseconds else None


def run(api: Api, run_id: str) -> Run | None:
    """A run; None where there is none. MidwatchError when the server does not answer."""
    return _unless_missing(lambda: Run.of(api.document(f"{API}/runs/get", run_id=run_id)["run"]))


def runs_with_tag(api: Api, experiment: str, tag: str, value: str) -> list[Run]:
    """Runs of an experiment with this tag, the newest first; none where there is no such experiment."""
    found = _unless_missing(
        lambda: api.document(f"{API}/experiments/get-by-name", experiment_name=experiment)["experiment"]
    )
    if found is None:
        return []
    escaped = value.replace("'", "\\'")
    asked = {
        "experiment_ids": [str(found["experiment_id"])],
        "filter": f"tags.`{tag}` = '{escaped}'",
        "max_results": 10,
        "order_by": ["attributes.start_time DESC"],
    }
    return [Run.of(one) for one in api.found(f"{API}/runs/search", asked).get("runs", ())]


def logged_metrics(api: Api, version: Version) -> list[Mapping[str, Any]]:
    """Metrics of a version's logged model, as MLflow 3 keeps them: key, value, timestamp, dataset_digest and more.

    The newest is last: a metric that is logged again, of a later step or another data set, stands more than once.
    """
    model = LOGGED_MODEL.match(version.source)
    if model is None:
        return []
    found = _unless_missing(lambda: api.document(f"{API}/logged-models/{model[1]}")["model"])
    metrics = (found or {}).get("data", {}).get("metrics", ())
    return sorted(metrics, key=lambda one: (int(one.get("timestamp") or 0), int(one.get("step") or 0)))


def _unless_missing(ask_for: Callable[[], _Answer]) -> _Answer | None:
    """The answer; None where the server says that there is no such thing."""
    try:
        return ask_for()
    except StatusError as error:
        if error.status == HTTPStatus.NOT_FOUND and "RESOURCE_DOES_NOT_EXIST" in str(error):
            return None
        raise
