"""The SCRAM-SHA-256 verifier of a password (RFC 5802 section 3, RFC 7677), as PostgreSQL keeps it in pg_authid.

PostgreSQL stretches a password over 4,096 rounds, 3 ms of a core on either side of every connection, because people
choose poor ones. Ours is 128 random bits, which no stretching makes better, and a drill connects anew all the time:
those milliseconds would be measured as if they were the store's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64encode

ROUNDS = 1


def verifier(password: str) -> str:
    """Text that PostgreSQL takes in the place of a password; only for random passwords of 128 bits or more.

    >>> verifier("s3cret").split("$")[0], verifier("s3cret").count(":")
    ('SCRAM-SHA-256', 2)
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${ROUNDS}:{salt64}${stored64}:{server64}"
