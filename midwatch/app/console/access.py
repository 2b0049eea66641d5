"""Who may read and who may silence: a token, a signed session of a browser, and forms that only our pages can send.

A program sends the token as a bearer token. A person signs in with it once; the cookie that keeps the session is
signed, ends by itself, is sent to nobody else (SameSite=Strict) and read by no script (HttpOnly). A form carries a
token of the session, and a browser says which site it comes from.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import urlsplit

COOKIE = "midwatch_session"
SESSION_SECONDS = 12 * 3600
"""A shift."""
MAX_FAILED, FAILED_SECONDS = 20, 60.0
"""Sign-ins with a wrong token, and the time in which so many are heard."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""What a browser on this machine calls it: any other name that leads here was made to (DNS rebinding)."""


@dataclass
class Access:
    """`token` admits to silences; with `reads_need_token` also to pages. Without one nobody may silence.

    `local_only` is whether the service listens on loopback: then it answers to names of this machine alone.
    """

    token: bytes | None
    reads_need_token: bool = False
    local_only: bool = True
    clock: Callable[[], float] = time.time
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _failed: list[float] = field(default_factory=list)

    def is_token(self, given: str) -> bool:
        """Whether it is the token; compared in constant time."""
        return self.token is not None and hmac.compare_digest(given.strip().encode(), self.token)

    def is_bearer(self, headers: Mapping[str, str]) -> bool:
        """Whether a request carries the token as a program sends it."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(given)

    def sign_in(self, given: str) -> str | None:
        """Cookie of a new session; None for a wrong token, and for any while too many wrong ones come."""
        now = self.clock()
        self._failed = [at for at in self._failed if now - at < FAILED_SECONDS]
        if len(self._failed) >= MAX_FAILED:
            return None
        if not self.is_token(given):
            self._failed.append(now)
            return None
        session = f"{now + SESSION_SECONDS:.0f}.{secrets.token_urlsafe(16)}"
        return f"{session}.{self._signature('session', session)}"

    def session_of(self, cookie: str) -> str | None:
        """The session that a cookie keeps; None for none, one that has ended, or one that we did not sign."""
        session, _, signature = cookie.rpartition(".")
        if not session or not hmac.compare_digest(signature.encode(), self._signature("session", session).encode()):
            return None
        end = session.partition(".")[0]
        return session if end.isdigit() and int(end) > self.clock() else None

    def form_token(self, session: str) -> str:
        """What a form of this session carries."""
        return self._signature("form", session)

    def is_form_of(self, session: str, given: str) -> bool:
        """Whether a form was made for this session."""
        return hmac.compare_digest(given.encode(), self.form_token(session).encode())

    def is_known_host(self, host: str) -> bool:
        """Whether a request asks for us by a name that is ours."""
        if not self.local_only:
            return True
        try:
            return (urlsplit(f"//{host}").hostname or "") in LOOPBACK_NAMES
        except ValueError:
            return False

    def _signature(self, purpose: str, text: str) -> str:
        return hmac.new(self._secret, f"{purpose}:{text}".encode(), sha256).hexdigest()


def is_same_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a form comes from a page of ours; what is no browser says nothing."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host", "")
    except ValueError:
        return False  # no browser sends what is no address
