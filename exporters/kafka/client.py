"""The consumer group as a member uses it: reading, being given partitions, and moving offsets for all or for none.

Offsets are moved by a transaction, since that alone takes the generation of the group from the caller. What a member
commits with the generation it was given the partitions in is refused once they may be another's, also when its own
client has joined again meanwhile. confluent-kafka (librdkafka) is at home here.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import (
    OFFSET_END,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from exporters.kafka import claims
from exporters.kafka.claims import Claim
from exporters.kafka.partitions import Place
from exporters.kafka.records import Record
from exporters.kafka.takeover import Bounds, Committed
from midwatch.errors import MidwatchError
from midwatch.spec import model as spec

ANSWER_SECONDS = 10.0
"""How long an answer of a broker is waited for."""

SPARE_SECONDS = 1.0
"""How much longer a call that should have ended by itself is waited for."""

TRANSACTION_SECONDS = 20.0
"""After how long a broker gives up a transaction whose member is gone: so long a partition's offset is in doubt."""

QUEUED_KILOBYTES = 64 * 1024
"""Of records that are fetched ahead."""

_LOST_PLACE = (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET, KafkaError.UNKNOWN_TOPIC_OR_PART)
_FENCED = (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID, KafkaError._FENCED, KafkaError.PRODUCER_FENCED)
"""What is fatal to a consumer of a fixed name: another process has it (librdkafka, INTRODUCTION.md, "Fatal errors")."""
_log = logging.getLogger(__name__)


class _Seldom(logging.Filter):
    """Lets what a client says of its connections through once a minute: it says so many times a second."""

    SECONDS = 60.0

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether nothing was said lately that differs in numbers alone."""
        said, now = re.sub(r"\d+", "", record.getMessage()), time.monotonic()
        is_new = now - self._told.get(said, -math.inf) >= self.SECONDS
        if is_new:
            self._told[said] = now
        return is_new


_Client = TypeVar("_Client", Consumer, Producer, AdminClient)
_connections_log = logging.getLogger(f"{__name__}.connections")
_connections_log.addFilter(_Seldom())


class KafkaUnavailableError(MidwatchError):
    """The brokers do not answer, or not as they should."""


class FencedError(MidwatchError):
    """Another process has the name of this member."""


class Outcome(Enum):
    """What became of a commit."""

    TAKEN = "taken"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Polled(NamedTuple):
    """Records that were read; `is_lost` says that a position is no longer in the log.

    `ends` are offsets at which the log ended behind them; markers of transactions stand before those.
    """

    records: Sequence[Record]
    is_lost: bool = False
    ends: Mapping[Place, int] = {}


def settings_of(kafka: spec.Kafka, folder: Path) -> dict[str, Any]:
    """librdkafka's settings of a connection; files are relative to a folder. MidwatchError for a file without text."""
    settings: dict[str, Any] = {
        "bootstrap.servers": kafka.places,
        "logger": _connections_log,
        "log_level": 4,  # what it has to say about connections that are made again is of no use
        "socket.timeout.ms": int(ANSWER_SECONDS * 1000),
        "reconnect.backoff.max.ms": 2000,
    }
    protocol = "SASL_" if kafka.sasl else ""
    settings["security.protocol"] = protocol + ("SSL" if kafka.tls else "PLAINTEXT")
    settings |= {name: str(file) for name, file in _tls_files(kafka, folder).items()}
    if kafka.sasl:
        settings["sasl.mechanism"] = kafka.sasl.mechanism
        settings["sasl.username"] = kafka.sasl.username
        settings["sasl.password"] = _secret(folder / kafka.sasl.password_file)
    return settings


def _tls_files(kafka: spec.Kafka, folder: Path) -> dict[str, Path]:
    """Files of the platform file by librdkafka's setting. KafkaUnavailableError for one that cannot be read."""
    if kafka.tls is None:
        return {}
    named = {
        "ssl.ca.location": kafka.tls.ca_file,
        "ssl.certificate.location": kafka.tls.certificate_file,
        "ssl.key.location": kafka.tls.key_file,
    }
    files = {name: folder / file for name, file in named.items() if file}
    for file in files.values():
        _read(file, "certificates or the key for Kafka's TLS, as PEM")
    return files


def _read(file: Path, wanted: str) -> bytes:
    try:
        content = file.read_bytes().strip()
    except OSError as error:
        raise KafkaUnavailableError(f"{file}: {error.strerror}; it has to hold {wanted}") from error
    if not content:
        raise KafkaUnavailableError(f"{file}: it is empty; it has to hold {wanted}")
    return content


def _secret(file: Path) -> str:
    wanted = "the password for Kafka"
    try:
        return _read(file, wanted).decode()
    except UnicodeDecodeError as error:
        raise KafkaUnavailableError(f"{file}: it is no text; it has to hold {wanted}") from error


def _made(make: Callable[[dict[str, Any]], _Client], settings: dict[str, Any], kafka: spec.Kafka) -> _Client:
    """A client. KafkaUnavailableError for settings that librdkafka does not take, such as files that are no PEM."""
    try:
        return make(settings)
    except KafkaException as error:
        files = [str(settings[name]) for name in settings if name.startswith("ssl.") and name.endswith(".location")]
        look = f"; look at {', '.join(files)}" if files else ""
        raise KafkaUnavailableError(f"no client for {kafka.places}: {error.args[0].str()}{look}") from error


class _Trouble:
    """What a client said last of its connections that tells more than that it has none."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self.text:
            self.text = error.str()


class Group:
    """A member's part in the group. `epoch` is the generation it has its partitions in; None while it has none."""

    def __init__(self, kafka: spec.Kafka, member: str, folder: Path = Path()) -> None:
        self._settings = settings_of(kafka, folder)
        self._kafka, self._member = kafka, member
        self._trouble = _Trouble()
        self._consumer = _made(
            Consumer,
            self._settings
            | {
                "group.id": kafka.group,
                "group.instance.id": member,
                "session.timeout.ms": int(kafka.session_timeout * 1000),
                "heartbeat.interval.ms": int(min(3.0, kafka.session_timeout / 3) * 1000),
                "max.poll.interval.ms": int(max(300.0, kafka.session_timeout) * 1000),
                "partition.assignment.strategy": "range",  # gives the same numbers of both topics to one member
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": QUEUED_KILOBYTES,
                "fetch.wait.max.ms": 100,
                "enable.partition.eof": True,
                "topic.metadata.refresh.interval.ms": 30_000,
            },
            kafka,
        )
        self._admin = _made(AdminClient, self._settings, kafka)
        self._producer: Producer | None = None
        self.epoch: Any = None
        self.assigned: frozenset[Place] = frozenset()
        self.rebalances = 0

    # Membership --------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Ask for partitions."""
        self._consumer.subscribe(
            self._kafka.topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.epoch = consumer.consumer_group_metadata()
        self.assigned = frozenset((one.topic, one.partition) for one in partitions)
        self.rebalances += 1
        consumer.assign([])  # what is read, and from where, is decided outside of the callback

    def _on_revoke(self, consumer: Consumer, _: Sequence[TopicPartition]) -> None:
        self.epoch, self.assigned = None, frozenset()
        consumer.unassign()

    def close(self) -> None:
        """Go; a member of a fixed name keeps its partitions until its session ends."""
        self._consumer.close()

    # Reading -----------------------------------------------------------------------------------------------------

    def read_from(self, begins: Mapping[Place, int], paused: Iterable[Place]) -> None:
        """Read from offsets on; what is paused is read once it is resumed."""
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in begins.items()])
        if stopped := [TopicPartition(*place) for place in paused]:
            self._consumer.pause(stopped)

    def resume(self, places: Iterable[Place]) -> None:
        """Read places that were paused."""
        self._consumer.resume([TopicPartition(*place) for place in places])

    def poll(self, most: int, seconds: float) -> Polled:
        """Records that are there; none when partitions were given or taken away meanwhile."""
        epoch = self.epoch
        try:
            messages = self._consumer.consume(most, seconds)
        except KafkaException as error:
            raise _unavailable(error) from error
        if self.epoch is not epoch:
            return Polled(())
        polled = _polled(messages)
        if polled.is_lost and epoch is None:
            raise KafkaUnavailableError(f"{' or '.join(self._kafka.topics)} does not exist at {self._kafka.places}")
        return polled

    def bounds(self, place: Place) -> Bounds:
        """First and next offset of a place. KafkaUnavailableError when nobody says."""
        try:
            found = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=ANSWER_SECONDS)
        except KafkaException as error:
            raise _unavailable(error) from error
        if found is None:
            raise KafkaUnavailableError(f"no broker says where {place[0]} begins and ends")
        return Bounds(*found)

    def fetched_bounds(self, place: Place) -> Bounds | None:
        """The same as the last fetch has it, without asking; None before one."""
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        except KafkaException:
            return None
        return Bounds(low, high) if high >= 0 else None

    def offsets_at(self, places: Iterable[Place], time: float) -> dict[Place, int | None]:
        """First offsets of a time or later (seconds since the epoch); None where there is none."""
        wanted = [TopicPartition(*place, max(0, int(time * 1000))) for place in places]
        try:
            found = self._consumer.offsets_for_times(wanted, timeout=ANSWER_SECONDS)
        except KafkaException as error:
            raise _unavailable(error) from error
        return {
            (one.topic, one.partition): one.offset if one.offset >= 0 and one.offset != OFFSET_END else None
            for one in found
        }

    def counts(self) -> dict[str, int]:
        """How many partitions each topic has. KafkaUnavailableError when one does not exist."""
        try:
            topics = self._admin.list_topics(timeout=ANSWER_SECONDS).topics
        except KafkaException as error:
            raise _unavailable(error) from error
        for name in self._kafka.topics:
            if name not in topics or topics[name].error is not None:
                raise KafkaUnavailableError(f"the topic {name} does not exist at {self._kafka.places}")
        return {name: len(topics[name].partitions) for name in self._kafka.topics}

    def topic_ids(self) -> dict[str, str]:
        """The id of each topic, which another topic of the same name does not have; empty where a broker has none."""
        asked = self._admin.describe_topics(TopicCollection(self._kafka.topics), request_timeout=ANSWER_SECONDS)
        ids = {}
        for name, future in asked.items():
            try:
                ids[name] = str(future.result().topic_id or "")
            except KafkaException as error:
                raise _unavailable(error) from error
        return ids

    # Offsets -----------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Take the member's transactions over: one that is open is given up, one that is being ended is ended.

        FencedError when another process has done the same since; KafkaUnavailableError when the brokers do not answer.
        """
        self._trouble.text = ""
        self._producer = _made(
            Producer,
            self._settings
            | {
                "transactional.id": f"{self._kafka.group}-{self._member}",
                "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
                "retry.backoff.ms": 20,
                "error_cb": self._trouble,
            },
            self._kafka,
        )
        try:
            self._producer.init_transactions(TRANSACTION_SECONDS)
        except KafkaException as error:
            with suppress(KafkaException):  # one that is fatal is said again
                self._producer.poll(0)  # says why it has no connection, if it has none
            raise _unavailable(error, self._trouble.text) from error

    def committed(self, places: Collection[Place]) -> dict[Place, Committed]:
        """What the group has for places. KafkaUnavailableError when the brokers do not answer, or not for all."""
        if not places:
            return {}
        try:
            found = self._consumer.committed([TopicPartition(*place) for place in places], timeout=ANSWER_SECONDS)
        except KafkaException as error:
            raise _unavailable(error) from error
        for one in found:
            if one.error is not None:
                raise KafkaUnavailableError(f"the offset of {one.topic}[{one.partition}]: {one.error}")
        return {
            (one.topic, one.partition): Committed(one.offset, claims.decode(one.metadata))
            for one in found
            if one.offset >= 0
        }

    def commit(self, offsets: Mapping[Place, tuple[int, Claim]], epoch: Any) -> Outcome:
        """Move offsets, all or none of them, in a generation; after UNKNOWN, `connect` before the next one."""
        if self._producer is None:
            return Outcome.UNKNOWN
        parts = [
            TopicPartition(*place, offset, metadata=claims.encode(claim)) for place, (offset, claim) in offsets.items()
        ]
        try:
            self._producer.begin_transaction()
            self._send_offsets(self._producer, parts, epoch)
            self._producer.commit_transaction(ANSWER_SECONDS)
        except KafkaException as error:
            return self._failed(error.args[0])
        except TimeoutError:
            _log.warning("a commit was not answered: the group's coordinator is away")
            self._producer = None  # the call may still be in it; the next one takes its transactions over
            return Outcome.UNKNOWN
        return Outcome.TAKEN

    @staticmethod
    def _send_offsets(producer: Producer, parts: Sequence[TopicPartition], epoch: Any) -> None:
        """Send offsets to a transaction; TimeoutError when nobody answers.

        librdkafka does not look at the time that it is given here while the coordinator of the group is away
        (librdkafka#5456, #5511), so the call is left to a thread of its own.
        """
        told: SimpleQueue[Exception | None] = SimpleQueue()

        def send() -> None:
            try:
                producer.send_offsets_to_transaction(list(parts), epoch, ANSWER_SECONDS)
            except Exception as error:  # whoever waits raises it
                told.put(error)
            else:
                told.put(None)

        threading.Thread(target=send, name="offsets", daemon=True).start()
        try:
            error = told.get(timeout=ANSWER_SECONDS + SPARE_SECONDS)
        except Empty:
            raise TimeoutError from None
        if error is not None:
            raise error

    def _failed(self, error: KafkaError) -> Outcome:
        if error.txn_requires_abort() and not error.fatal():
            return self._abort()
        _log.warning("a commit was not answered: %s", error)
        return Outcome.UNKNOWN

    def _abort(self) -> Outcome:
        if self._producer is None:
            return Outcome.UNKNOWN
        try:
            self._producer.abort_transaction(ANSWER_SECONDS)
        except KafkaException as error:
            _log.warning("a commit could not be given up: %s", error)
            return Outcome.UNKNOWN
        return Outcome.REFUSED


class Reader:
    """Reads places back, beside the group."""

    def __init__(self, kafka: spec.Kafka, folder: Path = Path()) -> None:
        self._consumer = _made(
            Consumer,
            settings_of(kafka, folder)
            | {
                "group.id": f"{kafka.group}-reading-back",  # it joins no group; librdkafka wants a name
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": QUEUED_KILOBYTES,
                "enable.partition.eof": True,
            },
            kafka,
        )

    def read_from(self, begins: Mapping[Place, int]) -> None:
        """Read from offsets on."""
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in begins.items()])

    def only(self, places: Iterable[Place], others: Iterable[Place]) -> None:
        """Read some places on, and stop with others."""
        if wanted := [TopicPartition(*place) for place in places]:
            self._consumer.resume(wanted)
        if stopped := [TopicPartition(*place) for place in others]:
            self._consumer.pause(stopped)

    def poll(self, most: int, seconds: float) -> tuple[Sequence[Record], Mapping[Place, int]]:
        """Records, and the ends of the log that were reached. KafkaUnavailableError for any other trouble."""
        polled = _polled(self._consumer.consume(most, seconds))
        return polled.records, polled.ends

    def close(self) -> None:
        """Read no more."""
        self._consumer.close()


def _polled(messages: Sequence[Message]) -> Polled:
    records = []
    ends: dict[Place, int] = {}
    is_lost = False
    for message in messages:
        error = message.error()
        if error is None:
            records.append(_record(message))
        elif error.code() in _LOST_PLACE:
            is_lost = True
        elif error.code() in _FENCED:
            raise FencedError(f"another process has the name of this member, give each its own: {error.str()}")
        elif error.code() == KafkaError._PARTITION_EOF:
            ends[_place(message)] = message.offset() or 0
        else:
            _log.warning("Kafka: %s", error)
    return Polled(records, is_lost, ends)


def _record(message: Message) -> Record:
    kind, milliseconds = message.timestamp()
    time = 0.0 if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds / 1000
    headers = message.headers() or ()
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    told = [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]
    return Record(*_place(message), message.offset() or 0, time, message.value(), told)


def _place(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0


def _unavailable(error: KafkaException, why: str = "") -> MidwatchError:
    found = error.args[0]
    if found.code() in _FENCED:
        return FencedError(f"another process has the name of this member, give each its own: {found.str()}")
    return KafkaUnavailableError(f"Kafka: {found.str()}{why and f' ({why})'}")
