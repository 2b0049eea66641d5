"""Events and halves of inference logs from the bytes of a record, read as the exporter reads a request's body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from exporters.events import bodies, kserve
from exporters.events.inference_log import Half, MalformedError
from exporters.events.reasons import Reason
from exporters.stream import records
from midwatch.client.events import Event

Headers = Sequence[Mapping[str, bytes | str | None]]
"""Headers of a Kafka record: `key` and `value` of each."""

STRUCTURED = b"application/cloudevents"
"""How the content type of a record begins that is a CloudEvent as a whole (CloudEvents Kafka binding 1.0.2, 3.3)."""

_PREFIX = "ce_"
"""Kafka headers of a CloudEvent in binary mode begin so (Kafka binding, 3.2.3)."""

_PAYLOAD = frozenset({"data", "data_base64"})

_decode_event = msgspec.json.Decoder(Event).decode


class _Structured(msgspec.Struct):
    """The payload of a CloudEvent in structured mode; its attributes are read beside it."""

    data: msgspec.Raw = msgspec.Raw(b"")
    data_base64: bytes = b""


_decode_attributes = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_structured = msgspec.json.Decoder(_Structured).decode
_decode_text = msgspec.json.Decoder(str).decode


class UnreadableRecordError(ValueError):
    """A record that holds no event: what kind of event it should have been, and why it is none."""

    def __init__(self, kind: str, reason: Reason) -> None:
        self.kind, self.reason = kind, reason
        super().__init__(f"{kind}: {reason}")


def read(
    value: bytes, headers: Headers | None, arrived: float, models: kserve.Models, limit: int
) -> tuple[list[tuple[int, Event | Half]], list[bodies.Refused]]:
    """Events of a record with their numbers in it, from 1, and those that are refused.

    `arrived` (seconds) stands in for a missing time of a CloudEvent; a payload inflates to at most `limit` bytes.
    Raises UnreadableRecordError when the record holds no event at all.
    """
    if headers and (reason := records.fault_of(headers)) is not None:
        raise UnreadableRecordError("file", reason)
    attributes = _cloud_event(headers) if headers else None
    if attributes is not None:
        return list(enumerate(_halves(value, attributes, arrived, models, limit), 1)), []
    try:
        return [(1, _decode_event(value))], []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        items, refused = bodies.decode(value)
    except bodies.BodyError as error:
        raise UnreadableRecordError("event", Reason.NOT_JSON) from error
    if not items and not refused:
        raise UnreadableRecordError("event", Reason.NOT_JSON)
    return list(items), refused


def _cloud_event(headers: Headers) -> dict[bytes, bytes] | None:
    """HTTP headers of a CloudEvent, as its logger would have sent them; None for any other record."""
    told = {str(header["key"]).lower(): _bytes(header["value"]) for header in headers}
    content_type = told.get("content-type", b"")
    if "ce_type" not in told and not content_type.lower().startswith(STRUCTURED):
        return None
    attributes = {
        b"ce-" + name.removeprefix(_PREFIX).encode(): text for name, text in told.items() if name.startswith(_PREFIX)
    }
    return attributes | {b"content-type": content_type}


def _bytes(value: bytes | str | None) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value or b"")


def _halves(
    value: bytes, attributes: dict[bytes, bytes], arrived: float, models: kserve.Models, limit: int
) -> list[Half]:
    try:
        if b"ce-type" not in attributes:
            attributes, value = _unwrapped(value)
        return kserve.decode(attributes, value, arrived, models, limit)
    except (MalformedError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableRecordError("half", Reason.INVALID) from error


def _unwrapped(value: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """Attributes as headers, and the payload, of a CloudEvent in structured mode (JSON format 1.0.2)."""
    structured = _decode_structured(value)
    attributes = {
        b"ce-" + name.lower().encode(): _decode_text(text).encode()
        for name, text in _decode_attributes(value).items()
        if name not in _PAYLOAD and bytes(text)[:1] == b'"'
    }
    return attributes, structured.data_base64 or bytes(structured.data)
