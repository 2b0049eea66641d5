"""What an answer to a batch of events says about them. Pure: sending and counting are the event log's.

Only what an exporter has written settles anything. A proxy's page, a redirect or a wrong token say nothing about the
events, whatever the status: they are sent again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec

TOO_LARGE = 413
"""Said by proxies too, and true of their limit."""
UNPROCESSABLE = 422
_ABOUT_THE_SENDER = frozenset({401, 403, 404, 405, 407, 408, 425, 429})
"""Client errors that a change outside the batch mends: the token, the path, the load."""

UNNAMED = "unnamed"
"""Reason of an event that was refused without one."""


class Refusal(msgspec.Struct, frozen=True):
    """An event that the exporter has refused: its line in the batch (1-based), the reason, and a sentence."""

    line: int = 0
    reason: str = UNNAMED
    message: str = ""


class _Reply(msgspec.Struct):
    """What an exporter writes: counts, or an error about the whole."""

    accepted: int | None = None
    duplicates: int = 0
    dropped: int = 0
    refused: list[Refusal] = []
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The exporter has decided on each event; `refused` counts by reason those that it did not take."""

    acknowledged: int
    refused: Counter[str] = field(default_factory=Counter)
    examples: tuple[Refusal, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NotAsOne:
    """The batch cannot be taken as it is: too large, or one event spoils it."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Unsettled:
    """Nothing is known to be kept: send it again."""

    why: str


Meaning = Settled | NotAsOne | Unsettled


def read(status: int, body: bytes, count: int) -> Meaning:
    """Meaning of an answer to `count` events."""
    reply = _reply(body)
    if status == TOO_LARGE:
        return NotAsOne(reason="too_large", message=reply.error or "the batch is too large")
    if reply.accepted is not None and (200 <= status < 300 or status == UNPROCESSABLE):
        return _settled(reply, count)
    if reply.error is not None and 400 <= status < 500 and status not in _ABOUT_THE_SENDER:
        return NotAsOne(reason=f"status_{status}", message=reply.error)
    said = reply.error if reply.error is not None else "not an exporter's answer" if status < 400 else ""
    return Unsettled(why=f"status {status}" + (f": {said}" if said else ""))


def _reply(body: bytes) -> _Reply:
    try:
        return msgspec.json.decode(body, type=_Reply)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Reply()


def _settled(reply: _Reply, count: int) -> Settled:
    taken = (reply.accepted or 0) + reply.duplicates + reply.dropped
    acknowledged = max(0, min(count, taken))
    named = reply.refused[: count - acknowledged]
    refused = Counter(refusal.reason for refusal in named)
    if left := count - acknowledged - len(named):
        refused[UNNAMED] += left
    return Settled(acknowledged=acknowledged, refused=refused, examples=tuple(named[:3]))
