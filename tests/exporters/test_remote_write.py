"""Remote write: what a real Prometheus has after pushes, restarts and refusals, and what is dropped."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporters.otlp import Source
from exporters.remote_write import message, pusher
from exporters.remote_write.begun import Begun
from exporters.remote_write.outbox import PAUSES, Answer, Outbox, Result, Waiting
from exporters.remote_write.pusher import Pusher, Target
from midwatch import metrics
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client
from tests.conftest import free_port, need_program, wait_for

LABELS = {"job": "midwatch-stream", "instance": "driver-1"}
TAKEN, REFUSED, LATER = Answer(Result.TAKEN), Answer(Result.REFUSED), Answer(Result.LATER)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus that scrapes nothing and takes remote write."""
    program = need_program("prometheus")
    folder, port = tmp_path_factory.mktemp("receiver"), free_port()
    (folder / "prometheus.yml").write_text("global: {}\n")
    command = [program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(f"http://127.0.0.1:{port}/-/ready", 60)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def pushing(registry: CollectorRegistry, folder: Path, post, since: float = 1.0, interval: float = 15.0) -> Pusher:
    return Pusher([Source(collector=registry, since=since)], LABELS, post, folder, interval)


def value(url: str, expr: str, at: float) -> list[float]:
    return [sample.value for sample in Client(url, timeout=60.0).query(expr, at=at)]


def outcome(one: Pusher | Outbox) -> dict[tuple[str, str], float]:
    return {
        (labels["result"], labels["reason"]): count
        for metric, labels, count in one.samples()
        if metric is metrics.REMOTE_WRITE_SAMPLES and count
    }


def test_every_series_arrives_with_who_pushed_it(receiver: str, tmp_path: Path) -> None:
    registry, now = CollectorRegistry(), time.time()
    counter = Counter("many", "Many.", ["version", "empty"], registry=registry)
    for number in range(message.BATCH + 500):
        counter.labels(f'v{number}é\n"', "").inc(number)
    histogram = Histogram("took_seconds", "Time.", ["model"], buckets=(0.1, 1.0), registry=registry)
    for seconds in (0.05, 0.5, 0.7, 5):
        histogram.labels("m").observe(seconds)
    one = pushing(registry, tmp_path, pusher.poster(Target.of(receiver)))
    one.collect(now)
    assert one.send() == 0.0
    series = message.BATCH + 500
    assert value(receiver, "count(many_total)", now) == [series]
    assert value(receiver, "sum(many_total)", now) == [series * (series - 1) / 2]
    assert value(receiver, 'many_total{version="v7é\\n\\"",job="midwatch-stream",instance="driver-1"}', now) == [7]
    assert value(receiver, 'took_seconds_bucket{le="1.0"}', now) == [3]
    assert value(receiver, "took_seconds_sum", now) == [6.25]
    assert not value(receiver, "many_created", now)
    assert outcome(one) == {("delivered", ""): 2 * (series + 5)}  # a zero each, and the value


def test_what_was_counted_before_the_first_push_is_seen_as_an_increase(receiver: str, tmp_path: Path) -> None:
    registry, now = CollectorRegistry(), time.time()
    asked = Counter("asked", "Asked.", ["model"], registry=registry)
    asked.labels("early").inc(5)
    one = pushing(registry, tmp_path, pusher.poster(Target.of(receiver)))
    one.collect(now - 30)
    asked.labels("later").inc(7)
    one.collect(now - 15)
    asked.labels("later").inc(2)
    one.collect(now)
    one.send()
    changes = 'asked_total{model="%s"} - asked_total{model="%s"} offset %s'
    assert value(receiver, changes % ("early", "early", "44s"), now) == [5]
    assert value(receiver, changes % ("later", "later", "29s"), now) == [9]


def test_a_driver_that_is_started_again_begins_no_series_twice(receiver: str, tmp_path: Path) -> None:
    registry, now = CollectorRegistry(), time.time()
    kept = Counter("kept", "Kept.", ["model"], registry=registry)
    kept.labels("a").inc(5)
    first = pushing(registry, tmp_path, pusher.poster(Target.of(receiver)))
    first.collect(now - 2)
    first.send()
    kept.labels("b").inc(3)  # and the first driver is killed before it pushes
    second = pushing(registry, tmp_path, pusher.poster(Target.of(receiver)))
    second.collect(now - 1)
    assert second.send() == 0.0
    assert outcome(second) == {("delivered", ""): 3}
    assert value(receiver, 'resets(kept_total{model="a"}[1m])', now) == [0]
    assert value(receiver, 'kept_total{model="b"} - kept_total{model="b"} offset 15s', now) == [3]


def test_a_push_that_comes_twice_changes_nothing(receiver: str, tmp_path: Path) -> None:
    registry, now = CollectorRegistry(), time.time()
    Counter("twice", "Twice.", registry=registry).inc(4)
    post = pusher.poster(Target.of(receiver))
    bodies: list[bytes] = []

    def lost_answer(body: bytes) -> Answer:
        bodies.append(body)
        post(body)
        return LATER

    one = pushing(registry, tmp_path, lost_answer)
    one.collect(now)
    one.send()
    one.send()
    assert bodies[0] == bodies[1]
    again = pushing(registry, tmp_path, post)
    again.collect(now)
    assert again.send() == 0.0
    assert outcome(again) == {("delivered", ""): 2}
    assert value(receiver, "count_over_time(twice_total[1m])", now) == [2]


def test_a_gauge_that_is_no_more_ends_at_once(receiver: str, tmp_path: Path) -> None:
    registry, now = CollectorRegistry(), time.time()
    gauge = Gauge("verdict", "Verdict.", ["version"], registry=registry)
    gauge.labels("v1").set(1)
    one = pushing(registry, tmp_path, pusher.poster(Target.of(receiver)))
    one.collect(now - 2)
    gauge.remove("v1")
    one.collect(now - 1)
    one.send()
    assert value(receiver, "verdict", now - 2) == [1]
    assert value(receiver, "verdict", now) == []


def test_zeros_that_are_refused_do_not_take_the_values_with_them(receiver: str, tmp_path: Path) -> None:
    registry, now = CollectorRegistry(), time.time()
    count = Counter("moved", "Moved.", registry=registry)
    count.inc(5)
    for folder in ("one", "another"):  # the second has no file of what the first began
        (tmp_path / folder).mkdir()
        one = pushing(registry, tmp_path / folder, pusher.poster(Target.of(receiver)))
        one.collect(now - (2 if folder == "one" else 1))
        one.send()
        count.inc()
    assert outcome(one) == {("delivered", ""): 1, ("dropped", "refused"): 1}
    assert value(receiver, "moved_total", now) == [6]


# A receiver that is away --------------------------------------------------------------------------------------------


def waiting(size: int, samples: int = 1, *, begins: bool = False) -> Waiting:
    return Waiting(message.Request(bytes(size), samples), begins=begins)


def test_a_request_is_repeated_ever_more_rarely_and_in_order() -> None:
    answers = iter([LATER] * 7 + [TAKEN, TAKEN])
    posted: list[int] = []

    def post(body: bytes) -> Answer:
        posted.append(len(body))
        return next(answers)

    outbox = Outbox(post)
    outbox.put([waiting(1), waiting(2)])
    pauses = [outbox.send(lambda: 0.0) for _ in range(7)]
    assert pauses == [1, 2, 4, 8, 16, PAUSES[1], PAUSES[1]]
    assert outbox.send(lambda: 0.0) == 0.0
    assert posted == [1] * 8 + [2]
    assert outcome(outbox) == {("delivered", ""): 2}


def test_a_receiver_that_says_when_to_come_again_is_believed() -> None:
    outbox = Outbox(lambda _: Answer(Result.LATER, 120.0))
    outbox.put([waiting(1)])
    assert outbox.send(lambda: 0.0) == 120.0


def test_the_oldest_values_go_where_there_is_no_room_and_beginnings_last() -> None:
    outbox = Outbox(lambda _: TAKEN, most_bytes=30)
    outbox.put([waiting(10, 7, begins=True), waiting(10, 1), waiting(10, 2), waiting(10, 4)])
    assert outcome(outbox) == {("dropped", "queue_full"): 1}
    outbox.put([waiting(25, 100)])
    assert outcome(outbox) == {("dropped", "queue_full"): 14}
    outbox.send(lambda: 0.0)
    assert outcome(outbox)["delivered", ""] == 100


def test_what_waits_at_the_end_is_counted_as_dropped() -> None:
    outbox = Outbox(lambda _: REFUSED)
    outbox.put([waiting(1, 3), waiting(1, 4)])
    assert outbox.give_up() == 7
    assert outcome(outbox) == {("dropped", "stopped"): 7}


def test_beginnings_that_no_receiver_had_come_again_after_a_restart(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    Counter("early", "Early.", registry=registry).inc()
    away = pushing(registry, tmp_path, lambda _: LATER)
    away.collect(100.0)
    away.collect(115.0)
    away.send()
    sizes: list[int] = []
    back = pushing(registry, tmp_path, lambda body: sizes.append(len(body)) or TAKEN)
    back.collect(130.0)
    back.send()
    assert outcome(back) == {("delivered", ""): 2}


def test_a_file_of_beginnings_that_ends_early_is_read_to_its_last_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "begun"
    Begun(path).keep([b"12345678", b"abcdefgh"])
    with path.open("ab") as file:
        file.write(b"torn")
    again = Begun(path)
    again.keep([b"ABCDEFGH"])
    assert all(digest in Begun(path) for digest in (b"12345678", b"abcdefgh", b"ABCDEFGH"))


def test_the_thread_pushes_until_it_is_stopped_and_once_more(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    count = Counter("threaded", "Threaded.", registry=registry)
    bodies: list[bytes] = []
    one = pushing(registry, tmp_path, lambda body: bodies.append(body) or TAKEN, interval=3600)
    stop = pusher.start(one, 3600)
    count.inc()
    stop()
    assert outcome(one)["delivered", ""] == len(bodies) >= 2


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://a/b", "http://", "http://a:port/x"])
def test_a_target_that_is_no_url_is_refused_with_its_option(url: str) -> None:
    with pytest.raises(MidwatchError, match="--remote-write"):
        Target.of(url)
