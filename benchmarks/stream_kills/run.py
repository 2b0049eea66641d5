"""Kills at random moments of the batches of a stream, counted against the ledger of who sent the events.

A moment is a batch and what is going on in it, told by what is on disk: its offsets (planned), some time after them
(running), a part of its state, its row in the counts (taken), its end for Spark (done). The driver is killed with all
that it has started, alone, or by its Java alone; executors are processes of a cluster on this machine, and are killed
by one or both at once while their driver goes on.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Comparison, Figure
from benchmarks.kafka.fleet import create_topics
from benchmarks.kafka.run import broker
from benchmarks.stream_kills.driver import WAIT_SECONDS, Counts, Driver, Place
from benchmarks.stream_kills.feeder import TOPICS, Feeder, Sending, counted
from exporters.stream import session
from midwatch import kafka_broker

MOMENTS: dict[str, Callable[[Place, int], bool]] = {
    "planned": lambda place, batch: place.planned >= batch,
    "running": lambda place, batch: place.planned >= batch,
    "state": lambda place, batch: place.has_state(batch) or place.committed >= batch,
    "taken": lambda place, batch: place.taken >= batch,
    "done": lambda place, batch: place.committed >= batch,
}
"""By what a moment of a batch is known; one that is running is waited in for a while."""

RUNNING_SECONDS = 1.5
"""How far into a batch a kill may fall while that is running."""

GOAL = 2
"""Batches after a kill within which everything is counted that was sent before it."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A kill: of what, at which moment; and the batches that were planned, taken and done, and what had been sent."""

    what: str
    moment: str
    planned: int
    taken: int
    done: int
    sent: int

    @property
    def found(self) -> str:
        """What had become of the batch that was under way."""
        if self.planned == self.done:
            return "between two batches"
        return "batch not taken" if self.taken < self.planned else "batch taken, not done"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a run: its kills, each with the batches until all was counted again, and counters by the ledger."""

    kills: Sequence[tuple[Kill, int]]
    wanted: Counts
    counted: Counts


def run_drivers(*, smoke: bool) -> Sequence[Figure | Comparison]:
    """Events lost and double over kills of the driver, and batches until all is counted again."""
    return _run("drivers", Drivers, smoke=smoke)


def run_executors(*, smoke: bool) -> Sequence[Figure | Comparison]:
    """The same over kills of executors, while their driver goes on."""
    return _run("executors", Executors, smoke=smoke)


def _run(name: str, killed: type[Drivers | Executors], *, smoke: bool) -> Sequence[Figure | Comparison]:
    if kafka_broker.jars() is None or not session.connector_jars(None):
        print(f"kills of {name}: jars are missing; scripts/kafka-jars fetches them", file=sys.stderr)
        return ()
    kills, count = (1, 300) if smoke else (20, 2_000)
    topics = list(TOPICS)
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder) / "broker") as servers:
        create_topics(servers, topics, 2)
        place = Place(Path(folder) / name, servers, topics)
        return _shown(f"kills of {name}", _outcome(killed(place, random.Random(3)), servers, kills, count))


def _outcome(killed: Drivers | Executors, servers: str, kills: int, count: int) -> Outcome:
    sending = Sending(servers, killed.place.topics, seed=3)
    feeder = Feeder(sending, killed.place, count)
    killed.start()
    try:
        made = list(_kills(killed, sending, kills))
        last = killed.place.planned
        killed.driver.until(lambda: killed.place.committed > last)
        feeder.end()
        sending.finish()
        killed.driver.until(lambda: killed.driver.total("midwatch_stream_records_total") >= sending.sent)
        again = [feeder.batches_until(kill.sent, kill.done) for kill in made]
        return Outcome(kills=[*zip(made, again, strict=True)], wanted=sending.wanted(), counted=counted(killed.driver))
    finally:
        feeder.end()
        killed.driver.kill()


def _kills(killed: Drivers | Executors, sending: Sending, kills: int) -> Iterator[Kill]:
    """So many kills; fewer once somebody interrupts them, and then what they came to is said all the same."""
    try:
        for number in range(kills):
            yield (made := killed.kill(sending))
            print(f"{number + 1} of {kills}: {made}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted: no more kills", file=sys.stderr)


class Drivers:
    """Kills drivers with all that they have started, alone, or their Java alone; another one begins at once."""

    ways = ("driver and Java", "driver alone", "Java alone")

    def __init__(self, place: Place, source: random.Random) -> None:
        self.place, self._source = place, source

    def start(self) -> None:
        """Start the next driver."""
        self.driver = Driver(self.place)

    def kill(self, sending: Sending) -> Kill:
        """Kill the driver that runs, and start another one; RuntimeError when anything of the first one stays."""
        driver, what = self.driver, self._source.choice(self.ways)
        driver.until(lambda: driver.has_said("counting"))
        moment = _moment(driver, self.place, self._source)
        if what == "driver and Java":
            driver.kill()
        else:
            for pid in [driver.process.pid] if what == "driver alone" else driver.java():
                os.kill(pid, signal.SIGKILL)
        kill = _noted(what, moment, self.place, sending)
        code = driver.process.wait(WAIT_SECONDS)
        if what == "Java alone" and code <= 0:
            raise RuntimeError(f"a driver that has lost its Java ended with {code}: {driver.log[-3000:]}")
        self.start()  # what is left of one that was killed alone may still be running beside it
        self.driver.until(lambda: not driver.started())
        return kill


class Executors:
    """Kills executors of a cluster on this machine, one or both at once, while their driver goes on."""

    ways = ("an executor", "an executor", "both executors")

    def __init__(self, place: Place, source: random.Random) -> None:
        self.place, self._source = place, source

    def start(self) -> None:
        """Start the driver."""
        self.driver = Driver(self.place, executors=True)

    def kill(self, sending: Sending) -> Kill:
        """Kill executors once both are there, and a batch has come to its moment."""
        driver, what = self.driver, self._source.choice(self.ways)
        driver.until(lambda: len(driver.executors()) == 2)
        moment = _moment(driver, self.place, self._source)
        victims = driver.executors()
        self._source.shuffle(victims)
        for pid in victims if what == "both executors" else victims[:1]:
            os.kill(pid, signal.SIGKILL)
        return _noted(what, moment, self.place, sending)


def _moment(driver: Driver, place: Place, source: random.Random) -> str:
    """Wait for a moment of one of the next two batches; its name."""
    batch, moment = place.committed + 1 + source.randrange(2), source.choice(list(MOMENTS))
    driver.until(lambda: MOMENTS[moment](place, batch), every=0.002)
    if moment == "running":
        time.sleep(source.random() * RUNNING_SECONDS)
    return moment


def _noted(what: str, moment: str, place: Place, sending: Sending) -> Kill:
    return Kill(
        what=what, moment=moment, planned=place.planned, taken=place.taken, done=place.committed, sent=sending.sent
    )


def _shown(kind: str, outcome: Outcome) -> list[Figure | Comparison]:
    name, wanted, counted = f"{len(outcome.kills)} {kind}", outcome.wanted, outcome.counted
    names = sorted(wanted | counted)
    lost, double = (
        sum(max(0, one[name] - other[name]) for name in names) for one, other in ((wanted, counted), (counted, wanted))
    )
    again = max(until for _, until in outcome.kills)
    groups = Counter((kill.what, kill.moment, kill.found) for kill, _ in outcome.kills)
    rows = []
    for group, count in sorted(groups.items()):
        took = [until for kill, until in outcome.kills if (kill.what, kill.moment, kill.found) == group]
        rows.append([*group, str(count), str(max(took))])
    return [
        Figure(name=f"events lost over {name}", target=0, measured=lost, unit="events", better="less"),
        Figure(name=f"events double over {name}", target=0, measured=double, unit="events", better="less"),
        Figure(
            name=f"batches until all is counted again, {name}",
            target=GOAL,
            measured=again,
            unit="batches",
            better="less",
        ),
        Comparison(
            title=name,
            columns=("killed", "when a batch was", "found then", "times", "batches until all was counted, at most"),
            rows=rows,
        ),
        Comparison(
            title=f"counters after {name}",
            columns=("counter", "ledger", "counted"),
            rows=[[" ".join(name), f"{wanted[name]:,}", f"{counted[name]:,}"] for name in names],
        ),
    ]
