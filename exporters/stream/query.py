"""The query: records of the sources through the buckets into the ledger, batch by batch."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from exporters.events.privacy import Privacy
from exporters.stream import checkpoint as checkpoints
from exporters.stream import parcels, workers
from exporters.stream.decoding import Decoding
from exporters.stream.drift.judging import Judging
from exporters.stream.folding import Folding
from exporters.stream.kept import Follower, KeptBuckets
from exporters.stream.ledger import Ledger, Rows
from exporters.stream.parcels import FINDINGS, FOUND_SCHEMA, PARCEL_SCHEMA
from exporters.stream.sources import kafka
from midwatch import metrics
from midwatch.errors import MidwatchError
from midwatch.exposition import Sample
from midwatch.spec import model as spec
from monitors.drift.spark.session import reason

_log = logging.getLogger(__name__)


JUDGE_SECONDS = 5.0
"""Seconds after a batch in which windows of drift are judged: the next batch waits, and judges on."""


TopicIds = Callable[[], Mapping[str, str]]
"""Asks for the ids of the topics that are read, by name: another topic of the same name has another one."""


class StreamError(MidwatchError):
    """The query has ended with an error."""


class SlowStartError(StreamError):
    """A worker that lists files took longer to start than Spark's ten seconds, which cannot be set.

    On a busy machine Python takes as long; the query may be started again.
    """


STARTS, _SLOW_START = 5, "Python worker failed to connect back"
"""How often a query is worth a start, and what Spark says of a worker that took too long."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What is counted, and how: the exporter's settings and models, and the parts of the ids."""

    settings: spec.Exporter
    models: Sequence[spec.Model]
    privacy: Privacy | None
    buckets: int
    followers: Sequence[Follower] = ()


_NOT_AHEAD = "least(arrived, unix_millis(current_timestamp())) AS arrived"
"""A record arrives no later than its batch begins, whatever its producer's clock says: from a time that is ahead,
everything that waits would be given up. The time of a batch is in the checkpoint, the same when it is run again."""

_NO_NULLS = "coalesce(headers, CAST(array() AS array<struct<key: string, value: binary>>)) AS headers"
"""A list that is there, though empty: after each row Arrow's writer passes over all lists of a batch since the last
one that is not null, which took Java nearly half of its time."""


def sent(records: Any) -> Any:
    """Records as they are sent to Python."""
    return records.selectExpr("* EXCEPT (arrived, headers)", _NOT_AHEAD, _NO_NULLS)


def found(records: Any, counted: Counted) -> Any:
    """What the buckets find of a frame of records: columns of `parcels.FOUND_SCHEMA`."""
    decoding = Decoding(
        settings=counted.settings, models=counted.models, privacy=counted.privacy, buckets=counted.buckets
    )
    kept = KeptBuckets(counted.settings, counted.models, counted.buckets, counted.followers)
    decoded = sent(records).mapInArrow(decoding, PARCEL_SCHEMA)
    return decoded.groupBy("bucket").transformWithState(kept, FOUND_SCHEMA, "Append", "None")


class Query:
    """A running query; `error` is what ended it."""

    def __init__(self, ledger: Ledger, folding: Folding, judging: Judging | None = None) -> None:
        self._ledger, self._folding, self._judging = ledger, folding, judging
        self._is_known = threading.Event()
        self._query: Any = None
        self._topics_now: TopicIds = dict
        self._topics: Mapping[str, str] = {}
        self._offsets: Callable[[int], str] = lambda _: ""
        self.error: Exception | None = None

    def start(self, found: Any, checkpoint: str, every: float | None, topics_now: TopicIds = dict) -> None:
        """Start: a batch every so many seconds, or all that is there and no more.

        Raises LedgerError when the ledger is another checkpoint's, lacks batches that are done or a topic was created
        again, WorkersError when a cluster's workers cannot work, StreamError when Spark refuses the checkpoint.
        """
        workers.ensure_ready(found.sparkSession, checkpoint)
        self._topics_now, self._topics = topics_now, topics_now()
        self._ledger.ensure_topics(self._topics)
        self._ledger.ensure_has(checkpoints.committed(found.sparkSession, checkpoint))
        self._offsets = partial(checkpoints.offsets, found.sparkSession, checkpoint)
        writer = found.writeStream.foreachBatch(self.take).option("checkpointLocation", checkpoint)
        trigger = {"availableNow": True} if every is None else {"processingTime": f"{round(every * 1000)} milliseconds"}
        try:
            started = writer.trigger(**trigger).start()
        except (PySparkException, Py4JError) as error:
            raise StreamError(f"{checkpoint}: Spark does not start from it: {reason(error)}") from error
        self.begun(started)

    def begun(self, started: Any) -> None:
        """Take the batches of a query of Spark from now on; LedgerError when the ledger is another one's."""
        self._query = started
        try:
            self._ledger.ensure_query(self._query.id)
        except MidwatchError as error:
            self.error = error
            raise
        finally:
            self._is_known.set()

    def take(self, frame: Any, batch: int) -> None:
        """Take a batch once, whatever Spark does again."""
        self._is_known.wait()
        try:
            if self.error is not None:
                raise self.error
            rows = self._add(frame, batch)
            if rows is None:
                return
            self._folding.put(batch, rows)
            if self._judging is not None:
                self._judging.turn(parcels.read_until(found for _, _, found in rows), JUDGE_SECONDS)
        except MidwatchError as error:
            self.error = error
            raise

    def _add(self, frame: Any, batch: int) -> Rows | None:
        """What a batch found, once that and the windows of drift that it counts in are durable together.

        None for a batch that is in the ledger. It is computed all the same: Spark's state takes part only in what was.
        """
        offsets = self._offsets(batch)
        if self._judging is None or self._ledger.has(self._query.id, batch):
            rows = _rows(frame)
            self.ensure_same_topics()
            return rows if self._ledger.add(self._query.id, batch, rows, offsets=offsets) else None
        frame.persist()  # it is looked at more than once
        try:
            with self._judging.batch(frame) as pieces:
                rows = _rows(frame.where(frame.kind == FINDINGS))
                self.ensure_same_topics()
                self._ledger.add(self._query.id, batch, rows, pieces, offsets=offsets)
        finally:
            frame.unpersist()
        return rows

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the query has ended, after so many seconds at most.

        Raises what ended it: SlowStartError when it may be started again, StreamError for another error of Spark's.
        """
        try:
            return bool(self._query.awaitTermination() if seconds is None else self._query.awaitTermination(seconds))
        except PySparkException as error:
            if self.error is not None:
                raise self.error from error
            advice = next((advice for sign, advice in _ADVICE.items() if sign in str(error)), None)
            if advice is not None:
                self.ensure_same_topics()
            kind = SlowStartError if _SLOW_START in str(error) else StreamError
            raise kind(f"the query has ended: {advice or reason(error)}") from error

    def ensure_same_topics(self) -> None:
        """LedgerError when a topic is not the one any more that was there when the query began."""
        now = self._topics_now()
        if now != self._topics:
            self._ledger.ensure_topics(now)

    def stop(self) -> None:
        """End the query; a batch that is under way is done again by the next one."""
        if self._query is not None:
            self._query.stop()

    @property
    def is_idle(self) -> bool:
        """Whether everything that is there was read and counted."""
        status, progress = self._query.status, self._query.lastProgress
        has_all = progress is not None and not any(behind(progress).values())
        return has_all and not status["isDataAvailable"] and not status["isTriggerActive"] and self._folding.has_all

    def samples(self) -> list[Sample]:
        """What Spark says of its last batch."""
        progress = None if self._query is None else self._query.lastProgress
        if progress is None:
            return []
        seconds = progress["durationMs"].get("triggerExecution", 0) / 1000
        samples: list[Sample] = [(metrics.STREAM_BATCH_DURATION, {}, seconds)]
        return samples + [
            (metrics.STREAM_BEHIND, {"source": source}, float(records)) for source, records in behind(progress).items()
        ]


_ADVICE = {
    kafka.NO_TOPIC: f"a topic of stream.kafka.topics is not there: {kafka.CREATE_IT}",
    "may have been lost": "records were deleted before they were read, as retention does, or their topic with them: "
    "they are lost; begin with a new --checkpoint and a new --sink, and keep records longer than a stream may be away",
}
"""What to say in the place of what Spark says, by a part of that."""


def _rows(frame: Any) -> Rows:
    return [(row.bucket, row.kind, bytes(row.found)) for row in frame.collect()]


def behind(progress: Any) -> dict[str, int]:
    """Records that were there at the end of a batch and that it did not read, by topic."""
    found: dict[str, int] = {}
    for source in progress["sources"]:
        latest, end = _offsets(source["latestOffset"]), _offsets(source["endOffset"])
        for topic, partitions in latest.items():
            read = end.get(topic, {})
            found[topic] = sum(max(0, offset - read.get(partition, 0)) for partition, offset in partitions.items())
    return found


def _offsets(text: Any) -> dict[str, dict[str, int]]:
    """Offsets by topic and partition; none of a source that has other ones."""
    offsets = json.loads(text) if isinstance(text, str) else text
    if not isinstance(offsets, dict):
        return {}
    return {topic: partitions for topic, partitions in offsets.items() if isinstance(partitions, dict)}
