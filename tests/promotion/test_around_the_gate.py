"""Promotions that went around the gate are found, whoever made them and whenever somebody looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from midwatch import evidence, metrics
from midwatch.spec import promotion as spec
from monitors.promotion.promoter import Promoter
from monitors.promotion.registry import Registry
from monitors.promotion.watch import Watch
from monitors.promotion.webhook import Delivery
from tests.promotion.conftest import Ahead, SmallMlflow, asked, judged, loaded, written
from tests.promotion.test_promote import kinds


def watch_of(file: Path, audit: Path, clock: Ahead) -> tuple[Watch, Promoter]:
    platform = loaded(file)
    registry = Registry.of(platform)
    promoter = Promoter(platform, audit, registry, clock)
    return Watch(spec.watched(platform), registry, promoter, evidence.Log(audit), clock), promoter


@pytest.fixture
def watch(platform_file: Path, audit: Path, clock: Ahead) -> Watch:
    return watch_of(platform_file, audit, clock)[0]


def published(watch: Watch, metric: metrics.Metric) -> dict[str, float]:
    return {
        labels.get("version") or labels.get("event") or labels["model"]: value
        for one, labels, value in watch.samples()
        if one is metric
    }


def alias_set(version: str | None, *, name: str = "fraud", alias: str = "champion", sent: str = "1") -> Delivery:
    action = "created" if version else "deleted"
    data = {"name": name, "alias": alias, **({"version": version} if version else {})}
    return Delivery(id=sent, entity="model_version_alias", action=action, data=data)


def test_the_first_look_takes_the_champion_as_it_is(watch: Watch, audit: Path) -> None:
    assert published(watch, metrics.PROMOTION_LAST_LOOK) == {}
    assert watch.look() == []
    assert watch.look() == []
    assert kinds(audit) == ["promotion-first-seen"]
    assert published(watch, metrics.PROMOTION_UNRECORDED) == {"1": 0.0}


def test_a_promotion_by_hand_is_found_and_told_once(watch: Watch, mlflow: SmallMlflow, audit: Path) -> None:
    watch.look()
    mlflow.aliases["champion"] = "2"
    watch.look()
    watch.look()
    assert kinds(audit) == ["promotion-first-seen", "promotion-around-gate"]
    (record,) = (one for one in evidence.read(audit) if one.kind == "promotion-around-gate")
    assert (record.data["version"], record.data["previous"], record.data["seen_by"]) == ("2", "1", "alias")
    assert published(watch, metrics.PROMOTION_UNRECORDED) == {"2": 1.0}
    assert published(watch, metrics.PROMOTION_EVENTS)["around_gate"] == 1


def test_an_alias_that_is_taken_away_is_found(watch: Watch, mlflow: SmallMlflow) -> None:
    watch.look()
    del mlflow.aliases["champion"]
    watch.look()
    assert published(watch, metrics.PROMOTION_UNRECORDED) == {"none": 1.0}


def test_it_is_mended_by_going_back_or_by_a_promotion_on_record(
    platform_file: Path, audit: Path, clock: Ahead, mlflow: SmallMlflow
) -> None:
    watch, promoter = watch_of(platform_file, audit, clock)
    watch.look()
    mlflow.aliases["champion"] = "2"
    watch.look()
    mlflow.aliases["champion"] = "1"
    watch.look()
    assert kinds(audit)[-1] == "promotion-mended"
    assert published(watch, metrics.PROMOTION_UNRECORDED) == {"1": 0.0}
    mlflow.aliases["champion"] = "2"
    watch.look()
    judged(audit)
    assert promoter.promote(asked()).is_champion
    watch.look()
    assert published(watch, metrics.PROMOTION_UNRECORDED) == {"2": 0.0}


def test_a_promotion_by_another_process_is_known_from_the_log(
    watch: Watch, promoter: Promoter, mlflow: SmallMlflow, audit: Path
) -> None:
    watch.look()
    judged(audit)
    mlflow.after_alias = watch.look  # between the alias and the record that it is done
    assert promoter.promote(asked()).is_champion
    watch.look()
    assert "promotion-around-gate" not in kinds(audit)
    assert published(watch, metrics.PROMOTION_UNRECORDED) == {"2": 0.0}


def test_a_process_that_ended_before_it_could_say_so_is_completed(
    watch: Watch, promoter: Promoter, mlflow: SmallMlflow, audit: Path, clock: Ahead
) -> None:
    watch.look()
    judged(audit)

    class Killed(BaseException):
        pass

    def kill(*_: object) -> tuple[str, str]:
        mlflow.aliases["champion"] = "2"
        raise Killed

    promoter._told = kill  # type: ignore[method-assign,assignment]
    with pytest.raises(Killed):
        promoter.promote(asked())
    watch.look()
    assert kinds(audit)[-1] == "promotion-began"
    clock.now += 61
    watch.look()
    assert kinds(audit)[-1] == "promotion-done"


def test_an_intention_that_came_to_nothing_does_not_explain_a_promotion_next_week(
    watch: Watch, promoter: Promoter, mlflow: SmallMlflow, audit: Path, clock: Ahead
) -> None:
    watch.look()
    judged(audit)

    class Killed(BaseException):
        pass

    def kill(*_: object) -> tuple[str, str]:
        raise Killed

    promoter._told = kill  # type: ignore[method-assign,assignment]
    with pytest.raises(Killed):
        promoter.promote(asked())
    clock.now += 7 * 86400
    mlflow.aliases["champion"] = "2"
    watch.look()
    assert kinds(audit)[-1] == "promotion-around-gate"


def test_the_history_survives_a_restart_of_the_gate(
    platform_file: Path, audit: Path, clock: Ahead, mlflow: SmallMlflow
) -> None:
    watch_of(platform_file, audit, clock)[0].look()
    mlflow.aliases["champion"] = "2"
    again = watch_of(platform_file, audit, clock)[0]
    again.look()
    watch_of(platform_file, audit, clock)[0].look()
    assert kinds(audit) == ["promotion-first-seen", "promotion-around-gate"]


def test_a_registry_that_does_not_answer_leaves_the_last_look_old(
    watch: Watch, mlflow: SmallMlflow, clock: Ahead
) -> None:
    watch.look()
    before = clock.now
    clock.now += 100
    mlflow.failing = True
    assert len(watch.look()) == 1
    assert published(watch, metrics.PROMOTION_LAST_LOOK) == {"fraud": before}


def test_a_look_that_fails_as_nobody_thought_of_is_a_problem_and_the_next_one_is_made(
    watch: Watch, clock: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(watch._registry, "champion", lambda _: 1 / 0)
        assert watch.look() == ["fraud: the look failed: ZeroDivisionError"]
    assert watch.look() == []
    assert published(watch, metrics.PROMOTION_LAST_LOOK) == {"fraud": clock.now}


def test_a_webhook_tells_of_what_a_look_would_have_missed(watch: Watch, mlflow: SmallMlflow, audit: Path) -> None:
    watch.look()
    assert watch.take(alias_set("2"))  # and somebody set it back before anybody looked
    watch.look()
    assert kinds(audit) == ["promotion-first-seen", "promotion-around-gate", "promotion-mended"]
    assert published(watch, metrics.PROMOTION_EVENTS)["around_gate"] == 1


def test_a_webhook_that_comes_late_accuses_nobody(
    watch: Watch, promoter: Promoter, mlflow: SmallMlflow, audit: Path
) -> None:
    watch.look()
    judged(audit)
    promoter.promote(asked())
    promoter.promote(asked("1", is_rollback=True))
    watch.look()
    assert watch.take(alias_set("2", sent="late"))
    assert "promotion-around-gate" not in kinds(audit)


def test_events_of_others_are_no_concern(watch: Watch, audit: Path) -> None:
    watch.look()
    assert not watch.take(alias_set("9", name="churn"))
    assert watch.take(Delivery(id="1", entity="model_version", action="created", data={"name": "fraud"}))
    watch.take(alias_set("2", alias="challenger"))
    assert kinds(audit) == ["promotion-first-seen"]


def test_a_version_that_asks_by_its_tag_is_promoted_or_refused_with_the_reason(
    mlflow: SmallMlflow, audit: Path, clock: Ahead, tmp_path: Path
) -> None:
    watch, _ = watch_of(written(tmp_path, mlflow.url, by_tag=True), audit, clock)
    mlflow.versions["2"]["tags"]["midwatch.promotion"] = "requested"
    judged(audit, "inconclusive")
    watch.look()
    assert mlflow.versions["2"]["tags"]["midwatch.promotion"] == "requested"  # undecided: it goes on asking
    judged(audit)
    watch.look()
    assert mlflow.versions["2"]["tags"]["midwatch.promotion"] == "promoted"
    assert mlflow.aliases == {"champion": "2"}
    mlflow.add("3", evaluation="passed", **{"midwatch.promotion": "requested"})
    watch.look()
    tags = mlflow.versions["3"]["tags"]
    assert tags["midwatch.promotion"] == "refused"
    assert "bias_check" in tags["midwatch.promotion_reason"]
    watch.look()
    assert kinds(audit).count("promotion-refused") == 1


def test_without_by_tag_nobody_is_promoted_by_a_tag(watch: Watch, mlflow: SmallMlflow, audit: Path) -> None:
    mlflow.versions["2"]["tags"]["midwatch.promotion"] = "requested"
    judged(audit)
    watch.look()
    assert mlflow.told == []
