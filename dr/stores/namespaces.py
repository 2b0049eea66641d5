"""Namespaces of a cluster that drills may hurt, and what goes wrong with an operator's resources there."""

from __future__ import annotations

from dr.stores.setup import NotReadyError
from midwatch import kubernetes
from midwatch.errors import MidwatchError

ALLOWED = "midwatch.dev/drills"
"""Label of a namespace that may be hurt; its value has to be `allowed`."""


class OperatorError(MidwatchError):
    """An operator's resource is not there, or says that it failed."""


def ensure_allowed(namespace: str) -> None:
    """NotReadyError when a namespace does not carry the label that allows drills."""
    resource = kubernetes.request("GET", f"/api/v1/namespaces/{namespace}")
    if (resource["metadata"].get("labels") or {}).get(ALLOWED) != "allowed":
        raise NotReadyError(
            f"namespace {namespace} does not allow drills: is it production? If it may be hurt, label it "
            f"{ALLOWED}=allowed"
        )
