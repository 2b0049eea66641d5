"""Personal data: the fields of features and groups that are dropped or hashed before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midwatch import keyed_hash
from midwatch.client.events import Event, Prediction
from midwatch.spec import model as spec


class Privacy:
    """Drops or keyed-hashes the named fields of features and groups before anything is stored."""

    def __init__(self, *, drop: frozenset[str], hashed: frozenset[str], key: bytes) -> None:
        self._drop, self._hashed = drop, hashed
        self._key = key

    def apply(self, event: Event) -> None:
        """Rewrite the event in place."""
        if type(event) is Prediction and (self._drop or self._hashed):
            event.features = self.fields(event.features)
            event.groups = self.fields(event.groups)

    def fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Fields without those to drop, and with hashes for those to hash."""
        return {
            name: keyed_hash.digest(value, self._key) if name in self._hashed else value
            for name, value in fields.items()
            if name not in self._drop
        }


def load(personal: spec.Personal, base: Path) -> Privacy | None:
    """Build what the platform file asks for; None when it names no field. The key file's path is relative to `base`."""
    if not personal.drop and not personal.hash:
        return None
    key = b"" if personal.key_file is None else keyed_hash.read_key(base / personal.key_file)
    return Privacy(drop=frozenset(personal.drop), hashed=frozenset(personal.hash), key=key)
