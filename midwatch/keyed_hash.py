"""Values that name a person, or a group of persons, as keyed hashes: BLAKE2b with a secret key (RFC 7693)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from midwatch.errors import MidwatchError

MIN_KEY = 16
"""Bytes of the shortest key that is not quickly guessed."""


def digest(value: Any, key: bytes) -> str:
    """Hash of a value, 24 hexadecimal digits."""
    return hashlib.blake2b(str(value).encode(), key=key[:64], digest_size=12).hexdigest()


def read_key(path: Path) -> bytes:
    """Secret key of the hash of personal fields; MidwatchError when it cannot be read or is too short to hide them."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise MidwatchError(f"{path}: {error.strerror}; the key of personal fields cannot be read") from error
    if len(key) < MIN_KEY:
        raise MidwatchError(f"{path}: {len(key)} bytes; the key of personal fields needs at least {MIN_KEY}")
    return key
