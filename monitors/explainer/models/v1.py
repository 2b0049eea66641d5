"""A model behind KServe's first protocol (TensorFlow Serving's), asked at the URL of its `:predict`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitors.explainer import remote
from monitors.explainer.explanation import Rows
from monitors.explainer.model import Loaded


def load(where: str, columns: Sequence[str], access: remote.Access) -> Loaded:  # noqa: ARG001 - the signature of every kind
    """The model at a URL; it is not asked yet."""
    pool = remote.pool(access.ca_file)
    return Loaded(model=remote.RemoteModel(url=where, body=_body, read=_read, pool=pool, access=access))


def _body(rows: Rows) -> Any:
    return {"instances": remote.plain(rows)}


def _read(document: Any) -> Any:
    return document["predictions"]
