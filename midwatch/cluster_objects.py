"""Lists objects of the Kubernetes API page by page, and reads what every object says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from midwatch import kubernetes
from midwatch.errors import MidwatchError
from midwatch.spec.observed.base import Resource

PAGE = 500
"""Objects of one answer, as kubectl asks for them (its flag --chunk-size)."""

MOST_PAGES = 40
"""Twenty thousand objects: PipelineRuns that nobody prunes would fill the memory."""

Object = Mapping[str, Any]


def objects(resource: Resource, namespaces: Sequence[str], timeout: float, selector: str = "") -> list[Object]:
    """Objects of a resource in some namespaces, or in all without any. MidwatchError when one page cannot be had.

    `timeout` is seconds for one page; `selector` is of labels, as kubectl's `-l`.
    """
    root = f"/apis/{resource.group}/{resource.version}"
    paths = [f"{root}/namespaces/{name}/{resource.plural}" for name in namespaces] or [f"{root}/{resource.plural}"]
    return [item for path in paths for item in _items(path, timeout, selector)]


def _items(path: str, timeout: float, selector: str) -> Iterator[Object]:
    begun, chosen = "", {"labelSelector": selector} if selector else {}
    for _ in range(MOST_PAGES):
        query = {"limit": str(PAGE)} | chosen | ({"continue": begun} if begun else {})
        page = kubernetes.request("GET", path, query=query, timeout=timeout)
        yield from page.get("items") or ()
        begun = (page.get("metadata") or {}).get("continue") or ""
        if not begun:
            return
    raise MidwatchError(f"{path}: more than {PAGE * MOST_PAGES} objects; name namespaces")


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
