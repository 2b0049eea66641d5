"""Batches into counters, beside Spark: while it works on the next one, what the last one found is folded here."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from exporters import collector
from exporters.events import garbage
from exporters.stream.fold import Fold
from exporters.stream.ledger import Ledger, Rows
from exporters.stream.parcels import FINDINGS, Findings
from midwatch import metrics
from midwatch.exposition import Sample

WAITING = 2
"""Batches that may wait to be folded; then Spark waits too."""

KEEP_EVERY = 5.0
"""Seconds between two writes of the counters: after a kill, as much is folded again."""

FOLD = "fold"
"""Name of the counters in the ledger."""

_decode_findings = msgspec.msgpack.Decoder(Findings).decode
_log = logging.getLogger(__name__)


class Folding:
    """Folds batches in their order on a thread of its own. What it publishes is as it was between two batches."""

    def __init__(self, fold: Fold, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        self._fold, self._ledger, self._clock = fold, ledger, clock
        self._queue: queue.Queue[tuple[int, Rows] | float | None] = queue.Queue(WAITING)
        self._waiting: dict[int, tuple[dict[str, int], int, float | None]] = {}
        self._kept_at = time.monotonic()
        self.folded_at = 0.0
        self.error: BaseException | None = None
        self._upto, values = ledger.kept([FOLD])
        self._kept_upto = self._upto
        if FOLD in values:
            fold.restore(values[FOLD])
        for batch, rows in ledger.found(self._upto):
            self._take(batch, rows)
        self._publish()
        self._thread = threading.Thread(target=self._run, name="fold", daemon=True)
        self._thread.start()

    # From the sink -----------------------------------------------------------------------------------------------

    def put(self, batch: int, rows: Rows) -> None:
        """Fold a batch that is in the ledger; waits while too many are waiting."""
        self._offer((batch, rows))

    def advance(self, time: float) -> None:
        """Let time pass up to a moment, when nothing comes and all was read."""
        self._offer(time)

    def stop(self) -> None:
        """Fold what waits, and keep the counters."""
        self._offer(None)
        self._thread.join()

    def _offer(self, item: tuple[int, Rows] | float | None) -> None:
        while self._thread.is_alive():
            try:
                self._queue.put(item, timeout=1.0)
                return
            except queue.Full:
                continue
        if self.error is not None:
            raise self.error

    # On the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                if isinstance(item, float):
                    self._fold.advance(item)
                    self._keep()  # it would not be folded again between the same two batches
                else:
                    self._take(*item)
                self._publish()
                if time.monotonic() - self._kept_at >= KEEP_EVERY:
                    self._keep()
            self._keep()
        except BaseException as error:
            _log.exception("batches cannot be folded")
            self.error = error

    def _take(self, batch: int, rows: Rows) -> None:
        with garbage.without_collection():
            found = {bucket: _decode_findings(packed) for bucket, kind, packed in rows if kind == FINDINGS}
            self._fold.take(list(found.values()))
        for bucket, findings in found.items():
            self._waiting[bucket] = findings.waiting, findings.held, findings.oldest
        self._upto, self.folded_at = batch, self._clock()

    def _keep(self) -> None:
        self._ledger.keep(self._upto, {FOLD: self._fold.saved()})
        self._kept_at = time.monotonic()

    # What is published -------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        self._view = collector.View(self._fold.published(), self._samples(), None)

    @property
    def view(self) -> collector.View:
        """The counters, and what is said of the stream, as they were after a batch."""
        view = self._view
        uncounted: Sample = (metrics.STREAM_UNCOUNTED, {}, float(self._queue.qsize()))
        return collector.View(view.totals, [*view.samples, uncounted], None)

    @property
    def has_all(self) -> bool:
        """Whether nothing waits to be folded."""
        return self._queue.empty()

    def _samples(self) -> list[Sample]:
        fold = self._fold
        waiting: Counter[str] = Counter()
        for entries, _, _ in self._waiting.values():
            waiting.update(entries)
        oldest = min((oldest for _, _, oldest in self._waiting.values() if oldest is not None), default=None)
        samples: list[Sample] = [
            (metrics.EXPORTER_OLDEST_WAITING, {}, 0.0 if oldest is None else max(0.0, fold.time - oldest)),
            (metrics.EXPORTER_HALVES_WAITING, {}, float(waiting["half"])),
            (metrics.STREAM_WATERMARK, {}, fold.watermark),
            (metrics.STREAM_LATE, {}, float(fold.late)),
            (metrics.STREAM_BATCHES, {}, float(self._upto + 1)),
            (metrics.STREAM_LAST_BATCH, {}, self.folded_at),
            (metrics.STREAM_STATE_BYTES, {}, float(sum(held for _, held, _ in self._waiting.values()))),
        ]
        samples += [(metrics.STREAM_WAITING, {"kind": kind}, float(count)) for kind, count in waiting.items()]
        samples += [(metrics.STREAM_RECORDS, {"source": name}, float(count)) for name, count in fold.records.items()]
        for (kind, result, reason), count in fold.results.items():
            labels = {"kind": kind, "result": result, "reason": reason}
            samples.append((metrics.EXPORTER_EVENTS, labels, float(count)))
        return samples
