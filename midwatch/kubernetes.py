"""The Kubernetes API, on the official client: the one place that imports it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import urllib3

from midwatch.errors import MidwatchError

TIMEOUT = 10.0


class UnreachableError(MidwatchError):
    """No cluster is configured, or it did not answer, or it is overloaded: the same may work later."""


class RefusedError(MidwatchError):
    """The cluster answered, and said no."""


def create(api_version: str, kind: str, namespace: str, manifest: Mapping[str, Any]) -> bool:
    """Create an object; False when one of that name is there already."""
    from kubernetes.client.exceptions import ApiException

    group, _, version = api_version.rpartition("/")
    try:
        _objects().create_namespaced_custom_object(
            group, version, namespace, f"{kind.lower()}s", dict(manifest), _request_timeout=TIMEOUT
        )
    except ApiException as error:
        if error.status == 409:
            return False
        said = f"{kind} {manifest['metadata']['name']}: {error.status} {error.reason}"
        if error.status in (408, 429) or error.status >= 500:
            raise UnreachableError(said) from error
        raise RefusedError(said) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(f"{kind}: {type(error).__name__}") from error
    return True


@cache
def _objects() -> Any:
    """Client for custom objects: of the pod it runs in, else of the user's kubeconfig."""
    from kubernetes import client, config

    try:
        config.load_config()  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise UnreachableError(f"no cluster is configured: {error}") from error
    return client.CustomObjectsApi()
