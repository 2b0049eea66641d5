"""Experiments in files of somebody's, and in the platform file: names that lead nowhere, settings that do nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos import experiment_file
from chaos.places.local.plane import LocalPlane
from midwatch.errors import Exit, InvalidInputError
from midwatch.spec import load
from tests.chaos import paper
from tests.chaos.paper import PaperPlane, action, probe
from tests.conftest import midwatch_here


@pytest.fixture(scope="module")
def one_plane(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with paper.running(tmp_path_factory.mktemp("paper")) as plane:
        yield plane


KILL = action("kill_replica", model="fraud", target="v1")


def refused(plane: PaperPlane, *method: dict[str, Any], **changes: Any) -> str:
    file = plane.experiment(*method, **changes)
    with pytest.raises(InvalidInputError) as error:
        experiment_file.read(file, LocalPlane(plane.state))
    assert str(error.value).startswith(f"{file}:"), "with its place"
    return str(error.value)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("failing_model", {"model": "fraud", "errors": 0}, "errors: 0.0 means that nothing happens"),
        ("failing_model", {"model": "fraud", "errors": 1.5}, "errors: 1.5 is not a share"),
        ("failing_model", {"model": "frau"}, "there is no model 'frau'; did you mean fraud?"),
        ("failing_model", {"model": "fraud", "errors": "many"}, "Expected `float`, got `str`"),
        ("slow_model", {"model": "fraud", "delay": "0s"}, "delay: 0s means that nothing happens"),
        ("slow_model", {"model": "fraud", "delay": "soon"}, "'soon' is not a duration"),
        ("slow_model", {"model": "fraud", "target": "v9"}, "there is no server 'v9'"),
        ("kill_replica", {"model": "fraud", "replicas": 0}, "replicas: 0 means that nothing happens"),
        ("corrupt_features", {"model": "fraud", "scale": {}}, "no feature would be changed"),
        ("corrupt_features", {"model": "fraud", "scale": {"x": 1.0}}, "no feature would be changed"),
        ("skew_clock", {"shift": "0s"}, "shift: 0s means that nothing happens"),
        ("exhaust_cpu", {"model": "fraud", "cores": 0}, "cores: 0 means that nothing happens"),
        ("exhaust_memory", {"model": "fraud", "size": 0}, "size: 0 means that nothing happens"),
        ("exhaust_memory", {"model": "fraud", "seconds": 0}, "seconds: 0.0 means that nothing happens"),
        ("deploy_bad_version", {"model": "fraud", "bad_version": "v9"}, "there is no version of fraud 'v9'"),
        ("deploy_bad_version", {"model": "fraud", "target": "v2", "bad_version": "v2"}, "is of version v2 itself"),
        ("deploy_bad_version", {"model": "fraud", "bad_version": ""}, "bad_version: empty"),
    ],
)
def test_an_action_that_leads_nowhere_or_does_nothing_is_refused(
    one_plane: PaperPlane, kind: str, arguments: dict[str, Any], message: str
) -> None:
    assert message in refused(one_plane, action(kind, **arguments))


@pytest.mark.parametrize(
    ("extension", "message"),
    [
        ({"model": "frau"}, "there is no model 'frau'; did you mean fraud?"),
        ({"expected_alert": "ModelErorsHigh"}, "there is no alert 'ModelErorsHigh'"),
        ({"kind": "kil_replica"}, "there is no kind 'kil_replica'; did you mean kill_replica?"),
        ({"versions": ["v9"]}, "there is no version 'v9'"),
        ({"versions": "v1"}, "Expected `array`, got `str`"),
        ({"tolerated_errors": 1.5}, "is not between 0% and 100% (exclusive)"),
        ({"tolerated_errors": 0}, "is not between 0% and 100% (exclusive)"),
        ({"tolerated_errors": "2%"}, "Expected `float | null`, got `str`"),
        ({"longest_seconds": "long"}, "Expected `float`, got `str`"),
        ({"longest_seconds": -1}, "-1.0 is no time"),
        ({"blinds": "yes"}, "Expected `bool`, got `str`"),
        ({"tolerated_erors": 0.5}, "there is no setting 'tolerated_erors'; did you mean tolerated_errors?"),
    ],
    ids=str,
)
def test_what_is_said_of_an_experiment_has_to_be_true(
    one_plane: PaperPlane, extension: dict[str, Any], message: str
) -> None:
    said = refused(one_plane, KILL, extensions=[{"name": "midwatch", **extension}])
    assert message in said
    assert "extensions[0]" in said


def test_another_model_than_the_one_that_is_hit_is_not_watched_instead(tmp_path: Path) -> None:
    document = paper.document_of()
    document["models"].append({**document["models"][0], "name": "other"})
    with paper.running(tmp_path, document) as plane:
        said = refused(plane, KILL, extensions=[{"name": "midwatch", "model": "other"}])
    assert "it names other, whose budget and errors are watched; the actions are on fraud" in said


KEPT = {"name": "availability", "good": "up", "total": "vector(1)", "objective": 0.9}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (probe("noticed", alert="ModelErorsHigh", channels=["chat"], within=5), "there is no alert 'ModelErorsHigh'"),
        (probe("noticed", alert="ExporterDown", channels=[], within=0), "0 is no time to wait"),
        (probe("nobody_paged", seconds=0), "0 is no time to wait"),
        (probe("noticed", alert="ExporterDown", channels=[], within=5), "nobody would have to be told"),
        (probe("noticed", alert="ExporterDown", channels="chat", within=5), "nobody would have to be told"),
        (probe("noticed", alert="ExporterDown", channels=["nobody"], within=5), "there is no channel 'nobody'"),
        (probe("resolved", alert="ExporterDown", within=5, labels={"model": "frau"}), "there is no model 'frau'"),
        (probe("keeps_objectives", objectives=[]), "there is no objective to keep"),
        (probe("keeps_objectives", objectives="all"), "Expected `array`, got `str`"),
        (probe("keeps_objectives", objectives=[KEPT | {"objective": 0}]), "Expected `float` > 0.0"),
        (probe("keeps_objectives", objectives=[KEPT | {"versions": []}]), "Expected `array` of length >= 1"),
        (probe("keeps_objectives", objectives=[{"name": "a"}]), "missing required field `good`"),
    ],
)
def test_a_probe_that_holds_whatever_happens_is_refused(
    one_plane: PaperPlane, asked: dict[str, Any], message: str
) -> None:
    assert message in refused(one_plane, KILL, asked)
    assert message in refused(one_plane, KILL, **{"steady-state-hypothesis": {"title": "s", "probes": [asked]}})


@pytest.mark.parametrize("extensions", ["midwatch", [None], {"name": "midwatch"}], ids=str)
def test_a_malformed_file_is_an_error_of_usage_without_a_traceback(one_plane: PaperPlane, extensions: Any) -> None:
    file = one_plane.experiment(KILL, extensions=extensions)
    for command in ("plan", "run"):
        done = midwatch_here("chaos", command, file, "--state", one_plane.state)
        assert done.returncode == Exit.USAGE
        assert f"{file}" in done.stderr
        assert "Traceback" not in done.stderr


def test_values_of_the_configuration_are_in_place_before_they_are_checked(one_plane: PaperPlane) -> None:
    method = action("failing_model", model="fraud", errors="${share}")
    file = one_plane.experiment(method, configuration={"share": 0.25})
    (ran,) = experiment_file.read(file, LocalPlane(one_plane.state))["method"]
    assert ran["provider"]["arguments"]["errors"] == 0.25
    assert "errors: 0.0 means" in refused(one_plane, method, configuration={"share": 0.0})


def test_a_rendered_experiment_is_not_refused(tmp_path: Path) -> None:
    document = paper.document_of()
    document["models"][0]["slos"][0]["alert"] = {"over": "5m", "for": "1m", "min_events": 10}
    document["chaos"]["experiments"] = [{"kind": "kill_replica"}, {"kind": "exhaust_cpu"}, {"kind": "lose_prometheus"}]
    with paper.running(tmp_path, document) as plane:
        midwatch_here("render", "-f", plane.file, "-o", tmp_path / "out")
        for name in ("kill-replica", "exhaust-cpu", "lose-prometheus"):
            read = experiment_file.read(tmp_path / "out" / "chaos" / f"{name}.json", LocalPlane(plane.state))
            assert read["runtime"] == {"rollbacks": {"strategy": "always"}}, (
                "a plain chaos run plays them on Ctrl-C too"
            )


# The platform file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chaos", "message"),
    [
        ({"experiments": [{"kind": "kill_replica", "for": "0s"}]}, "for: 0 means that nothing happens"),
        ({"experiments": [{"kind": "failing_model", "errors": "0%"}]}, "errors: 0 means that nothing happens"),
        ({"experiments": [{"kind": "slow_model", "delay": "0s"}]}, "delay: 0 means that nothing happens"),
        ({"experiments": [{"kind": "skew_clock", "shift": "0s"}]}, "shift: 0 means that nothing happens"),
        ({"experiments": [{"kind": "exhaust_memory", "size": "0B"}]}, "size: 0 means that nothing happens"),
        ({"experiments": [{"kind": "corrupt_features", "scale": {}}]}, "scale: no feature would be changed"),
        ({"experiments": [{"kind": "corrupt_features", "scale": {"x": 1.0}}]}, "no feature would be changed"),
        ({"experiments": [{"kind": "corrupt_features", "scale": {"x": float("inf")}}]}, "no number that JSON has"),
        ({"experiments": [{"kind": "kill_replica", "tolerated_errors": "0%"}]}, "not between 0% and 100% (exclusive)"),
        ({"experiments": [{"kind": "lose_exporter", "target": "v1"}]}, "lose_exporter has no setting target"),
        (
            {"experiments": [{"kind": "exhaust_cpu", "expect": {"alert": "none", "within": "5s"}}]},
            "nothing to wait for",
        ),
        ({"experiments": [{"kind": "kill_replica", "expect": {"alert": "X", "within": "0s"}}]}, "within: 0 means"),
        ({"experiments": [{"kind": "deploy_bad_version"}]}, "missing bad_version"),
        ({"experiments": [{"kind": "deploy_bad_version", "bad_version": "v9"}]}, "there is no version of fraud 'v9'"),
        ({"experiments": [{"kind": "deploy_bad_version", "bad_version": "v1"}]}, "is of version v1 itself"),
        ({"stop": {"false_stops": "100%"}}, "false_stops: 100% is not between"),
        ({"stop": {"false_stops": "0%"}}, "false_stops: 0% is not between"),
        ({"stop": {"tolerated_errors": "100%"}}, "tolerated_errors: 100% is not between"),
        ({"guard": {"max_share": "0%"}}, "max_share: 0 means that nothing happens"),
        ({"guard": {"timeout": "0s"}}, "timeout: 0 means that nothing happens"),
        ({"guard": {"windows": ["mon 09:00-24:30"]}}, "is not a window"),
    ],
    ids=str,
)
def test_a_setting_that_means_nothing_is_a_problem_of_the_platform_file(
    tmp_path: Path, chaos: dict[str, Any], message: str
) -> None:
    document = paper.document_of() | {"chaos": chaos}
    document["models"][0]["drift"] = {"reference": "r.npz", "features": {"x": "numeric"}}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidInputError) as error:
        load.load_platform(file)
    assert message in str(error.value)
    assert f"{file}:" in str(error.value)
