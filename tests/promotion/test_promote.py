"""A version becomes champion with a verdict, an evaluation and a bias check; what lacks is named; all is on record."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from midwatch import evidence, registry
from midwatch.errors import InvalidInputError, MidwatchError
from midwatch.registry import Version
from monitors.promotion.promoter import Promoter
from monitors.promotion.registry import Registry
from monitors.promotion.requirements import Answer
from tests.conftest import midwatch_here
from tests.promotion.conftest import NOW, SmallMlflow, asked, judged, loaded, written


def kinds(audit: Path) -> list[str]:
    verified = evidence.verify(audit)
    assert verified.problems == ()
    return [record.kind for record in evidence.read(audit) if record.kind.startswith("promotion")]


def test_a_version_that_has_everything_becomes_champion_and_says_who_and_why(
    promoter: Promoter, mlflow: SmallMlflow, audit: Path
) -> None:
    judged(audit)
    outcome = promoter.promote(asked())
    assert (outcome.is_champion, outcome.previous, outcome.decision.answer) == (True, "1", Answer.ALLOWED)
    assert mlflow.aliases == {"champion": "2"}
    tags = mlflow.versions["2"]["tags"]
    (began,) = (record for record in evidence.read(audit) if record.kind == "promotion-began")
    assert tags["midwatch.promoted_by"] == "ana"
    assert tags["midwatch.evidence"] == f"{began.seq}:{began.hash}"
    assert tags["midwatch.previous"] == "1"
    assert kinds(audit) == ["promotion-began", "promotion-done"]
    assert [path for path, _ in mlflow.told][-1] == "/registered-models/alias"


@pytest.mark.parametrize(
    ("lacking", "tags", "has_verdict"),
    [
        ("verdict", {"evaluation": "passed", "bias_check": "passed"}, False),
        ("evaluation", {"bias_check": "passed"}, True),
        ("bias_check", {"evaluation": "passed"}, True),
    ],
)
def test_what_lacks_is_named_and_nothing_is_told(
    lacking: str,
    tags: dict[str, str],
    has_verdict: bool,
    promoter: Promoter,
    mlflow: SmallMlflow,
    audit: Path,
) -> None:
    mlflow.add("2", **tags)
    if has_verdict:
        judged(audit)
    outcome = promoter.promote(asked())
    assert (outcome.is_champion, outcome.decision.answer) == (False, Answer.REFUSED)
    assert outcome.decision.lacking == (lacking,)
    assert mlflow.told == []
    assert mlflow.aliases == {"champion": "1"}
    (record,) = (record for record in evidence.read(audit) if record.kind == "promotion-refused")
    assert lacking in record.data["reason"]


def test_a_check_that_failed_is_not_outweighed_by_metrics(mlflow: SmallMlflow, audit: Path, tmp_path: Path) -> None:
    platform = loaded(written(tmp_path, mlflow.url, evaluation={"metrics": {"accuracy": {"at_least": 0.8}}}))
    judged(audit)
    cases: list[tuple[dict[str, Any], dict[str, str], Answer]] = [
        ({"accuracy": 0.9}, {}, Answer.ALLOWED),
        ({"accuracy": 0.9}, {"evaluation": "failed"}, Answer.REFUSED),
        ({"accuracy": 0.7}, {"evaluation": "passed"}, Answer.REFUSED),
        ({"accuracy": "NaN"}, {}, Answer.REFUSED),
        ({"f1": 0.9}, {"evaluation": "passed"}, Answer.REFUSED),
        ({"accuracy": 0.9}, {"evaluation": "PASSED"}, Answer.ALLOWED),
    ]
    for metrics, tags, answer in cases:
        mlflow.add("2", metrics=metrics, bias_check="passed", **tags)
        decision = Promoter(platform, audit, Registry.of(platform), lambda: NOW).decide(asked())
        assert decision.answer is answer, (metrics, tags, decision.reason)


@pytest.mark.parametrize(
    ("verdicts", "answer", "said"),
    [
        ([{"verdict": "fail"}], Answer.REFUSED, "the canary failed"),
        ([{"verdict": "pass"}, {"verdict": "fail"}], Answer.REFUSED, "the canary failed"),
        ([{"verdict": "fail"}, {"verdict": "pass"}], Answer.ALLOWED, ""),
        ([{"verdict": "inconclusive"}], Answer.UNDECIDED, "has not decided"),
        ([{"verdict": "pass"}, {"verdict": "inconclusive"}], Answer.ALLOWED, ""),  # a pass holds at every look
        ([{"baseline": "v0"}], Answer.REFUSED, "judged against v0, and v1 is champion"),
        ([{"canary": "v3"}], Answer.REFUSED, "never judged v2"),
        ([{"requests": 0}], Answer.REFUSED, "a pass on 0 requests"),
        ([{"at": NOW - 8 * 86400}], Answer.REFUSED, "8d old"),
    ],
)
def test_only_a_recent_pass_against_the_champion_on_real_traffic_counts(
    verdicts: list[dict[str, Any]], answer: Answer, said: str, promoter: Promoter, audit: Path
) -> None:
    for verdict in verdicts:
        judged(audit, **verdict)
    decision = promoter.decide(asked())
    assert decision.answer is answer
    assert said in decision.reason


def test_a_verdict_that_was_withdrawn_was_not_given(promoter: Promoter, audit: Path) -> None:
    record = judged(audit)
    evidence.Log(audit).append("withdrawn", of=record.seq, verdict="inconclusive")
    assert promoter.decide(asked()).answer is Answer.REFUSED


def test_a_pass_that_somebody_wrote_into_the_log_decides_nothing(
    platform_file: Path, audit: Path, mlflow: SmallMlflow
) -> None:
    judged(audit, "fail")
    audit.write_text(audit.read_text().replace('"verdict":"fail"', '"verdict":"pass"'))
    platform = loaded(platform_file)
    decision = Promoter(platform, audit, Registry.of(platform), lambda: NOW).decide(asked())
    assert decision.answer is Answer.UNDECIDED
    assert "not what was written" in decision.reason


def test_a_registry_that_does_not_answer_allows_nothing(promoter: Promoter, mlflow: SmallMlflow, audit: Path) -> None:
    judged(audit)
    mlflow.failing = True
    outcome = promoter.promote(asked(override="now"))
    assert (outcome.is_champion, outcome.decision.answer) == (False, Answer.UNDECIDED)


def test_a_version_that_is_not_there_or_not_ready_is_not_promoted(
    promoter: Promoter, mlflow: SmallMlflow, audit: Path
) -> None:
    judged(audit)
    judged(audit, canary="v7")
    assert promoter.promote(asked("7", override="now")).decision.lacking[0] == "version"
    mlflow.add("2", status="PENDING_REGISTRATION", evaluation="passed", bias_check="passed")
    assert promoter.decide(asked()).answer is Answer.UNDECIDED
    assert mlflow.told == []


def test_of_two_who_promote_at_once_the_one_that_lost_is_told(
    promoter: Promoter, mlflow: SmallMlflow, audit: Path
) -> None:
    judged(audit)
    mlflow.add("3")
    mlflow.after_alias = lambda: mlflow.aliases.update(champion="3")
    outcome = promoter.promote(asked())
    assert not outcome.is_champion
    assert "version 3 is champion" in outcome.problem
    assert kinds(audit) == ["promotion-began", "promotion-failed"]


def test_a_registry_that_refuses_the_alias_leaves_a_record(
    promoter: Promoter, mlflow: SmallMlflow, audit: Path
) -> None:
    judged(audit)
    mlflow.refusing_alias = True
    outcome = promoter.promote(asked())
    assert not outcome.is_champion
    assert "403" in outcome.problem
    assert kinds(audit) == ["promotion-began", "promotion-failed"]


def test_an_override_needs_a_reason_which_is_on_record(promoter: Promoter, mlflow: SmallMlflow, audit: Path) -> None:
    assert not promoter.promote(asked(override="  ")).is_champion
    outcome = promoter.promote(asked(override="v1 leaks memory"))
    assert outcome.is_champion
    (began,) = (record for record in evidence.read(audit) if record.kind == "promotion-began")
    assert began.data["override"] == "v1 leaks memory"
    assert began.data["answer"] == "refused"


def test_a_rollback_needs_a_record_that_the_version_was_champion(
    promoter: Promoter, mlflow: SmallMlflow, audit: Path
) -> None:
    mlflow.add("3")
    judged(audit)
    promoter.promote(asked())
    assert "no record tells" in promoter.promote(asked("3", is_rollback=True)).problem
    assert promoter.promote(asked("1", is_rollback=True)).is_champion
    assert mlflow.aliases == {"champion": "1"}


def test_a_champion_is_judged_against_the_one_before_it(promoter: Promoter, mlflow: SmallMlflow, audit: Path) -> None:
    judged(audit)
    promoter.promote(asked())
    assert promoter.decide(asked()).answer is Answer.ALLOWED
    judged(audit, "fail")
    judged(audit, baseline="v0")
    assert promoter.decide(asked()).lacking == ("verdict",)


def test_the_log_is_written_before_the_registry_is_told(
    promoter: Promoter, mlflow: SmallMlflow, audit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(audit)

    def full(*_: object) -> None:
        raise evidence.EvidenceError("disk full")

    monkeypatch.setattr(evidence.Log, "append_event", full)
    with pytest.raises(MidwatchError, match="disk full"):
        promoter.promote(asked())
    assert mlflow.told == []


def test_a_model_that_nobody_knows_is_an_error(promoter: Promoter) -> None:
    with pytest.raises(InvalidInputError, match="no model 'frad'"):
        promoter.decide(asked(model="frad"))


# The commands ------------------------------------------------------------------------------------------------------


def test_the_commands_say_what_lacks_by_exit_code_and_json(
    platform_file: Path, audit: Path, mlflow: SmallMlflow
) -> None:
    words = ("canary", "promote", "fraud", "2", "-f", platform_file, "--audit", audit)
    done = midwatch_here(*words)
    assert done.returncode == 1
    assert "the gate has never judged v2" in done.stdout
    gate = ("canary", "gate", "--model", "fraud", "--version", "2", "-f", platform_file, "--audit", audit, "--json")
    once = midwatch_here(*gate)
    assert (once.returncode, json.loads(once.stdout)["lacking"]) == (1, ["verdict"])
    judged(audit, at=time.time() - 5)
    assert midwatch_here(*gate).returncode == 0
    assert midwatch_here(*words, "--dry-run", "--json").returncode == 0
    assert mlflow.aliases == {"champion": "1"}
    done = midwatch_here(*words, "--by", "ana", "--json")
    assert (done.returncode, json.loads(done.stdout)["promoted"]) == (0, True)
    mlflow.failing = True
    assert midwatch_here(*words, "--dry-run").returncode == 3
    assert midwatch_here("canary", "gate", "--model", "fraud", "-f", platform_file).returncode == 2


class LoggedModel:
    """An API that has one logged model, whose metrics stand in any order."""

    def document(self, path: str, **asked: str) -> Any:
        del path, asked
        metrics = [
            {"key": "accuracy", "value": 0.6, "timestamp": "2000", "step": "1"},
            {"key": "accuracy", "value": 0.9, "timestamp": 1000, "step": 0},
        ]
        return {"model": {"data": {"metrics": metrics}}}


def test_of_a_metric_that_was_logged_again_the_newest_counts() -> None:
    version = Version(number="2", stage="None", created=0.0, run_id="", source="models:/m-0a", tags={})
    assert registry.logged_metrics(LoggedModel(), version)[-1]["value"] == 0.6  # type: ignore[arg-type]
