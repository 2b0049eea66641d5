"""The Sloth form beside what Sloth itself makes: `golden/sloth.output.yaml` is what v0.12 writes of the input there."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alerts.imports import files
from alerts.objectives import objective as objectives
from alerts.objectives.groups import rule_group
from midwatch.spec.rules import RuleFile

GOLDEN = Path(__file__).parent / "golden"
INEXACT = {"0.9990000000000001": "0.999", "0.0009999999999999432": "0.001"}
"""Numbers that Sloth computes in binary."""


def plain(expr: str) -> str:
    """Without white space, and with numbers as they are meant."""
    for wrong, right in INEXACT.items():
        expr = expr.replace(wrong, right)
    return "".join(expr.split()).replace("vector(1-0.999)", "vector(0.001)")


@pytest.fixture
def ours(make_platform) -> list[dict]:
    document = files.translate(GOLDEN / "sloth.input.yaml", "ml", compatibility="sloth").document
    file = RuleFile.model_validate({"name": "in", **document})
    platform = make_platform().model_copy(update={"rules": [file], "models": []})
    (target,) = objectives.of_platform(platform)
    return rule_group(target)["rules"]


@pytest.fixture
def theirs() -> list[dict]:
    document = yaml.safe_load((GOLDEN / "sloth.output.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_every_record_of_sloth_is_made_with_its_expression_and_labels(ours: list[dict], theirs: list[dict]) -> None:
    made = {rule["record"]: rule for rule in ours if "record" in rule}
    wanted = {rule["record"]: rule for rule in theirs if "record" in rule}
    assert set(made) == set(wanted)
    for name, rule in wanted.items():
        assert plain(made[name]["expr"]) == plain(rule["expr"]), name
        if name != "sloth_slo_info":
            assert made[name]["labels"] == rule["labels"], name


def test_its_alerts_have_sloths_expressions_and_labels_that_route(ours: list[dict], theirs: list[dict]) -> None:
    made, wanted = ([rule for rule in rules if "alert" in rule] for rules in (ours, theirs))
    assert [plain(rule["expr"]) for rule in made] == [plain(rule["expr"]) for rule in wanted]
    for ours_, theirs_ in zip(made, wanted, strict=True):
        assert theirs_["labels"].items() <= ours_["labels"].items()
        assert ours_["labels"]["owner"] == "ml"
        assert ours_["alert"] == theirs_["alert"]
