"""Bringing dashboards to a Grafana through its HTTP API: the difference first, then only what differs.

What Grafana adds by itself (ids, versions, defaults of a newer schema) is no difference; what somebody changed by hand
is. A dashboard that changes between the look and the push is refused by Grafana, not overwritten.
Reference: Grafana's documentation, "Dashboard HTTP API" and "Folder HTTP API".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import urllib3

from dashboards.reader import Document
from midwatch.errors import Exit, MidwatchError

TIMEOUT_SECONDS = 10.0

_ABSENT = object()


class UnreachableError(MidwatchError):
    """Grafana did not answer, or said that it cannot at the moment."""

    exit = Exit.INCONCLUSIVE


class RefusedError(MidwatchError):
    """Grafana answered, and said no."""

    exit = Exit.FAIL


class SyncStatus(StrEnum):
    """A dashboard beside what Grafana has; all but the same are saved."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "same"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A place in a dashboard, what Grafana has there, and what it would have; None for nothing."""

    place: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One dashboard beside what Grafana has; `id` and `version` are Grafana's, None for a new one."""

    document: Document
    status: SyncStatus
    differences: tuple[Difference, ...] = ()
    id: int | None = None
    version: int | None = None


@dataclass(frozen=True, kw_only=True)
class Folder:
    """The folder dashboards are kept in."""

    uid: str
    title: str


class GrafanaClient:
    """One Grafana's API. `token` is a service account's, with the role Editor."""

    def __init__(self, url: str, token: str | None = None) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise MidwatchError(f"{url!r} is not an http or https URL")
        self._url = url.rstrip("/")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._pool = urllib3.PoolManager(headers=headers, timeout=TIMEOUT_SECONDS, retries=False)

    def compare(self, documents: Sequence[Document], folder: Folder) -> list[Comparison]:
        """Each dashboard beside what Grafana has; nothing is changed."""
        return [self._compare(document, folder) for document in documents]

    def _compare(self, document: Document, folder: Folder) -> Comparison:
        answer = self._ask("GET", f"/api/dashboards/uid/{document['uid']}", missing_is_none=True)
        if answer is None:
            return Comparison(document=document, status=SyncStatus.NEW)
        there, meta = answer["dashboard"], answer.get("meta", {})
        where = (
            []
            if meta.get("folderUid") == folder.uid
            else [Difference(place="folder", before=meta.get("folderTitle"), after=folder.title)]
        )
        differences = (*where, *differing(there, document))
        if differences and meta.get("provisioned"):
            raise RefusedError(
                f"{document['uid']} is provisioned from a file of that Grafana; change that file instead"
            )
        status = SyncStatus.CHANGED if differences else SyncStatus.SAME
        return Comparison(
            document=document, status=status, differences=differences, id=there["id"], version=there["version"]
        )

    def ensure_folder(self, folder: Folder) -> None:
        """Make the folder where it is not there."""
        if self._ask("GET", f"/api/folders/{folder.uid}", missing_is_none=True) is None:
            self._ask("POST", "/api/folders", {"uid": folder.uid, "title": folder.title})

    def save(self, comparison: Comparison, folder: Folder) -> None:
        """Save a dashboard that is new or differs; RefusedError when somebody saved it since it was compared."""
        if comparison.status is SyncStatus.SAME:
            return
        dashboard = dict(comparison.document) | {"id": comparison.id}
        if comparison.version is not None:
            dashboard["version"] = comparison.version
        body = {
            "dashboard": dashboard,
            "folderUid": folder.uid,
            "overwrite": False,
            "message": "midwatch dashboards push",
        }
        self._ask("POST", "/api/dashboards/db", body)

    def _ask(self, method: str, path: str, body: Any = None, *, missing_is_none: bool = False) -> Any:
        content = None if body is None else json.dumps(body).encode()
        try:
            answer = self._pool.request(method, self._url + path, body=content)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"{self._url}: no answer: {type(error).__name__}") from error
        if answer.status == 404 and missing_is_none:
            return None
        if answer.status in (429, 502, 503, 504):
            raise UnreachableError(f"{self._url}: {answer.status}; try again later")
        if answer.status >= 300:
            raise RefusedError(f"{self._url}{path}: {answer.status}: {_message(answer)}")
        try:
            return answer.json()
        except ValueError as error:
            raise RefusedError(f"{self._url}{path}: {answer.status} and no JSON; is that a Grafana?") from error


def _message(answer: urllib3.BaseHTTPResponse) -> str:
    """What Grafana says, with what to do about it."""
    try:
        text = str(answer.json().get("message", ""))
    except (ValueError, AttributeError):
        text = answer.data[:200].decode(errors="replace")
    remedies = {
        401: "; give --token-file with a service account's token",
        403: "; the token's service account needs the role Editor",
        412: "; somebody saved it meanwhile: look at the difference again",
    }
    return text + remedies.get(answer.status, "")


def differing(there: Any, ours: Any, place: str = "") -> Iterator[Difference]:
    """Where Grafana's document lacks something of ours; a newer schema version than ours is none."""
    if place == "schemaVersion" and isinstance(there, int) and there >= ours:
        return
    if isinstance(ours, Mapping) and isinstance(there, Mapping):
        for name in ours:
            inner = f"{place}.{name}".removeprefix(".")
            yield from differing(there.get(name, _ABSENT), ours[name], inner)
    elif isinstance(ours, list) and isinstance(there, list) and len(ours) == len(there):
        for index, (one, other) in enumerate(zip(there, ours, strict=True)):
            yield from differing(one, other, f"{place}[{_name(other, index)}]")
    elif there != ours:
        yield Difference(place=place, before=None if there is _ABSENT else there, after=ours)


def _name(item: Any, index: int) -> str:
    """A list's item by its title or name, which say more than a number."""
    return str(item.get("title") or item.get("name") or index) if isinstance(item, Mapping) else str(index)
