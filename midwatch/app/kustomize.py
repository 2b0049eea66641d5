"""The file that makes a folder of rendered objects a base of Kustomize: `kubectl apply -k`, or overlays of one's own.

It is called `Kustomization`, one of the three names that Kustomize looks for: `kubectl apply -R` takes every file that
ends with `.yaml`, and the API server knows no such kind.
"""

from __future__ import annotations

from collections.abc import Iterable

from midwatch import yamlfile

FILE = "Kustomization"


def render_base(paths: Iterable[str]) -> dict[str, str]:
    """Its text by its path, for the objects at these paths."""
    resources = sorted(path for path in paths if path.endswith(".yaml"))
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return {FILE: yamlfile.dump_blocks({**head, "resources": resources})}
