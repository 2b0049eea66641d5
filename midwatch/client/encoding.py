"""From an event to its line of JSON. What a model hands out becomes plain; what cannot be written is refused."""

from __future__ import annotations

from datetime import datetime
from numbers import Real
from typing import Any

import msgspec

from midwatch.client.events import Event, Label, Prediction
from midwatch.errors import MidwatchError

MAX_EVENT_BYTES = 1 << 20
"""Of one event: a batch holds at least one, and no queue is filled by one."""


class UnencodableError(MidwatchError):
    """An event that cannot be sent, whoever would receive it."""


def encode(event: Event) -> bytes:
    """Line of an event, without its end. UnencodableError says why there is none.

    Scalars of numpy, torch, JAX or pandas, and their arrays of one element, are written as their value; a Decimal as a
    number. The event may change afterwards.
    """
    if not isinstance(event, Prediction | Label):
        raise UnencodableError(f"{type(event).__name__} is neither a Prediction nor a Label")
    try:
        line = _encode(event)
    except Exception as error:
        raise UnencodableError(f"{type(error).__name__}: {error}") from error
    if len(line) > MAX_EVENT_BYTES:
        raise UnencodableError(f"it has {len(line)} bytes, and {MAX_EVENT_BYTES} is the most")
    if b"\n" in line:
        raise UnencodableError("it has a line of its own in it")
    return line


def plain(value: Any) -> Any:
    """Value that JSON knows for one that it does not."""
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, datetime):
        return value.isoformat()
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError(f"{type(value).__name__} is no value of an event")
    scalar = item()
    if scalar is None or isinstance(scalar, str | int | float | datetime):
        return scalar
    if isinstance(scalar, Real):  # an extended float of numpy is its own item
        return float(scalar)
    raise TypeError(f"the item of a {type(value).__name__} is a {type(scalar).__name__}")


_encode = msgspec.json.Encoder(enc_hook=plain, decimal_format="number").encode
