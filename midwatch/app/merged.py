"""The platform file as pods read it: overlays, folders and rule files as one text, in the ConfigMaps they mount."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator
from typing import Any

from midwatch import yamlfile
from midwatch.errors import MidwatchError
from midwatch.spec.document import Document
from midwatch.spec.model import Platform
from monitors.canary import argo

KEY = "platform.yaml"
"""Name of the file in the folder that a ConfigMap is mounted at."""

PLAIN_BYTES = 200 * 2**10
"""Longest text that stays readable. `kubectl apply` keeps a copy in an annotation, of at most 262,144 bytes
(apimachinery, TotalAnnotationSizeLimitB), and JSON escapes lengthen it."""

MAX_BYTES = 2**20
"""Most that a ConfigMap may hold (kubernetes, MaxSecretSize and ConfigMap validation), before base64."""


def render_objects(platform: Platform, document: Document) -> dict[str, str]:
    """Text of each ConfigMap by its path; MidwatchError when even the packed file is too large for one."""
    content = _content(text_of(document))
    return {
        f"kubernetes/platform-file-{'.'.join(filter(None, place))}.yaml": yamlfile.dump_blocks(
            _object(*place, content, platform)
        )
        for place in sorted(set(_places(platform)))
    }


def text_of(document: Document) -> str:
    """Everything that a platform file's path stands for as the text of one file; rule files stand under `rules`."""
    return yamlfile.dump_blocks({key: value for key, value in document.values.items() if key != "rule_files"})


def _places(platform: Platform) -> Iterator[tuple[str, str]]:
    """Namespace and name of every ConfigMap that a pod mounts; no namespace is that of whoever applies it."""
    for section in (platform.chaos, platform.disaster_recovery):
        if section is not None and section.kubernetes is not None:
            yield section.kubernetes.namespace, section.kubernetes.config_map
    if platform.kubernetes is not None:
        yield platform.kubernetes.namespace, argo.PLATFORM_MAP
    elif any(model.canary for model in platform.models):
        yield "", argo.PLATFORM_MAP


def _content(text: str) -> dict[str, Any]:
    raw = text.encode()
    if len(raw) <= PLAIN_BYTES:
        return {"data": {KEY: text}}
    packed = gzip.compress(raw, mtime=0)
    if len(packed) > MAX_BYTES:
        raise MidwatchError(f"the platform file has {len(packed)} bytes packed; a ConfigMap holds {MAX_BYTES}")
    return {"binaryData": {KEY: base64.b64encode(packed).decode()}}


def _object(namespace: str, name: str, content: dict[str, Any], platform: Platform) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "midwatch", "app.kubernetes.io/part-of": platform.platform}
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **place, "labels": labels}, **content}
