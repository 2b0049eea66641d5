"""The Kubernetes API, on the official client: the one place that imports it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import urllib3

from midwatch.errors import MidwatchError

TIMEOUT = 10.0


class UnreachableError(MidwatchError):
    """No cluster is configured, or it did not answer, or it is overloaded: the same may work later."""


class RefusedError(MidwatchError):
    """The cluster answered, and said no. `status` is HTTP's: 403 may not, 404 not there, 409 somebody was quicker."""

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


Object = dict[str, Any]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def request(
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: Object | None = None,
    patch: str = MERGE,
    timeout: float | None = None,
) -> Object:
    """Answer of the API server, as a document; `path` starts with /api or /apis, `timeout` is seconds for one attempt.

    Raises RefusedError when it says no, UnreachableError when it cannot be asked now.
    """
    api = _client()
    content_type = patch if method == "PATCH" else "application/json"
    headers = {"Accept": "application/json", "Content-Type": content_type}
    serialized = api.param_serialize(
        method,
        path,
        query_params=list((query or {}).items()),
        header_params=headers,
        body=body,
        auth_settings=["BearerToken"],
    )
    try:
        response = api.call_api(*serialized, _request_timeout=timeout or TIMEOUT)
        response.read()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(f"{method} {path}: {type(error).__name__}") from error
    document: Object = json.loads(response.data) if response.data[:1] == b"{" else {}
    if 200 <= response.status < 300:
        return document
    refusal = f"{method} {path}: {response.status} {document.get('message', response.reason)}"
    if response.status in (408, 429) or response.status >= 500:
        raise UnreachableError(refusal)
    raise RefusedError(refusal, response.status)


def find(path: str, *, timeout: float | None = None) -> Object | None:
    """An object, None when there is none; else as `request`."""
    try:
        return request("GET", path, timeout=timeout)
    except RefusedError as error:
        if error.status == 404:
            return None
        raise


def create(api_version: str, kind: str, namespace: str, manifest: Mapping[str, Any]) -> bool:
    """Create an object; False when one of that name is there already."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    try:
        request("POST", f"{root}/namespaces/{namespace}/{kind.lower()}s", body=dict(manifest))
    except RefusedError as error:
        if error.status == 409:
            return False
        raise
    return True


ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod finds its own namespace."""


def current_namespace() -> str:
    """Namespace of what names none: that of the kubeconfig's context, else of the pod."""
    from kubernetes import config

    try:
        _, context = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
    except config.ConfigException:
        return ACCOUNT_NAMESPACE.read_text().strip() if ACCOUNT_NAMESPACE.is_file() else "default"
    return str(context["context"].get("namespace", "default"))


@cache
def _client() -> Any:
    """Client of the pod it runs in, else of the user's kubeconfig."""
    from kubernetes import client, config

    try:
        config.load_config()  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise UnreachableError(f"no cluster is configured: {error}") from error
    return client.ApiClient()
