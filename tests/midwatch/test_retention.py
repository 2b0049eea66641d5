"""Promises that look back further than Prometheus keeps samples are warned of, where that is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.app import retention
from midwatch.spec import load
from tests.conftest import midwatch_here, platform_document

FAIR = {"attribute": "country", "measure": "demographic_parity", "ratio": "80%", "public": True, "over": "60d"}
CALIBRATED = {"name": "calibrated", "sli": {"calibration": {"at_most": "5%", "over": "20d"}}, "objective": "99%"}


def document(url: str = "http://127.0.0.1:1", **prometheus: Any) -> dict[str, Any]:
    model = platform_document()["models"][0] | {"groups": ["country"], "fairness": [FAIR], "slos": [CALIBRATED]}
    model["explanations"] = {"window": "1d", "windows": 29}
    return platform_document(models=[model], prometheus={"url": url, **prometheus})


def warned(folder: Path, **prometheus: Any) -> list[str]:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document(**prometheus), sort_keys=False))
    return [str(one) for one in retention.find_warnings(*load.load_with_places(file))]


def test_each_kind_of_promise_that_looks_back_further_is_warned_of_with_what_comes_of_it(tmp_path: Path) -> None:
    found = warned(tmp_path, retention="15d")
    assert [re.split(" looks? back", one.partition("15d, and ")[2])[0] for one in found] == [
        "fairness of fraud by country",
        "attributions of fraud",
        "fraud calibrated",  # its budget
        "fraud calibrated",  # its indicator
    ]
    assert "looks back 60d: " in found[0]
    assert "false alarms does not hold; start Prometheus with --storage.tsdb.retention.time=60d" in found[0]
    assert all("platform.yaml:" in one and "prometheus.retention: " in one for one in found)


@pytest.mark.parametrize(("kept", "count"), [("60d", 0), ("59d", 1), ("30d", 1), ("29d", 3), ("19d", 4), (None, 0)])
def test_only_what_looks_back_further_is_warned_of_and_nothing_where_nobody_knows(
    tmp_path: Path, kept: str | None, count: int
) -> None:
    assert len(warned(tmp_path, **({"retention": kept} if kept else {}))) == count


def test_of_many_promises_three_are_named(tmp_path: Path) -> None:
    promises = [{**FAIR, "attribute": name} for name in ("a", "b", "c", "d", "e")]
    model = platform_document()["models"][0] | {"groups": list("abcde"), "fairness": promises}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(models=[model], prometheus={"retention": "31d"})))
    (found,) = retention.find_warnings(*load.load_with_places(file))
    assert "by b, fairness of fraud by c and 2 more look back 60d" in str(found)


def answering(monkeypatch: pytest.MonkeyPatch, kept: float | None, configuration: str = "global: {}") -> None:
    class Answering:
        def retention(self) -> float | None:
            return kept

        def configuration(self) -> str:
            return configuration

    monkeypatch.setattr(retention.Client, "of", lambda *_: Answering())


DAY = 86400.0


@pytest.mark.parametrize(
    ("kept", "stated", "configuration", "count"),
    [
        (15 * DAY, None, "global: {}", 4),
        (None, None, "global: {}", 0),
        (15 * DAY, None, "remote_read: [{url: 'http://long.example.com'}]", 0),
        (60 * DAY, None, "global: {}", 0),
        (15 * DAY, "15d", "global: {}", 0),  # warned of without asking
        (15 * DAY, "60d", "global: {}", 5),  # and that the file says otherwise
    ],
)
def test_a_prometheus_that_runs_is_believed_before_the_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: float | None,
    stated: str | None,
    configuration: str,
    count: int,
) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document(**({"retention": stated} if stated else {})), sort_keys=False))
    answering(monkeypatch, kept, configuration)
    assert len(list(retention.live_warnings(load.load_platform(file)))) == count


def test_a_real_prometheus_says_for_how_long_it_keeps_samples(tmp_path: Path, prometheus_server: str) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document(url=prometheus_server), sort_keys=False))
    done = midwatch_here("check", "-f", file, "--prometheus")
    assert f"warning: {prometheus_server}: samples are kept for 15d, and fairness of fraud" in done.stderr
