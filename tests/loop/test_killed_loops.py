"""Loops that are killed, and loops beside each other: one retraining for an episode, and a log that is whole."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from midwatch import evidence
from midwatch.prometheus import Client
from monitors.drift.episodes import Trigger
from monitors.loop import asking, service
from monitors.loop.episode_log import LOG, load
from monitors.loop.leadership import LOCK, Leadership
from tests.conftest import midwatch_here
from tests.loop.parts import Judges, document, pipeline_run, platform


@pytest.fixture
def loop(tmp_path: Path, receiver: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Callable[[], service.Loop]:
    """Loops of one state folder, for a model whose drift has held for long enough."""
    wanted = service.Options(platform=platform(tmp_path, url=receiver.url), base=tmp_path, state=tmp_path / "state")
    monkeypatch.setattr(Client, "of", lambda *_, **__: Judges(holding={"v3": 2}))
    return lambda: service.Loop(wanted)


def killed(work: Callable[[], object]) -> int:
    """Do something in a child that ends by `kill -9`; the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def dies_at(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Have the next attempt die before it is on record, before or after it is sent, or with its answer unwritten."""
    sent = asking.Asker._settle

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "before its record":
        monkeypatch.setattr(asking.Asker, "ask", die)
    elif moment == "before it is sent":
        monkeypatch.setattr(asking.Asker, "_document", die)
    elif moment == "before its answer is on record":
        monkeypatch.setattr(asking.Asker, "_settle", die)
    else:

        def settled_and_dead(*given: Any) -> None:
            sent(*given)
            die()

        monkeypatch.setattr(asking.Asker, "_settle", settled_and_dead)


@pytest.mark.parametrize(
    ("moment", "sent", "trigger"),
    [
        ("before its record", 1, Trigger.SENT),
        ("before it is sent", 0, Trigger.UNKNOWN),
        ("before its answer is on record", 1, Trigger.UNKNOWN),
        ("after its answer is on record", 1, Trigger.SENT),
    ],
)
def test_a_loop_that_is_killed_asks_for_no_second_retraining(
    tmp_path: Path,
    loop: Callable[[], service.Loop],
    receiver: SimpleNamespace,
    moment: str,
    sent: int,
    trigger: Trigger,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        dies_at(patch, moment)
        assert killed(lambda: loop().look()) == signal.SIGKILL
    for _ in range(2):  # a process that goes on, and another one
        going_on = loop()
        going_on.look()
        going_on.look()
        going_on._leadership.release()
    (episode,) = load(tmp_path / "state" / LOG).values()
    assert (len(receiver.requests), episode.trigger) == (sent, trigger)
    assert evidence.verify(tmp_path / "state" / LOG).problems == ()


def test_a_loop_whose_log_lacks_a_record_asks_for_nothing_and_says_why(
    tmp_path: Path, loop: Callable[[], service.Loop], receiver: SimpleNamespace
) -> None:
    first = loop()
    first.look()
    first._leadership.release()
    log = tmp_path / "state" / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + b"".join(line for line in lines[1:] if b'"loop-as' not in line))
    second = loop()
    second.look()
    assert len(receiver.requests) == 1
    assert (
        "audit.jsonl:2: record 3 does not follow the one before it" in second.problem and "moved away" in second.problem
    )
    assert second.episodes()["leader"] is False


def test_a_folder_with_episodes_of_another_platform_is_refused(
    tmp_path: Path, loop: Callable[[], service.Loop], receiver: SimpleNamespace
) -> None:
    first = loop()
    first.look()
    first._leadership.release()
    here = platform(tmp_path, document() | {"platform": "another"}, receiver.url)
    second = service.Loop(service.Options(platform=here, base=tmp_path, state=tmp_path / "state"))
    second.look()
    said = "its episodes are of the platform test, not another; give the folder of this one with --state"
    assert said in second.problem and second.episodes()["leader"] is False
    shown = midwatch_here("loop", "episodes", "-f", tmp_path / "platform.yaml", "--state", tmp_path / "state")
    assert (shown.returncode, said in shown.stderr) == (2, True)


def test_a_line_that_a_crash_tore_off_holds_up_no_loop(
    tmp_path: Path, loop: Callable[[], service.Loop], receiver: SimpleNamespace
) -> None:
    first = loop()
    first.look()
    first._leadership.release()
    log = tmp_path / "state" / LOG
    log.write_bytes(log.read_bytes() + b'{"at":"2026-')
    second = loop()
    second.look()
    assert (second.problem, second.episodes()["leader"], len(receiver.requests)) == ("", True, 1)


def test_a_run_of_an_attempt_that_was_cut_off_is_created_again_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def create(api_version: str, kind: str, namespace: str, manifest: dict[str, Any]) -> bool:
        names.append(manifest["metadata"]["name"])
        return True

    monkeypatch.setattr("midwatch.kubernetes.create", create)
    monkeypatch.setattr("midwatch.kubernetes.find", lambda *_, **__: None)
    monkeypatch.setattr(Client, "of", lambda *_, **__: Judges(holding={"v3": 2}))
    wanted = service.Options(
        platform=platform(tmp_path, document(pipeline_run())), base=tmp_path, state=tmp_path / "state"
    )
    with pytest.MonkeyPatch.context() as patch:
        dies_at(patch, "before its answer is on record")
        assert killed(lambda: service.Loop(wanted).look()) == signal.SIGKILL
    service.Loop(wanted).look()
    (episode,) = load(tmp_path / "state" / LOG).values()
    assert names == [f"retrain-fraud-{episode.id}"]  # and the one of the child had the same
    assert (episode.trigger, episode.attempts) == (Trigger.SENT, 2)


def test_of_two_loops_one_acts_and_the_other_takes_over_when_that_is_killed(
    tmp_path: Path, loop: Callable[[], service.Loop], receiver: SimpleNamespace
) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            first = loop()
            first.look()
            os.write(writing, b".")
            signal.pause()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    try:
        os.read(reading, 1)
        second = loop()
        second.look()
        assert (second.episodes()["leader"], len(receiver.requests)) == (False, 1)
        assert b"midwatch_loop_leader 0.0" in second.metrics() and b"ml_loop" not in second.metrics()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    second.look()
    assert (second.episodes()["leader"], len(receiver.requests)) == (True, 1)
    assert b'ml_loop_step_state{model="fraud",state="done",step="asked"} 1.0' in second.metrics()
    head = evidence.head(tmp_path / "state" / LOG)
    assert head is not None
    said = f'midwatch_evidence_records{{head="{head.hash}",log="test/loop"}} {head.seq + 1}.0'
    assert said in second.metrics().decode()  # so that its end cannot be cut off in silence
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_a_lock_whose_file_was_removed_is_none(tmp_path: Path) -> None:
    first, second = Leadership(tmp_path), Leadership(tmp_path)
    assert first.is_held() and not second.is_held()
    (tmp_path / LOCK).unlink()
    assert second.is_held()
    assert not first.is_held()
    second.release()
