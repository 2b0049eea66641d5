"""What stands beside a committed offset: who counted the records before it last, and until which time.

A member prepares records in its own journal under a number, and then commits the offset behind them with its name and
that number. So a member that was killed between the two finds out whether its records were taken: its number stands
there, or it does not, whatever other members have committed since. Only who owns a partition can commit for it (the
broker checks the generation), so what stands there is the truth, and no other member's journal needs to be read.
"""

from __future__ import annotations

import msgspec

MAX_OTHERS = 64
"""Members that are remembered beside the owner: with 30 bytes for each half of what a broker keeps
(offset.metadata.max.bytes, 4096)."""


class Claim(msgspec.Struct, frozen=True):
    """Of a partition of a topic with the id `topic`: its records are counted, and what waits is settled until `time`.

    The last commit was the `number` of `owner`; `others` are members that owned it before, with their last numbers,
    oldest first.
    """

    owner: str
    number: int
    time: float = 0.0
    topic: str = ""
    others: dict[str, int] = {}

    def has(self, member: str, number: int) -> bool | None:
        """Whether a member's commit with a number was taken; None when that has been forgotten."""
        known = self.number if member == self.owner else self.others.get(member)
        if known is not None:
            return known >= number
        return None if len(self.others) >= MAX_OTHERS else False


def following(last: Claim | None, member: str, number: int, time: float, topic: str) -> Claim:
    """What a member commits after a claim."""
    others = {} if last is None else {name: known for name, known in last.others.items() if name != member}
    if last is not None and last.owner != member:
        others[last.owner] = last.number
    for name in list(others)[: max(0, len(others) - MAX_OTHERS)]:
        del others[name]
    return Claim(owner=member, number=number, time=time, topic=topic, others=others)


def encode(claim: Claim) -> str:
    """Text beside the offset."""
    return msgspec.json.encode(claim).decode()


def decode(text: str | None) -> Claim | None:
    """The claim of a text; None for what no member has written."""
    try:
        return msgspec.json.decode(text or "", type=Claim)
    except msgspec.MsgspecError:
        return None
