"""`midwatch fairness judge` on counters in a real Prometheus: unfair, fair, missing labels, a restart, silence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from midwatch import keyed_hash
from midwatch.prometheus import Line
from monitors.fairness.fetch import Window, counted
from tests.canary.arms import Past, prometheus_with
from tests.conftest import midwatch_here, platform_document

END = 1_780_000_200.0
BLOCKS, BLOCK = 100, 600.0
START = END - BLOCKS * BLOCK
KEY = b"a key of the hash of groups"
RATES = {"a": 0.5, "b": 0.3}


def _course(rng: np.random.Generator, rate: float, per_block: int, restart: int | None = None) -> Any:
    """Cumulative counts of negatives and positives after each block; counters begin anew at a restart."""
    positives = rng.binomial(per_block, rate, size=BLOCKS)
    rows = np.stack([per_block - positives, positives])
    sums = np.concatenate([np.zeros((2, 1)), np.cumsum(rows, axis=1)], axis=1)
    if restart is not None:
        sums[:, restart:] -= sums[:, [restart - 1]]
    return sums


class Seeded(Past):
    """Counters of several models by group, sampled once a block."""

    def course(self, name: str, course: Any, **labels: str) -> None:
        self.add(name, [(START + place * BLOCK, float(value)) for place, value in enumerate(course)], **labels)

    def predictions(self, model: str, group: str, course: Any, attribute: str = "country") -> None:
        for predicted, row in zip(("fine", "fraud"), course, strict=True):
            where = {"model": model, "version": "v1", "attribute": attribute, "group": group, "predicted": predicted}
            self.course("ml_group_predictions_total", row, **where)

    def approved_only(self, model: str, group: str, course: Any) -> None:
        """Only predictions of fraud are ever labelled, and all are right: the true positives' share looks like 1."""
        where = {"model": model, "version": "v1", "attribute": "country", "group": group}
        for predicted, row in zip(("fine", "fraud"), course, strict=True):
            self.course("ml_settled_group_predictions_total", row, **where, predicted=predicted)
        self.course("ml_settled_group_outcomes_total", course[1], **where, predicted="fraud", actual="fraud")

    def errors(self, model: str, group: str, errors: Any, bound: float = 100, unlabelled: int = 0) -> None:
        """Settled errors of a regression, the greatest that counts, and so many a block without a label."""
        where = {"model": model, "version": "v1", "attribute": "country", "group": group}
        far = (errors > bound).sum(axis=1)
        rows = {"yes": errors.shape[1] - far, "no": far, "": np.minimum(errors, bound).sum(axis=1)}
        sums = {name: np.concatenate([[0.0], np.cumsum(row)]) for name, row in rows.items()}
        for within in ("yes", "no"):
            self.course("ml_settled_group_errors_total", sums[within], **where, bound=f"{bound:g}", within=within)
        self.course("ml_settled_group_absolute_error_total", sums[""], **where, bound=f"{bound:g}")
        everything = sums["yes"] + sums["no"] + unlabelled * np.arange(BLOCKS + 1)
        for name in ("ml_group_predictions_total", "ml_settled_group_predictions_total"):
            self.course(name, everything, **where, predicted="amount")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    rng, past = np.random.default_rng(1), Seeded(END)
    for group, rate in RATES.items():
        past.predictions("unfair", group, _course(rng, rate, 60, restart=40))
        past.predictions("fair", group, _course(rng, 0.4, 600))
        past.predictions("young", group, _course(rng, 0.4, 2))
        past.predictions("approved", group, _course(rng, rate, 600))
        past.approved_only("approved", group, _course(rng, rate, 600))
    for country, young, old in (("a", 420, 180), ("b", 240, 360)):  # who applies differs, and nobody is treated unlike
        by_age = {"young": _course(rng, 0.5, young), "old": _course(rng, 0.2, old)}
        past.predictions("mixed", country, by_age["young"] + by_age["old"])
        for age, course in by_age.items():
            past.predictions("mixed", f"{country}\u00d7{age}", course, "country\u00d7age")
    for group, mean in {"a": 10.25, "b": 30.5}.items():
        past.errors("prices", group, rng.exponential(mean, size=(BLOCKS, 60)))
    for group, rate in {"no": 0.5, "de": 0.3}.items():
        past.predictions("hashed", keyed_hash.digest(group, KEY), _course(rng, rate, 60))
    with prometheus_with(past, tmp_path_factory.mktemp("fairness")) as url:
        yield url


def _judge(
    prometheus: str,
    folder: Path,
    *names: str,
    measure: str = "demographic_parity",
    groups: Sequence[str] = ("country",),
    task: str = "classification",
    **more: Any,
) -> Any:
    template = platform_document()["models"][0] | {"slos": [], "groups": list(groups), "task": task}
    if task == "regression":
        template["positive"] = None
    promise = {"attribute": "country", "measure": measure, "difference": "5%", "over": "60000s", "public": True, **more}
    models = [template | {"name": name, "fairness": [promise]} for name in names]
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(models=models, prometheus={"url": prometheus})))
    done = midwatch_here("fairness", "judge", "-f", file, "--end", END, "--json")
    return done, [one for window in json.loads(done.stdout)["windows"] for one in window["findings"]]


def test_a_pod_that_moved_to_another_address_goes_on_counting_and_its_past_is_not_counted_again() -> None:
    pod = {"job": "j", "pod": "exporter-0", "model": "m", "version": "v1", "attribute": "country", "group": "a"}
    window = Window(start=START, block=BLOCK, size=BLOCKS)
    points = [(START + place * BLOCK, 1_000_000.0 + 10 * place) for place in range(BLOCKS + 1)]
    moved = [
        Line(labels={**pod, "predicted": "fine", "instance": "10.0.0.1:1"}, points=points[:40]),
        Line(labels={**pod, "predicted": "fine", "instance": "10.0.0.7:1"}, points=points[41:]),
    ]
    other = [Line(labels=line.labels | {"pod": "exporter-1"}, points=points) for line in moved]
    (cells,) = counted(moved, window).values()
    assert sum(row.sum() for row in cells.values()) == 10 * BLOCKS
    (cells,) = counted([*moved, *other], window).values()
    assert sum(row.sum() for row in cells.values()) == 3 * 10 * BLOCKS, "at the same times they are several"
    begun_anew = [moved[0], Line(labels=moved[1].labels, points=[(at, value - 1_000_000) for at, value in points[41:]])]
    (cells,) = counted(begun_anew, window).values()
    assert sum(row.sum() for row in cells.values()) == 10 * 39 + 10 * BLOCKS, "a counter that falls was reset"


def test_what_a_version_predicts_at_once_is_counted_where_its_exporter_was_there_before() -> None:
    old = {"job": "j", "instance": "a:1", "model": "m", "version": "v1"}
    window = Window(start=START, block=BLOCK, size=BLOCKS)
    labels = {"attribute": "country", "group": "a", "predicted": "fine"}
    points = [(START + place * BLOCK, 500.0) for place in range(BLOCKS + 1)]
    lines = [
        Line(labels=old | labels, points=points),
        Line(labels=old | labels | {"version": "v2"}, points=points[40:]),
        Line(labels=old | labels | {"version": "v3", "instance": "b:1"}, points=points[40:]),
    ]
    found = {
        version: sum(row.sum() for row in cells.values()) for (_, version), cells in counted(lines, window).items()
    }
    assert found == {"v1": 0, "v2": 500, "v3": 0}, "v1 and v3 have a past that nobody knows"


def test_groups_that_are_apart_are_unfair_over_a_restart_of_the_counters(prometheus: str, tmp_path: Path) -> None:
    done, (found,) = _judge(prometheus, tmp_path, "unfair")
    assert done.returncode == 1
    assert found["verdict"] == "unfair"
    assert found["worst"]["above"] == "a"
    low, high = found["worst"]["difference_interval"]
    assert 0.05 < low < 0.2 < high
    events = {one["group"]: one["events"] for one in found["groups"]}
    assert events == {"a": 6000, "b": 6000}, "each count once, whatever was reset"


def test_mean_errors_are_judged_from_sums_that_are_no_whole_numbers(prometheus: str, tmp_path: Path) -> None:
    given = {"measure": "mean_absolute_error_parity", "error_bound": 100, "task": "regression"}
    done, (found,) = _judge(prometheus, tmp_path, "prices", **given)
    assert (done.returncode, found["verdict"]) == (1, "unfair")
    assert (found["worst"]["above"], found["worst"]["below"], found["error_bound"]) == ("b", "a", 100.0)
    rates = {one["group"]: one["rate"] * 100 for one in found["groups"]}
    assert rates == pytest.approx({"a": 10.25, "b": 29.4}, rel=0.05)
    assert found["labelled"] == {"a": 1.0, "b": 1.0}


def test_groups_that_are_alike_are_fair_and_the_exit_code_is_of_the_worst(prometheus: str, tmp_path: Path) -> None:
    done, (found,) = _judge(prometheus, tmp_path, "fair")
    assert (done.returncode, found["verdict"]) == (0, "fair")
    done, found = _judge(prometheus, tmp_path, "fair", "unfair")
    assert (done.returncode, {one["model"]: one["verdict"] for one in found}) == (
        1,
        {"fair": "fair", "unfair": "unfair"},
    )


def test_a_gap_that_is_all_of_who_applies_is_unfair_pooled_and_fair_within(prometheus: str, tmp_path: Path) -> None:
    done, found = _judge(prometheus, tmp_path, "mixed", groups=["country", "age"], within="age")
    assert {one["rate"]: one["verdict"] for one in found} == {"selected": "unfair", "selected within age": "fair"}
    assert done.returncode == 1


def test_few_predictions_are_not_known_yet_with_the_number_that_would_decide(prometheus: str, tmp_path: Path) -> None:
    done, (found,) = _judge(prometheus, tmp_path, "young")
    assert (done.returncode, found["verdict"]) == (3, "unknown")
    assert found["rows_needed"] > 400
    assert f"{found['rows_needed']:,} more events" in found["reason"]


def test_labels_only_for_the_approved_are_never_shown_fair(prometheus: str, tmp_path: Path) -> None:
    done, (found,) = _judge(prometheus, tmp_path, "approved", measure="equal_opportunity")
    assert (done.returncode, found["verdict"]) == (3, "unknown")
    assert "have no label" in found["reason"]
    assert found["labelled"]["b"] == pytest.approx(0.3, abs=0.02)


def test_a_model_without_predictions_is_not_known(prometheus: str, tmp_path: Path) -> None:
    done, found = _judge(prometheus, tmp_path, "fair", "silent")
    assert (done.returncode, len(found)) == (3, 1)
    done, found = _judge(prometheus, tmp_path, "silent")
    assert (done.returncode, found) == (3, [])
    assert "nothing is known" in done.stderr


def test_four_fifths_are_of_the_highest_rate(prometheus: str, tmp_path: Path) -> None:
    _, (found,) = _judge(prometheus, tmp_path, "unfair", difference=None, ratio="80%")
    assert found["verdict"] == "unfair"
    assert found["worst"]["ratio"] == pytest.approx(0.6, abs=0.05)


def test_groups_that_are_hashed_are_named_for_whoever_has_the_key(prometheus: str, tmp_path: Path) -> None:
    model = platform_document()["models"][0] | {"slos": [], "name": "hashed"}
    promise = {"attribute": "country", "measure": "demographic_parity", "difference": "5%", "over": "60000s"}
    model["fairness"] = [promise | {"values": ["no", "de"]}]
    personal = {"hash": ["country"], "key_file": "key"}
    document = platform_document(models=[model], prometheus={"url": prometheus}, exporter={"personal": personal})
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    done = midwatch_here("fairness", "judge", "-f", tmp_path / "platform.yaml", "--end", END, "--json")
    (found,) = json.loads(done.stdout)["windows"][0]["findings"]
    assert (found["worst"]["above"], found["worst"]["below"]) == ("no", "de")
    assert found["reason"] == "de is beyond the limit against no"
    assert {one["group"] for one in found["groups"]} == {"no", "de"}


@pytest.mark.parametrize(
    ("promise", "said"),
    [
        ({"attribute": "age", "measure": "accuracy_parity", "difference": "5%"}, "age is not counted for fraud"),
        ({"attribute": "country", "measure": "accuracy_parity", "difference": "5%"}, "would stand in metrics"),
        ({"attribute": "country", "measure": "accuracy_parity"}, "exactly one of difference and ratio"),
        ({"attribute": "country", "measure": "accuracy_parity", "difference": "100%"}, "is no limit"),
        ({"attribute": "country", "measure": "accuracy_parity", "ratio": "0%"}, "is no limit"),
        ({"attribute": "country", "group_thresholds_because": "ok"}, "'ok' has fewer than 10 characters; write more"),
        (
            {"attribute": "country", "measure": "accuracy_parity", "ratio": "80%", "over": "1d", "block": "1d"},
            "half of",
        ),
    ],
)
def test_promises_that_nobody_can_judge_are_refused(promise: dict[str, Any], said: str, tmp_path: Path) -> None:
    document = platform_document()
    document["models"][0]["fairness"] = [promise]
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    done = midwatch_here("fairness", "judge", "-f", file)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_platform_without_promises_says_where_to_write_one(tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document()))
    done = midwatch_here("fairness", "judge", "-f", file)
    assert done.returncode == 2
    assert "write models[].fairness" in done.stderr


def test_a_promise_of_which_nothing_is_found_is_undecided_beside_one_that_is_kept(
    prometheus: str, tmp_path: Path
) -> None:
    promise = {"attribute": "country", "measure": "demographic_parity", "difference": "5%", "public": True}
    promises = [{**promise, "over": "60000s"}, {**promise, "difference": "6%", "over": "1200s", "block": "600s"}]
    model = platform_document()["models"][0] | {"name": "fair", "slos": [], "groups": ["country"]}
    document = platform_document(models=[model | {"fairness": promises}], prometheus={"url": prometheus})
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    command = ("fairness", "judge", "-f", tmp_path / "platform.yaml", "--json", "--end")
    done = midwatch_here(*command, END + 3000)
    long, short = json.loads(done.stdout)["windows"]
    assert [one["verdict"] for one in long["findings"]] == ["fair"]
    assert short["findings"] == []
    assert done.returncode == 3
    assert "fair: nothing is known of fairness country demographic_parity difference 6%" in done.stderr
    assert "no version has predicted in the last 2m" in done.stderr


def test_a_prometheus_that_does_not_answer_is_undecided(tmp_path: Path) -> None:
    document = platform_document(prometheus={"url": "http://127.0.0.1:9"})
    promise = {"attribute": "country", "measure": "accuracy_parity", "difference": "5%", "public": True}
    document["models"][0]["fairness"] = [promise]
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    assert midwatch_here("fairness", "judge", "-f", file).returncode == 3
