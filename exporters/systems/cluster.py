"""Lists objects of the Kubernetes API page by page, and reads what every object says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from midwatch import kubernetes, rbac

PAGE = 500
"""Objects of one answer, as kubectl asks for them (its flag --chunk-size)."""

Object = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource of the Kubernetes API, such as `jobs` of `batch/v1`."""

    group: str
    version: str
    plural: str

    def objects(self, namespaces: Sequence[str], timeout: float) -> list[Object]:
        """Objects of some namespaces, or of all without any. MidwatchError when one page cannot be had.

        `timeout` is seconds for one page.
        """
        root = f"/apis/{self.group}/{self.version}"
        paths = [f"{root}/namespaces/{name}/{self.plural}" for name in namespaces] or [f"{root}/{self.plural}"]
        return [item for path in paths for item in _items(path, timeout)]

    @property
    def right(self) -> rbac.Right:
        """What it takes to read them: no more than to list."""
        return rbac.Right(group=self.group, resources=(self.plural,), verbs=("list",))


def _items(path: str, timeout: float) -> Iterator[Object]:
    begun = ""
    while True:
        query = {"limit": str(PAGE)} | ({"continue": begun} if begun else {})
        page = kubernetes.request("GET", path, query=query, timeout=timeout)
        yield from page.get("items") or ()
        begun = (page.get("metadata") or {}).get("continue") or ""
        if not begun:
            return


def name_of(found: Object) -> tuple[str, str]:
    """Namespace and name."""
    return found["metadata"]["namespace"], found["metadata"]["name"]


def created(found: Object) -> float:
    """When it was created, in seconds since 1970."""
    return seconds(found["metadata"]["creationTimestamp"])


def status(found: Object) -> Object:
    """What its controller says of it; nothing before the controller has seen it."""
    return found.get("status") or {}


def condition(found: Object, kind: str) -> Object:
    """Its condition of a kind, such as `Ready`; nothing without one."""
    return next((one for one in status(found).get("conditions") or () if one["type"] == kind), {})


def seconds(text: str) -> float:
    """Seconds since 1970 of a time as the API writes it.

    >>> seconds("1970-01-02T00:00:00Z")
    86400.0
    """
    return datetime.fromisoformat(text).timestamp()
