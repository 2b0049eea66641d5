"""What a rate of requests needs, and what of a platform file would not hold it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporters import capacity
from exporters.scale import needs
from tests.conftest import midwatch_here, platform, platform_document


def amounts(requests: float, **changes: Any) -> dict[str, needs.Need]:
    return {one.what.partition(",")[0]: one for one in needs.of(platform(**changes), requests)}


def test_needs_grow_with_requests() -> None:
    few, many = amounts(1000), amounts(1_000_000)
    assert few["events"].amount == 2000
    assert (few["exporters"].amount, many["exporters"].amount) == (1, 19)
    assert many["predictions that wait for labels"].amount == 1_000_000 * 86_400
    assert many["series that are scraped"].amount == 19 * few["series that are scraped"].amount


def test_what_was_not_run_is_marked() -> None:
    few, many = amounts(10, exporter={"label_retention": "1h"}), amounts(100_000)
    assert not few["exporters"].is_extrapolated
    assert not few["memory for these"].is_extrapolated
    assert many["exporters"].is_extrapolated
    assert many["memory for these"].is_extrapolated


def test_a_sample_of_labels_needs_less_and_every_request_is_counted_all_the_same() -> None:
    tenth = amounts(100_000, exporter={"sample": "10%"})
    assert tenth["events"].amount == pytest.approx(110_000)
    assert tenth["predictions that wait for labels"].amount == pytest.approx(100_000 * 0.1 * 86_400)


def test_requests_are_spread_as_the_models_state_them_else_evenly() -> None:
    models = [{**platform_document()["models"][0], "name": name} for name in ("a", "b")]
    assert [one.requests_per_second for one in needs.spread(platform(models=models), 10).models] == [5, 5]
    models[0]["requests_per_second"] = 30.0
    models[1]["requests_per_second"] = 10.0
    assert [one.requests_per_second for one in needs.spread(platform(models=models), 8).models] == [6, 2]


KAFKA = {"brokers": ["kafka:9092"], "topics": ["events"]}


def test_members_of_a_fleet_need_what_was_measured_of_one_that_reads_kafka() -> None:
    found = amounts(1_000_000, exporter={"sample": "10%", "label_retention": "1s", "kafka": KAFKA})
    assert (found["exporters"].amount, found["partitions"].amount) == (19, 19)
    waiting = amounts(1_000_000, exporter={"sample": "10%", "label_retention": "1h", "kafka": KAFKA})
    assert waiting["partitions"].amount == 360_000_000 / 500_000
    assert amounts(1_000_000, exporter={"sample": "10%"})["partitions"].amount == 19


def checked(folder: Path, *words: str, **changes: Any) -> Any:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(**changes)))
    return midwatch_here("scale", "check", "-f", file, *words)


def test_what_would_not_hold_is_said_with_its_line(tmp_path: Path) -> None:
    done = checked(tmp_path, "--requests", "1000000", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"]) == (1, False)
    messages = [one["message"] for one in document["problems"]]
    assert messages[0].startswith("1 of 19 exporters that 1,000,000 requests/s need")
    assert any("may wait" in one for one in messages)


def test_limits_are_those_of_as_many_exporters_as_it_says_to_run(tmp_path: Path) -> None:
    done = checked(tmp_path, "--requests", "1000000")
    assert "run 19, and send" in done.stderr
    assert f"set max_waiting to {-(-1_000_000 * 86_400 // 19)} (745.4 GiB of memory)" in done.stderr


def test_what_holds_is_shown_as_a_table(tmp_path: Path) -> None:
    done = checked(tmp_path, "--requests", "10", exporter={"label_retention": "1h"})
    assert done.returncode == 0
    assert "exporters, a core each" in done.stdout
    assert "extrapolated" not in done.stdout
    assert done.stderr == ""


def test_a_judge_of_drift_counts_nothing(tmp_path: Path) -> None:
    drift = {"reference": "reference.parquet", "features": {"amount": "numeric"}, "methods": ["psi", "ks"]}
    models = [{**platform_document()["models"][0], "drift": drift}]
    exporter = {"label_retention": "1s", "kafka": KAFKA, "targets": ["a:9500", "b:9500", "judge:9500"]}
    assert capacity.exporters_of(platform(models=models, exporter=exporter)) == 2
    done = checked(tmp_path, "--requests", "90000", exporter=exporter, models=models)
    assert (
        "2 of 3 exporters that 90,000 requests/s need: events would wait in the topic; run 3, with as many"
        in done.stderr
    )


def test_a_platform_without_exporters_needs_streams(tmp_path: Path) -> None:
    stream = {"exporters": False, "kafka": {"servers": ["kafka:9092"], "topics": ["events"]}}
    assert checked(tmp_path, "--requests", "1000", stream=stream).returncode == 0
    done = checked(tmp_path, "--requests", "100000", stream=stream)
    assert (done.returncode, "exporters, a core each" in done.stdout) == (1, False)
    assert "stream: 1 of 4 streams of two cores that 100,000 requests/s need" in done.stderr
