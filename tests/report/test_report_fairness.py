"""`midwatch report fairness` over a month in which one promise was broken for hours, and one was never judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch import keyed_hash
from tests.canary.arms import Past, prometheus_with
from tests.conftest import free_port, midwatch_here, platform_document
from tests.report.conftest import at

KEY = b"the key of the groups of the tests"
OLD, YOUNG, OLDEST = (keyed_hash.digest(value, KEY) for value in ("old", "young", "oldest"))
BEGAN, ENDED = at(10), at(10, 12)
"""The half day that was judged, but for two hours."""
BROKEN = at(10, 3), at(10, 6)
"""Hours in which one promise was shown broken."""
SILENT = at(10, 6), at(10, 8)


def month(promised: dict[str, str]) -> Past:
    past = Past(ENDED)
    times = [float(one) for one in range(BEGAN, ENDED, 300) if not SILENT[0] <= one < SILENT[1]]

    def gauge(name: str, value: Any, **labels: str) -> None:
        points = [(one, float(value(one) if callable(value) else value)) for one in times]
        past.add(name, points, **promised, **labels)

    gauge("ml_fairness_verdict", lambda one: -1 if BROKEN[0] <= one < BROKEN[1] else one < BROKEN[0])
    gauge("ml_fairness_became_unfair", 0)
    gauge("ml_fairness_limit", 0.8)
    gauge("ml_fairness_smallest_group_events", 400)
    late = [(one, 1.0) for one in times if one >= BROKEN[1]]
    past.add("ml_fairness_worst_pair_info", late, **promised, above=YOUNG, below=OLD, stratum="")
    for bound, value in (("low", 0.7), ("estimate", 0.75), ("high", 0.85)):
        gauge("ml_fairness_ratio", value, bound=bound)
        gauge("ml_fairness_group_rate", value / 2, group=OLD, bound=bound)
    worst = [one for one in times if one < BROKEN[1]]  # another pair was the worst then, and something was open
    past.add(
        "ml_fairness_worst_pair_info", [(one, 1.0) for one in worst], **promised, above=OLD, below=OLDEST, stratum=""
    )
    past.add("ml_fairness_rows_needed", [(one, 5000.0) for one in worst], **promised)
    at_times = [float(one) for one in range(at(10, 20) + 600, at(10, 20) + 1800, 60)]
    brief = {**promised, "version": "brief"}
    past.add("ml_fairness_verdict", [(one, -1.0) for one in at_times], **brief)
    at_the_end = [float(one) for one in range(at(31, 23) + 600, at(31, 23) + 3000, 60)]
    last = {**promised, "version": "last"}
    past.add("ml_fairness_verdict", [(one, 1.0) for one in at_the_end], **last)
    past.add(
        "ml_fairness_worst_pair_info", [(one, 1.0) for one in at_the_end], **last, above=YOUNG, below=OLD, stratum=""
    )
    for bound, value in (("low", 0.9), ("estimate", 0.95), ("high", 1.05)):
        past.add("ml_fairness_ratio", [(one, value) for one in at_the_end], **last, bound=bound)
    return past


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("fairness")
    promised = {"model": "fraud", "version": "v1", "attribute": "age", "measure": "demographic_parity"}
    past = month({**promised, "rate": "selected", "limit": "ratio 80%"})
    with prometheus_with(past, tmp_path_factory.mktemp("past")) as url:
        document = platform_document(prometheus={"url": url})
        promise = {"attribute": "age", "measure": "demographic_parity", "values": ["old", "young"]}
        fairness = [promise | {"ratio": "80%"}, promise | {"measure": "accuracy_parity", "difference": "10%"}]
        document["models"][0] |= {"groups": ["age"], "fairness": fairness}
        document["exporter"] = {"personal": {"hash": ["age"], "key_file": "groups.key"}}
        (folder / "groups.key").write_bytes(KEY)
        (folder / "platform.yaml").write_text(yaml.safe_dump(document))
        yield folder


def report(folder: Path, *words: object) -> Any:
    return midwatch_here("report", "fairness", "-f", folder / "platform.yaml", "--month", "2026-10", *words)


def _first(done: Any) -> Any:
    """What was said of the version that was judged by the hour."""
    (rate,) = (one for one in json.loads(done.stdout)["rates"] if one["version"] == "v1")
    return rate


def test_a_promise_that_was_broken_for_hours_is_broken_in_the_month_with_the_hour(folder: Path) -> None:
    done = report(folder, "--json")
    assert done.returncode == 1, done.stderr
    rate = _first(done)
    assert (rate["verdict"], rate["owner"], rate["promised"]) == ("broken", "ml", 0.8)
    assert rate["broken_at"] == "2026-10-10T03:00:00Z"
    # An hour ends with the sample of its end, and the worst of it is the hour's.
    hours = {"fair": 3, "unfair": 4, "unknown": 5, "unfair_lately": 0, "not_judged": 31 * 24 - 12}
    assert rate["hours"] == hours


def test_a_version_that_was_judged_for_less_than_an_hour_is_told_too(folder: Path) -> None:
    rates = json.loads(report(folder, "--json").stdout)["rates"]
    (brief,) = (one for one in rates if one["version"] == "brief")
    assert (brief["verdict"], brief["broken_at"]) == ("broken", "2026-10-10T21:00:00Z")
    assert brief["hours"]["unfair"] == 1
    assert "brief" in report(folder, "--html").stdout


def test_the_worst_pair_is_that_of_the_last_verdict_and_not_one_of_before(folder: Path) -> None:
    rate = _first(report(folder, "--json"))
    assert (rate["worst"]["above"], rate["worst"]["below"]) == ("young", "old")
    assert rate["rows_needed"] is None


def test_what_was_judged_in_the_last_hour_alone_has_its_worst_pair(folder: Path) -> None:
    rates = json.loads(report(folder, "--json").stdout)["rates"]
    (last,) = (one for one in rates if one["version"] == "last")
    assert last["verdict"] == "kept"
    assert last["worst"]["ratio"] == [0.9, 0.95, 1.05]


def test_what_was_not_judged_in_the_whole_month_is_named_and_not_kept(folder: Path) -> None:
    document = json.loads(report(folder, "--json").stdout)
    assert document["silent"] == [{"model": "fraud", "promise": "fairness age accuracy_parity difference 10%"}]
    page = report(folder, "--html").stdout
    assert "Of 4 promised rates, 2 were shown broken, 1 were shown kept, and of 1 it is not known." in page
    assert "<li>fraud: fairness age accuracy_parity difference 10%</li>" in page


def test_groups_have_their_names_for_who_has_the_key_and_hashes_for_others(folder: Path) -> None:
    assert _first(report(folder, "--json"))["worst"]["below"] == "old"
    text = report(folder).stdout
    assert "old has 75%" in " ".join(text.split())
    key = folder / "groups.key"
    key.rename(folder / "gone")
    try:
        done = report(folder, "--json")
        assert _first(done)["worst"]["below"] == OLD
        assert "Groups are shown by their hashes" in report(folder, "--html").stdout
    finally:
        (folder / "gone").rename(key)


def test_a_prometheus_that_does_not_answer_is_inconclusive(folder: Path, tmp_path: Path) -> None:
    done = report(folder, "--prometheus", f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (3, "")
    document = platform_document()
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    done = midwatch_here("report", "fairness", "-f", tmp_path / "platform.yaml")
    assert done.returncode == 2
    assert "write models[].fairness" in done.stderr


def test_a_file_can_be_written_instead(folder: Path, tmp_path: Path) -> None:
    done = report(folder, "-o", tmp_path / "report.txt")
    assert done.returncode == 1
    assert (tmp_path / "report.txt").read_text().startswith("test, 2026-10\n")
    assert report(folder, "--html", "--json").returncode == 2
