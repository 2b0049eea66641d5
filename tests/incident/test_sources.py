"""Sources of changes beside the table of series: evidence logs, versions in traffic, and who does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from midwatch import evidence
from midwatch.app.incident import collect
from midwatch.app.incident.asked import Asked, Question
from midwatch.app.incident.sources import evidence_logs, gitlog, versions
from midwatch.prometheus import Line, UnreachableError
from monitors.incident.records import Change, Kind, Unanswered
from tests.conftest import platform

STEP = 60.0

V2 = {"model": "fraud", "version": "v2"}


def asked(client: object = None, *, end: float | None = None, **more: object) -> Asked:
    last = time.time() + 60 if end is None else end
    start = last - 3600
    chaos = {"experiments": [{"kind": "slow_model", "target": "s2", "delay": "1s"}]}
    server = {"name": "s2", "command": ["x"], "model": "fraud", "version": "v2"}
    return Asked(
        platform=platform(chaos=chaos, local={"servers": [server]}),
        client=client,  # type: ignore[arg-type]
        start=start,
        end=last,
        step=STEP,
        first=start,
        **more,  # type: ignore[arg-type]
    )


def told(log: Path) -> list[Change | Unanswered]:
    return [one for question in evidence_logs.questions(asked(evidence=(log.parent,))) for one in question.ask()]


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        (
            "verdict",
            {"asked": {"model": "fraud", "baseline": "v1", "canary": "v2"}, "verdict": "pass"},
            (Kind.CANARY, V2),
        ),
        (
            "run-requested",
            {"run": "1", "experiment": "slow-model"},
            (Kind.EXPERIMENT, V2),
        ),
        (
            "drill-started",
            {"drill": "lose-primary", "run": "1", "store": "features"},
            (Kind.DRILL, {"store": "features"}),
        ),
        ("sent", {"episode": "e", "model": "fraud", "version": "v1"}, (Kind.RETRAINING, {"model": "fraud"})),
    ],
    ids=["canary", "experiment", "drill", "retraining"],
)
def test_a_record_of_evidence_is_a_change_with_its_kind_and_scope(
    tmp_path: Path, kind: str, data: dict, expected: tuple[Kind, dict]
) -> None:
    evidence.Log(tmp_path / "evidence.jsonl").append(kind, **data)
    (found,) = told(tmp_path / "evidence.jsonl")
    assert isinstance(found, Change)
    assert (found.kind, found.scope) == expected


def test_an_experiment_has_the_end_that_its_log_tells(tmp_path: Path) -> None:
    log = evidence.Log(tmp_path / "evidence.jsonl")
    log.append("run-requested", run="7", experiment="slow-model")
    log.append("run-ended", run="7", verdict="held")
    (found,) = told(log.path)
    assert isinstance(found, Change)
    assert found.ended is not None
    assert found.ended >= found.at


def test_a_canary_that_is_asked_about_at_each_step_is_one_change(tmp_path: Path) -> None:
    log = evidence.Log(tmp_path / "evidence.jsonl")
    for _ in range(3):
        log.append("verdict", asked={"model": "fraud", "baseline": "v1", "canary": "v2"}, verdict="inconclusive")
    assert len(told(log.path)) == 1


def test_a_promotion_lies_between_two_looks_and_the_loop_s_steps_have_their_owner_s_time(tmp_path: Path) -> None:
    now = time.time()
    log = evidence.Log(tmp_path / "registry.ndjson")
    role = {"model": "fraud", "role": "alias champion", "before": ["1"], "after": ["2"]}
    log.append("registry-role-changed", **role, last_seen=now - 120, seen=now - 60)
    log.append(
        "loop-episode-began", episode="e", model="fraud", version="v1", onset=now - 300, detected=now - 240, seen=now
    )
    step = {"episode": "e", "step": "rolled_back", "result": "done", "source": "argo", "id": "r", "seen": now - 10}
    log.append("loop-step", **step, at=now - 20, not_before=None)
    log.append("loop-step", **(step | {"step": "evaluation"}), at=now - 30, not_before=None)
    promotion, drift, back = (one for one in told(log.path) if isinstance(one, Change))
    assert (promotion.kind, promotion.at, promotion.latest) == (Kind.PROMOTION, now - 120, now - 60)
    assert (drift.kind, drift.at, drift.latest) == (Kind.DRIFT, now - 300, now - 240)
    assert (back.kind, back.at, back.scope) == (Kind.ROLLBACK, pytest.approx(now - 20), {"model": "fraud"})


def test_a_record_that_lacks_what_its_kind_has_is_named_and_the_others_are_told(tmp_path: Path) -> None:
    log = evidence.Log(tmp_path / "evidence.jsonl")
    log.append("verdict", asked="nothing")
    log.append("sent", model="fraud")
    broken, found = told(log.path)
    assert isinstance(broken, Unanswered)
    assert broken.reason == "record 0 is not what verdict has"
    assert isinstance(found, Change)


# Versions in traffic -------------------------------------------------------------------------------------------------


def served(*shares: tuple[float, ...]) -> list[Change]:
    """Changes of v1, v2, … whose requests are given for each look."""
    end = 3_600_000.0
    first = end - STEP * (len(shares[0]) - 1)
    lines = [
        Line(
            labels={"model": "fraud", "version": f"v{number}"},
            points=tuple((first + STEP * at, value) for at, value in enumerate(values)),
        )
        for number, values in enumerate(shares, 1)
    ]
    given = asked(SimpleNamespace(query_range=lambda *_, **__: lines), end=end)
    inside = Asked(platform=given.platform, client=given.client, start=first, end=end, step=STEP, first=first)
    (question,) = versions.questions(inside)
    return [one for one in question.ask() if isinstance(one, Change)]


def test_a_version_that_takes_all_traffic_is_a_deployment() -> None:
    (change,) = served((100, 100, 0, 0), (0, 0, 100, 100))
    assert (change.kind, change.scope) == (Kind.DEPLOYMENT, {"model": "fraud", "version": "v2"})
    assert change.latest - change.at == STEP


def test_a_version_that_gets_a_part_in_steps_is_a_canary_with_its_largest_share_and_its_end() -> None:
    (change,) = served((100, 95, 75, 75, 100), (0, 5, 25, 25, 0))
    assert change.kind is Kind.CANARY
    assert "up to 25% of its requests" in change.what
    assert change.ended is not None


def test_a_version_that_comes_back_is_a_rollback() -> None:
    kinds = {change.what.split(" of ")[0]: change.kind for change in served((100, 0, 0, 100), (0, 100, 100, 0))}
    assert kinds == {"version v1": Kind.ROLLBACK, "version v2": Kind.DEPLOYMENT}


def test_the_only_version_since_the_first_request_is_no_change() -> None:
    assert served((0, 0, 100, 100)) == []


# Who does not answer -------------------------------------------------------------------------------------------------


def collected(monkeypatch: pytest.MonkeyPatch, *asks: Callable[[], object], within: float = 30.0) -> collect.Collected:
    questions = [Question(source=f"source {number}", ask=ask) for number, ask in enumerate(asks)]  # type: ignore[arg-type]
    monkeypatch.setattr(collect, "questions", lambda _: iter(questions))
    return collect.collect(asked(end=7200.0), time.monotonic() + within)


def change(at: float, kind: Kind, source: str, scope: dict[str, str]) -> Change:
    return Change(kind=kind, at=at, latest=at, what=source, source=source, scope=scope)


def test_a_source_that_fails_or_hangs_is_named_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    release = Event()

    def fails() -> object:
        raise UnreachableError("q", "gone")

    def hangs() -> object:
        release.wait(60)
        return iter(())

    good = change(5000.0, Kind.SCALING, "good", {})
    found = collected(monkeypatch, fails, lambda: iter([good]), hangs, within=1.0)
    release.set()
    assert found.changes == (good,)
    assert [one.source for one in found.unanswered] == ["source 0", "source 2"]
    assert found.unanswered[1].reason == "no answer in the time there was"


def test_what_two_sources_tell_of_one_release_is_one_change(monkeypatch: pytest.MonkeyPatch) -> None:
    scope = {"model": "fraud", "version": "v2"}
    canary, deployed = change(5000.0, Kind.CANARY, "gate", scope), change(5100.0, Kind.DEPLOYMENT, "traffic", scope)
    other = change(5100.0, Kind.DEPLOYMENT, "other", {"model": "b"})
    found = collected(monkeypatch, lambda: iter([deployed]), lambda: iter([canary, other]))
    assert found.changes == (canary, other)


def test_git_has_the_time_that_an_answer_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (question,) = gitlog.questions(asked(repositories=(tmp_path,), within=0.1))
    (found,) = question.ask()
    assert isinstance(found, Unanswered)
    assert found.reason == "git took longer than 0.1 s"


def test_a_folder_without_git_is_unanswered_with_git_s_own_reason(tmp_path: Path) -> None:
    (question,) = gitlog.questions(asked(repositories=(tmp_path,), within=60.0))
    (found,) = question.ask()
    assert isinstance(found, Unanswered)
    assert "not a git repository" in found.reason
