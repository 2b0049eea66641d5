"""An episode is one trace: the same ids from every process, and the owners' times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from midwatch.prometheus import Client
from monitors.loop import service, trace
from monitors.loop.episode import Ended, Outcome, Result, Step
from monitors.loop.episode_log import LOG, EpisodeLog
from tests.loop.parts import DETECTED, ID, Judges, asked, began, episode, platform, registered, seen
from tests.otlp_receiver import over_http


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with over_http() as kept:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", kept.endpoint)
        yield kept


def test_spans_lie_between_steps_below_the_one_of_the_whole_episode() -> None:
    ended = Ended(episode=ID, outcome=Outcome.FAILED, cause="trained", at=1500.0, said="")
    failed = seen(Step.TRAINED, 1190.0, Result.FAILED)
    found = {one.name: one for one in trace.spans(episode(*asked(), seen(Step.RUN_STARTED, 1110.0), failed, ended))}
    assert {name: (one.start, one.end, one.is_error) for name, one in found.items()} == {
        "drift": (940.0, DETECTED, False),
        "asked": (DETECTED, 1100.0, False),
        "run_started": (1100.0, 1110.0, False),
        "trained": (1110.0, 1190.0, True),
        "loop fraud": (940.0, 1500.0, True),
    }
    root = found["loop fraud"]
    assert trace.parent(ID) == f"00-{root.trace_id}-{root.span_id}-01"
    assert {one.parent_id for one in found.values()} == {None, root.span_id}
    assert len({one.span_id for one in found.values()}) == len(found)


def test_a_clock_that_is_behind_makes_no_span_that_ends_before_it_begins() -> None:
    found = list(trace.spans(episode(*asked(), registered(1050.0))))
    assert all(one.start <= one.end for one in found)


def test_processes_one_after_the_other_go_on_with_one_trace(
    tmp_path: Path, received: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "of", lambda *_, **__: Judges(holding={"v3": 1}))
    wanted = service.Options(platform=platform(tmp_path), base=tmp_path, state=tmp_path)
    log = EpisodeLog(tmp_path)
    for record in (began(), *asked()):
        log.append(record)
    for _ in range(2):
        loop = service.Loop(wanted, clock=lambda: 1200.0)
        loop.look()
        loop.look()
        loop._leadership.release()
    spans = received.spans()
    assert {span.trace_id.hex() for span in spans} == {trace.trace_id(ID)}
    assert sorted(span.name for span in spans) == ["asked", "asked", "drift", "drift"]
    assert len({span.span_id for span in spans}) == 2  # the second process sent the same again
    assert {span.start_time_unix_nano for span in spans if span.name == "drift"} == {940 * 10**9}
    assert (tmp_path / LOG).exists()
