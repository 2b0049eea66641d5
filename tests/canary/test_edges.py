"""`check` says where a histogram has no edge near what is promised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.spec import load
from monitors.canary import edges
from tests.conftest import midwatch_here


def warned(document: dict[str, Any], tmp_path: Path) -> list[str]:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return [str(one).partition(": ")[2] for one in edges.find_warnings(*load.load_with_places(file))]


def model(**changes: Any) -> dict[str, Any]:
    promised = [{"name": "latency", "sli": {"latency": {"threshold": "250ms"}}, "objective": "99%"}]
    return {"name": "fraud", "owner": "ml", "task": "classification", "slos": promised, **changes}


CANARY = {"criteria": [{"metric": "errors"}, {"metric": "latency"}]}


@pytest.mark.parametrize(
    ("described", "told"),
    [
        (model(canary=CANARY), []),
        (
            model(latency_buckets=[0.05, 0.25, 1.0]),
            ["slos[0].sli.latency.threshold: the histogram has no edge between 0.05 s and 0.25 s"],
        ),
        (
            model(latency_buckets=[0.25, 1.0]),
            ["slos[0].sli.latency.threshold: the histogram has no edge between 0 and 0.25 s"],
        ),
        (
            model(latency_buckets=[0.05, 0.1, 0.25, 1.0, 10.0], canary=CANARY),
            ["canary.criteria[1]: the histogram has no edge within 0.25 s to 1 s: a change"],
        ),
        (
            model(latency_buckets=[0.1, 1.0], slos=[], canary=CANARY),
            ["canary.criteria[1]: the histogram has no edge within 0.1 s to 1 s"],
        ),
        (model(latency_buckets=[0.1, 1.0], slos=[], canary={"criteria": [{"metric": "errors"}]}), []),
        (model(serving="vllm", slos=[], canary={**CANARY, "source": "servers"}), []),
        (
            model(
                serving="vllm",
                slos=[{"name": "l", "sli": {"latency": {"threshold": "300ms"}}, "objective": "99%"}],
            ),
            ["slos[0].sli.latency.threshold: the histogram has no edge between 0 and 0.3 s"],
        ),
    ],
    ids=["usual", "wide", "first", "above", "no promise", "no latency", "far", "server"],
)
def test_a_region_without_an_edge_is_warned_of(
    make_document: Any, tmp_path: Path, described: dict[str, Any], told: list[str]
) -> None:
    said = warned(make_document(models=[described]), tmp_path)
    assert len(said) == len(told), said
    assert all(f"models[0].{one}" in text for one, text in zip(told, said, strict=True)), said


def test_check_shows_the_warning_and_is_satisfied(make_document: Any, tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(make_document(models=[model(latency_buckets=[0.05, 0.25])]), sort_keys=False))
    done = midwatch_here("check", "-f", file, "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"], said["problems"]) == (0, True, [])
    assert "no edge between 0.05 s and 0.25 s" in said["warnings"][0]["message"]
