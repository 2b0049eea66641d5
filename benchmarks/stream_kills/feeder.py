"""Events through Kafka while batches are counted, so that each has some; and the ledger of what has to be counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from benchmarks.kafka.fleet import Sender
from benchmarks.stream_kills.driver import Counts, Driver, Place

TOPICS = ("predictions", "labels")


class Sending:
    """Sends predictions, labels and records that are none; knows what has to be counted of them."""

    def __init__(self, servers: str, topics: Sequence[str], seed: int) -> None:
        self._sender = Sender(servers, topics, seed)
        self._rubbish = 0
        self.sent = 0
        """Records that the broker has."""

    def send(self, predictions: int) -> None:
        """Send so many predictions, and labels of half of those that wait."""
        self._sender.send(predictions)
        self._sender.rubbish(1)
        self._rubbish += 1
        self.sent = self._sender.sent

    def finish(self) -> None:
        """Send the labels that are left, but some."""
        self._sender.finish()
        self.sent = self._sender.sent

    def wanted(self) -> Counts:
        """What has to be counted."""
        events = sum(self._sender.ledger.values())
        counts = Counts(self._sender.ledger)
        counts["records",] = self.sent
        counts["retries",] = self.sent - self._rubbish - events
        counts["no event",] = self._rubbish
        counts["accepted",] = events
        counts["waiting for a label",] = self._sender.unlabelled
        counts["labels without a prediction",] = 0
        return counts


class Feeder:
    """A thread that sends predictions whenever a batch is done; `ends` are the records up to the end of each batch."""

    def __init__(self, sending: Sending, place: Place, count: int) -> None:
        self._sending, self._place, self._count = sending, place, count
        self._ended = threading.Event()
        self.ends: dict[int, int] = {}
        sending.send(count)
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        answered = -1
        while not self._ended.wait(0.02):
            planned, committed = self._place.planned, self._place.committed
            if planned >= 0 and planned not in self.ends:
                self.ends[planned] = self._place.read_until(planned)
            if committed > answered:
                answered = committed
                self._sending.send(self._count)

    def end(self) -> None:
        """Send no more."""
        self._ended.set()
        self._thread.join()

    def batches_until(self, records: int, after: int) -> int:
        """Batches after one until so many records were read."""
        return min(batch for batch, end in self.ends.items() if batch > after and end >= records) - after


def counted(driver: Driver) -> Counts:
    """What a driver publishes, by the names of the ledger."""
    found = Counts()
    for sample in driver.samples():
        if sample.name in _NAMES:
            found[_NAMES[sample.name](sample.labels)] += int(sample.value)
    return found


_NAMES: dict[str, Callable[[dict[str, str]], tuple[str, ...]]] = {
    "ml_predictions_total": lambda labels: ("predicted", labels["predicted"]),
    "ml_outcomes_total": lambda labels: ("outcome", labels["predicted"], labels["actual"]),
    "midwatch_stream_records_total": lambda _: ("records",),
    "midwatch_exporter_predictions_waiting": lambda _: ("waiting for a label",),
    "midwatch_exporter_labels_waiting": lambda _: ("labels without a prediction",),
    "midwatch_exporter_events_total": lambda labels: (_RESULTS.get(labels["result"], labels["result"]),),
}
"""Names of the ledger for what a metric's labels say."""

_RESULTS = {"duplicate": "retries", "malformed": "no event", "accepted": "accepted"}
