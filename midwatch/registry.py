"""MLflow's model registry as its REST API says it: versions of a model, and who has an alias. Nothing is judged here.

REST of MLflow 3.17 (`/api/2.0/mlflow`), the same since 2.0; aliases exist since 2.3. Asking for a registered model says
its aliases; a search of versions leaves them out (mlflow#16734).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from midwatch.errors import MidwatchError
from midwatch.rest import Api, StatusError

API = "/api/2.0/mlflow"
_PAGE = 1000
_MOST_PAGES = 20
"""20,000 versions of one model; more is a registry that nobody can look through."""
UNUSED_STAGES = frozenset({"", "None", "Archived"})


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
    try:
        said = api.document(f"{API}/registered-models/get", name=name)["registered_model"]
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
        page = api.document(f"{API}/model-versions/search", **asked, **({"page_token": token} if token else {}))
        yield from page.get("model_versions", ())
        token = str(page.get("next_page_token") or "")
        if not token:
            return
    raise MidwatchError(f"{name} has more than {_PAGE * _MOST_PAGES} versions; delete those that nobody needs")
