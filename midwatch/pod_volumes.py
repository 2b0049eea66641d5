"""The platform file in a pod: its volume, and the annotation that restarts the pod when the file changes."""

from __future__ import annotations

from typing import Any

from midwatch.spec.model import Platform

CHECKSUM = "midwatch.dev/configuration"
"""Annotation of a pod with the digest of what it reads when it starts: a change of it restarts the pod."""


def platform_file(platform: Platform, name: str) -> dict[str, Any]:
    """The ConfigMap with the platform file; where Prometheus has `auth`, the Secret of its name beside it.

    Its keys are the names of the files that `prometheus.auth` names in the folder that the volume is mounted at.
    """
    if platform.prometheus.auth is None or not platform.prometheus.auth.files:
        return {"configMap": {"name": name}}
    return {"projected": {"sources": [{"configMap": {"name": name}}, {"secret": {"name": name}}]}}
