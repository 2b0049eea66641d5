"""A model is followed: one episode for a drift, one retraining for an episode, and every step from who owns it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from midwatch import evidence
from midwatch.errors import MidwatchError
from midwatch.spec.model import Platform
from monitors.drift.episodes import Trigger
from monitors.drift.trigger import Outcome as Sent
from monitors.loop.asking import Asker
from monitors.loop.episode import Asked, Episode, Outcome, Record, Result, Step
from monitors.loop.episode_log import LOG, EpisodeLog, load
from monitors.loop.follower import Follower
from monitors.loop.owners import Owners
from tests.loop.parts import ID, Judges, Says, document, pipeline_run, place, platform, sight, steps_of


class Followed:
    """A model that is followed, with owners that say what they are told to, and a trigger that is kept."""

    def __init__(self, folder: Path, platform: Platform, owners: dict[str, Says] | None = None) -> None:
        self.folder, self.platform = folder, platform
        self.judges = Judges(holding={"v3": 1})
        self.owners = owners or {"tekton": Says("tekton", Step.RUN_STARTED), "mlflow": Says("mlflow", Step.REGISTERED)}
        self.sent: list[dict[str, Any]] = []
        self.answers = [Sent(Trigger.SENT, "202", "7")]
        self.now = 1001.0
        self.start()

    def start(self) -> None:
        """Begin as a process does that finds what one before it has left."""
        self.log = EpisodeLog(self.folder)
        where = place(self.platform, self.judges)
        retrain = where.model.drift.retrain if where.model.drift else None
        assert retrain
        asker = Asker(self.platform, where.model, retrain, self.folder, self.log, self._send)
        asker.recover(self.now)
        self.follower = Follower(where, Owners(owners=tuple(self.owners.values()), unobserved={}), self.log, asker)

    def _send(self, retrain: Any, base: Path, document: dict[str, Any], trace_parent: str) -> Sent:
        self.sent.append(document | {"trace": trace_parent})
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def look(self, seconds: float = 1.0) -> Episode | None:
        self.now += seconds
        self.follower.look(self.now)
        return next(reversed(self.log.of("fraud")), None)


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path, platform(tmp_path))


def test_a_retraining_is_asked_for_once_when_drift_has_held_for_long_enough(followed: Followed) -> None:
    assert followed.look() is not None and followed.sent == []
    assert followed.follower.view.why_not_asked == "1 of the 2 drifted windows that make a retraining due"
    followed.judges.holding["v3"] = 2
    for _ in range(5):
        followed.look()
    (sent,) = followed.sent
    assert (sent["episode"], sent["model"], sent["version"], sent["features"]) == (ID, "fraud", "v3", "amount")
    assert sent["trace"].startswith("00-")


def test_whatever_judges_there_are_they_make_one_episode(followed: Followed) -> None:
    """Two exporters judge a part of the traffic each, and see the drift at two times."""
    followed.judges.holding = {"v3": 2}
    query = followed.judges.query
    later = Judges(holding={"v3": 1}, detected={"v3": 1030.0})
    followed.judges.query = lambda expr, **more: query(expr) + later.query(expr)  # type: ignore[method-assign]
    followed.look()
    later.holding["v3"] = 3
    followed.look()
    assert [one.id for one in followed.log.of("fraud")] == [ID]
    assert len(followed.sent) == 1


def test_what_owners_say_is_recorded_once_and_again_when_it_is_another(followed: Followed) -> None:
    followed.judges.holding["v3"] = 2
    tekton = followed.owners["tekton"]
    tekton.tell(sight(Step.RUN_STARTED, 1010.0), sight(Step.TRAINED, 1020.0, facts={"run": "running"}))
    followed.look()
    followed.look()
    tekton.sights[1] = sight(Step.TRAINED, 1020.0, facts={"run": "succeeded"})
    found = followed.look()
    assert found is not None
    assert steps_of(found.steps) == [
        ("asked", "done", "webhook"),
        ("run_started", "done", "tekton"),
        ("trained", "done", "tekton"),
        ("trained", "done", "tekton"),
    ]
    records = evidence.read(followed.folder / LOG)
    assert [one.kind for one in records][:4] == ["loop-episode-began", "loop-asking", "loop-asked", "loop-step"]
    assert evidence.verify(followed.folder / LOG).problems == ()


def test_what_has_no_time_at_its_owner_happened_between_two_looks(followed: Followed) -> None:
    followed.look()
    before = followed.now
    followed.owners["mlflow"].tell(sight(Step.PROMOTED))
    found = followed.look(30.0)
    assert found is not None
    promoted = found.last(Step.PROMOTED)
    assert promoted is not None and (promoted.at, promoted.not_before, promoted.seen) == (None, before, before + 30)


def test_an_owner_that_does_not_answer_is_blind_and_holds_up_no_other(followed: Followed) -> None:
    followed.judges.holding["v3"] = 2
    followed.owners["tekton"].error = MidwatchError("no answer")
    followed.owners["mlflow"].tell(sight(Step.REGISTERED, 1010.0, facts={"served_as": "v4"}))
    found = followed.look()
    assert found is not None and found.new_version == "v4"
    assert followed.follower.view.problems == {"tekton": "no answer"}
    followed.owners["tekton"].error = KeyError("a form that nobody knows")
    followed.look()
    assert "KeyError" in followed.follower.view.problems["tekton"]


def test_judges_that_cannot_be_asked_end_nothing(followed: Followed) -> None:
    followed.look()
    followed.judges.is_down = True
    assert (found := followed.look()) is not None and found.outcome is Outcome.OPEN
    followed.judges.is_down, followed.judges.holding = False, {}  # the series are gone with their exporter
    assert (found := followed.look()) is not None and found.outcome is Outcome.OPEN
    followed.judges.holding = {"v3": 0}
    assert (found := followed.look()) is not None and found.outcome is Outcome.ABANDONED


def test_a_step_whose_owner_does_not_answer_is_not_given_up(followed: Followed) -> None:
    followed.judges.holding["v3"] = 2
    followed.owners["tekton"].tell(sight(Step.RUN_STARTED, 1010.0), sight(Step.TRAINED, 1020.0))
    followed.look()
    followed.owners["mlflow"].error = MidwatchError("no answer")
    assert (found := followed.look(30 * 86400.0)) is not None and found.outcome is Outcome.OPEN
    followed.owners["mlflow"].error = None
    assert (found := followed.look()) is not None
    assert (found.outcome, found.cause) == (Outcome.ABANDONED, Step.REGISTERED)


def test_an_episode_is_not_given_up_for_want_of_a_request_while_the_judges_do_not_answer(followed: Followed) -> None:
    followed.look()
    followed.judges.is_down = True
    assert (found := followed.look(30 * 86400.0)) is not None and found.outcome is Outcome.OPEN


def test_drift_that_was_there_when_an_episode_ended_is_not_retrained_again(followed: Followed) -> None:
    followed.judges.holding["v3"] = 2
    followed.owners["tekton"].tell(sight(Step.TRAINED, 1010.0, Result.FAILED))
    assert (found := followed.look()) is not None and found.outcome is Outcome.FAILED
    followed.owners["tekton"].sights.clear()
    followed.judges.holding["v4"] = 2  # another version drifts, since before the end
    followed.judges.detected["v4"] = followed.now - 0.5
    for _ in range(3):
        followed.look(7200.0)
    assert (len(followed.log.of("fraud")), len(followed.sent)) == (1, 1)
    followed.judges.detected["v4"] = followed.now
    followed.look()
    assert (len(followed.log.of("fraud")), len(followed.sent)) == (2, 2)


def test_a_model_rests_after_an_episode_that_asked(followed: Followed) -> None:
    followed.judges.holding["v3"] = 2
    followed.owners["tekton"].tell(sight(Step.TRAINED, 1010.0, Result.FAILED))
    followed.look()
    followed.owners["tekton"].sights.clear()
    followed.judges.holding["v3"] = 0
    followed.look()
    followed.judges.holding["v3"], followed.judges.detected["v3"] = 2, followed.now + 1
    followed.look(10.0)
    assert followed.follower.view.why_not_asked == "the model rests for another 59m49s"
    followed.look(3600.0)
    assert len(followed.sent) == 2


def test_an_attempt_that_may_be_repeated_is_and_in_the_end_fails(followed: Followed) -> None:
    followed.judges.holding["v3"] = 2
    followed.answers = [Sent(Trigger.PENDING, "503")]
    followed.look()
    followed.look()
    assert len(followed.sent) == 1  # the next is due in ten seconds
    for _ in range(5):
        found = followed.look(400.0)
    assert found is not None and (found.outcome, found.cause) == (Outcome.FAILED, "asked")
    assert len(followed.sent) == 6


@pytest.mark.parametrize("target", [None, pipeline_run()], ids=["webhook", "pipeline run"])
def test_an_attempt_that_was_cut_off_is_repeated_only_where_that_cannot_make_a_second_run(
    tmp_path: Path, target: dict[str, Any] | None
) -> None:
    followed = Followed(tmp_path, platform(tmp_path, document(target)))
    followed.judges.holding["v3"] = 2

    def killed(*_: object) -> Sent:
        raise KeyboardInterrupt

    followed.follower._asker._send = killed
    with pytest.raises(KeyboardInterrupt):
        followed.look()
    followed.start()
    for _ in range(3):
        followed.look()
    (found,) = load(tmp_path / LOG).values()
    assert (found.trigger, len(followed.sent)) == ((Trigger.UNKNOWN, 0) if target is None else (Trigger.SENT, 1))


@pytest.mark.parametrize(("target", "sent"), [(None, 1), (pipeline_run(), 2)], ids=["a webhook", "a PipelineRun"])
def test_an_answer_that_could_not_be_written_down_leaves_no_request_in_the_air(
    tmp_path: Path, target: dict[str, Any] | None, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = Followed(tmp_path, platform(tmp_path, document(target)))
    followed.judges.holding["v3"] = 2
    append = EpisodeLog.append

    def full(log: EpisodeLog, record: Record) -> Episode:
        if isinstance(record, Asked):
            raise evidence.EvidenceError("the disk is full")
        return append(log, record)

    with monkeypatch.context() as patch:
        patch.setattr(EpisodeLog, "append", full)
        with pytest.raises(evidence.EvidenceError):
            followed.look()
    for _ in range(3):
        found = followed.look()
    assert found is not None and len(followed.sent) == sent
    assert found.trigger is (Trigger.UNKNOWN if target is None else Trigger.SENT)


def test_everything_goes_on_where_a_process_before_has_left_it(followed: Followed) -> None:
    followed.judges.holding["v3"] = 2
    followed.owners["tekton"].tell(sight(Step.RUN_STARTED, 1010.0))
    followed.look()
    followed.start()
    followed.owners["mlflow"].tell(sight(Step.REGISTERED, 1020.0, facts={"served_as": "v4"}))
    found = followed.look()
    assert found is not None
    assert [one.step for one in found.steps] == [Step.ASKED, Step.RUN_STARTED, Step.REGISTERED]
    assert len(followed.sent) == 1


@pytest.mark.parametrize("error", [MidwatchError("Prometheus is gone"), ZeroDivisionError()], ids=["known", "unknown"])
def test_labels_that_cannot_be_compared_leave_no_episode_open(followed: Followed, error: Exception) -> None:
    def fails(_: Episode) -> None:
        raise error

    followed.follower._compare = fails
    followed.judges.holding["v3"] = 2
    followed.owners["mlflow"].tell(sight(Step.WELL, 1010.0))
    found = followed.look()
    assert found is not None and (found.outcome, found.cause) == (Outcome.BETTER, "drift_gone")
    assert set(followed.follower.view.problems) == {"labels"}


def test_a_log_of_something_else_is_refused_by_its_record(tmp_path: Path) -> None:
    evidence.Log(tmp_path / LOG).append("loop-step", episode="x", step="asked")
    with pytest.raises(MidwatchError, match="record 0 is of no episode that began"):
        EpisodeLog(tmp_path)
    assert json.loads((tmp_path / LOG).read_text())["kind"] == "loop-step"
