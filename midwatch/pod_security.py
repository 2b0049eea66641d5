"""The security contexts of every pod of ours: what the Pod Security Standard `restricted` asks for, and no more rights.

Kubernetes, "Pod Security Standards". The root file system is read-only beside that.
"""

from __future__ import annotations

from typing import Any

USER = 65532
"""Nobody's number in images without a shell ("nonroot" of distroless)."""


def of_pod() -> dict[str, Any]:
    """A pod's context; its volumes are its user's."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def of_container() -> dict[str, Any]:
    """A container's context."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
