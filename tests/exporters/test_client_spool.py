"""Events on disk: what a process leaves the next one sends, bounded in bytes, however many processes share a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from midwatch.client import EventLog, Label, event_log, spool
from midwatch.client.encoding import encode
from midwatch.errors import MidwatchError
from tests.exporters.fake_exporter import Exporter, wait_until
from tests.exporters.test_service import Running
from tests.exporters.test_service import exporter as real_exporter

NOBODY = "http://127.0.0.1:9"
LIMIT = 64 << 20


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "RETRY_SECONDS", (0.01, 0.05))


def label(number: int, text: str = "x") -> Label:
    return Label(id=f"l{number}", model="m", label=text, ts=1e9)


def line(number: int, text: str = "x") -> bytes:
    return encode(label(number, text))


def opened(folder: Path, limit: int = LIMIT) -> spool.Spool:
    """A spool that has adopted what was left."""
    made = spool.Spool(folder, limit)
    made.adopt(made.orphans())
    return made


def rest(queue: spool.Spool) -> list[bytes]:
    """Everything that waits, decided on."""
    taken: list[bytes] = []
    while lines := queue.take():
        taken += lines
        queue.done(lines)
    return taken


def die(queue: spool.Spool) -> None:
    """What the kernel does when a process is killed: its files are closed, and that is all."""
    queue.leave()


def test_events_come_out_in_the_order_they_went_in_over_many_segments(tmp_path: Path) -> None:
    queue = spool.Spool(tmp_path, LIMIT)
    lines = [line(number, "x" * 500) for number in range(20_000)]
    assert all(queue.put(one) for one in lines)
    assert len(list(tmp_path.iterdir())) >= 3
    assert queue.waiting == 20_000
    assert queue.waiting_bytes == sum(map(len, lines))
    assert rest(queue) == lines
    assert (queue.waiting, queue.waiting_bytes) == (0, 0)
    assert queue.abandon() == 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_adopted_once_without_what_was_decided(tmp_path: Path) -> None:
    dead = spool.Spool(tmp_path, LIMIT)
    for number in range(10_000):
        dead.put(line(number))
    decided = dead.take()
    dead.done(decided)
    dead.take()  # sent, and no answer came
    die(dead)
    first, second = opened(tmp_path), opened(tmp_path)
    assert (first.waiting, second.waiting) == (10_000 - len(decided), 0)
    assert rest(first) == [line(number) for number in range(len(decided), 10_000)]
    assert list(tmp_path.iterdir()) == []


def test_the_segments_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    living = spool.Spool(tmp_path, LIMIT)
    living.put(line(1))
    other = opened(tmp_path)
    assert other.waiting == 0
    other.put(line(2))
    assert rest(other) == [line(2)]
    assert rest(living) == [line(1)]


@pytest.mark.parametrize(
    "tail", [b'{"event":"label","id":"torn', b"\0" * 100, b'{"half"\0\0\0'], ids=["half", "0", "both"]
)
def test_a_record_that_was_being_written_is_left_out_and_the_others_are_kept(tmp_path: Path, tail: bytes) -> None:
    dead = spool.Spool(tmp_path, LIMIT)
    for number in range(3):
        dead.put(line(number))
    (segment,) = dead._segments
    os.pwrite(segment.descriptor, tail, segment.written)
    die(dead)
    assert rest(opened(tmp_path)) == [line(number) for number in range(3)]


def test_a_segment_that_the_disk_has_damaged_does_not_hold_the_others_up(tmp_path: Path) -> None:
    for number in range(2):
        dead = spool.Spool(tmp_path, LIMIT)
        dead.put(line(number, "x" * 2000))
        die(dead)
    first = min(tmp_path.iterdir())
    with first.open("r+b") as file:
        file.write(b"no number at all\0\0\0\n")
        file.truncate(3 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + line(7) + b"\n")
    (tmp_path / "rubbish.events").write_bytes(b"")
    lines = rest(opened(tmp_path))
    assert line(7) in lines
    assert sum(one.startswith(b"{") and b"xxx" in one for one in lines) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_bounded_for_all_processes_together(tmp_path: Path) -> None:
    limit = 10 << 20
    queues = [spool.Spool(tmp_path, limit) for _ in range(3)]
    lines = [line(number, "x" * 1000) for number in range(15_000)]
    kept = sum(queues[number % 3].put(one) for number, one in enumerate(lines))
    assert 5_000 < kept < 11_000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit
    assert sum(queue.waiting for queue in queues) == kept
    for queue in queues:
        rest(queue)
        queue._full_until = 0.0  # half a second later
    assert queues[0].put(lines[0])


def test_room_on_the_disk_is_reserved_so_that_a_full_disk_is_seen_before_an_event_is_taken(
    tmp_path, monkeypatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    exporter = Exporter()
    log = EventLog(exporter.url, spool=tmp_path)
    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", no_room)
        assert log.send(label(1)) is False
    assert log.stats.reasons["dropped", "spool_failed"] == 1
    assert list(tmp_path.iterdir()) == []
    assert log.send(label(2))
    assert log.close().acknowledged == 1
    exporter.close()


def test_a_write_that_fails_halfway_takes_no_event_and_mixes_none(tmp_path: Path, monkeypatch) -> None:
    write = os.pwrite
    queue = spool.Spool(tmp_path, LIMIT)
    queue.put(line(1))
    with monkeypatch.context() as failing:
        failing.setattr(os, "pwrite", lambda file, data, where: write(file, data[: len(data) // 2], where))
        with pytest.raises(OSError, match="only a part"):
            queue.put(line(2, "a longer one than the next"))
    queue.put(line(3))
    die(queue)
    assert rest(opened(tmp_path)) == [line(1), line(3)]


def test_a_spool_that_cannot_be_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MidwatchError, match="no folder for a spool"):
        EventLog(NOBODY, spool=tmp_path / "file")
    with pytest.raises(MidwatchError, match="too small"):
        EventLog(NOBODY, spool=tmp_path / "spool", spool_bytes=1000)


def test_events_are_for_their_owner_to_read_only(tmp_path: Path) -> None:
    queue = spool.Spool(tmp_path / "spool", LIMIT)
    queue.put(line(1))
    (segment,) = (tmp_path / "spool").iterdir()
    assert (tmp_path / "spool").stat().st_mode & 0o77 == segment.stat().st_mode & 0o77 == 0


def test_a_log_that_is_closed_too_early_leaves_its_events_to_the_next(tmp_path: Path) -> None:
    log = EventLog(NOBODY, spool=tmp_path)
    for number in range(3000):
        assert log.send(label(number))
    stats = log.close(timeout=0)
    assert (stats.queued, stats.dropped, stats.waiting) == (3000, 0, 0)
    exporter = Exporter()
    with EventLog(exporter.url, spool=tmp_path) as following:
        following.send(label(3000))
        exporter.wait_for(3001)
    exporter.close()
    assert following.stats.adopted == 3000
    assert sorted(exporter.kept, key=lambda name: int(name[1:])) == [f"l{number}" for number in range(3001)]


WORKER = """
import sys, time
from midwatch.client import EventLog, Prediction
url, folder, name, count = sys.argv[1:]
log = EventLog(url, spool=folder)
for number in range(int(count)):
    assert log.send(Prediction(id=f"{name}-{number}", model="m", version=name, ts=time.time(), prediction="late"))
print("sent", flush=True)
sys.stdin.readline()
log.close(60)
"""


def worker(url: str, folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-c", WORKER, url, str(folder), name, str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_that_are_killed_lose_nothing_and_the_exporter_counts_each_event_once(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    with real_exporter(tmp_path / "state") as running:
        url = f"http://{running.host}:{running.port}"
        workers = [worker(url, folder, f"w{number}", 5000) for number in range(3)]
        for one in workers:
            assert one.stdout is not None
            assert one.stdout.readline() == "sent\n"
            one.send_signal(signal.SIGKILL)
            one.communicate()
        last = worker(url, folder, "last", 1)
        wait_until(lambda: list(folder.glob("*")) != [] and total(running) == 15_001, 120)
        last.communicate("\n")
        assert last.returncode == 0
        assert {name: running.metric(requests(name)) for name in ("w0", "w1", "w2", "last")} == {
            "w0": 5000,
            "w1": 5000,
            "w2": 5000,
            "last": 1,
        }
    assert list(folder.iterdir()) == []


def requests(version: str) -> str:
    return f'ml_requests_total{{model="m",outcome="ok",version="{version}"}}'


def total(running: Running) -> int:
    rows = running.ask("GET", "/metrics")[1].splitlines()
    return sum(int(float(row.split()[1])) for row in rows if row.startswith("ml_requests_total{"))
