"""Inference logs on their way to the judge: requests and responses, joined to predictions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from exporters.events.inference_log import Half, Joined, RequestHalf
from exporters.events.state import HALF_SECONDS
from midwatch.client.events import Prediction

MAX_ROWS = 50_000
"""Rows that wait for their other half: as many are under way at 10,000 inferences a second that take five seconds."""

_encode = msgspec.msgpack.Encoder().encode
_HALF: msgspec.msgpack.Decoder[tuple[float, Half]] = msgspec.msgpack.Decoder(tuple[float, Half])


class Halves:
    """Halves that wait for the other one, oldest first; the oldest go where there are too many: `lost_rows` of them."""

    def __init__(self, saved: Iterable[bytes]) -> None:
        self.lost_rows = 0
        self._waiting: OrderedDict[str, tuple[float, Half]] = OrderedDict()
        self._rows = 0
        for packed in saved:
            self._put(*_HALF.decode(packed))

    def take(self, time: float, half: Half) -> list[Prediction]:
        """Predictions of an inference whose other half has come; none of one of which a payload was not read."""
        while self._waiting and next(iter(self._waiting.values()))[0] < time - HALF_SECONDS:
            self._drop_oldest()
        other = self._waiting.pop(half.key, None)
        if other is not None:
            self._rows -= other[1].size
        if other is None or type(other[1]) is type(half):
            self._put(time, half)
            return []
        request, response = (half, other[1]) if isinstance(half, RequestHalf) else (other[1], half)
        joined = Joined.of(request, response)  # type: ignore[arg-type]
        return [] if joined.unread else joined.predictions

    def _put(self, time: float, half: Half) -> None:
        self._waiting[half.key] = time, half
        self._rows += half.size
        while self._rows > MAX_ROWS and len(self._waiting) > 1:
            self.lost_rows += self._drop_oldest()

    def _drop_oldest(self) -> int:
        """Let the oldest go; its rows."""
        _, (_, half) = self._waiting.popitem(last=False)
        self._rows -= half.size
        return half.size

    def saved(self) -> list[bytes]:
        """Everything to keep."""
        return list(map(_encode, self._waiting.values()))
