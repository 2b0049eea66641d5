"""What cannot hold is refused before anything runs, with the place and what to set; what nobody can tell is said."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporters import capacity, collector
from exporters.events.state import State
from exporters.events.store import Store
from exporters.incremental import IncrementalText
from midwatch import exposition, jobs, metrics, scrape_size
from midwatch.app import prometheus
from midwatch.client import events
from midwatch.spec import load
from midwatch.spec import model as spec

NOW = 1_700_000_000.0


@pytest.fixture
def reading(make_document, tmp_path):
    """Reads a platform file of these models, with these settings of the exporter and of Prometheus."""

    def read(models: list[dict[str, Any]], **sections: Any) -> load.Reading:
        file = tmp_path / "platform.yaml"
        whole = [{"owner": "ml", "task": "classification", "slos": [], **model} for model in models]
        file.write_text(yaml.safe_dump(make_document(models=whole, **sections), sort_keys=False))
        found = load.read(file)
        assert found.platform is not None and not found.problems, found.problems
        return found

    return read


def problems(reading: load.Reading) -> list[str]:
    return [
        f"{one.path}: {one.message}; {one.remedy}" for one in capacity.find_problems(reading.platform, reading.document)
    ]


def warnings(reading: load.Reading) -> list[str]:
    return [
        f"{one.path}: {one.message}; {one.remedy}" for one in capacity.find_warnings(reading.platform, reading.document)
    ]


def models(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"name": f"m{number}", "requests_per_second": 0.01, **more} for number in range(count)]


def test_scores_of_groups_are_counted_against_the_cap_before_anything_runs(reading) -> None:
    promise = {"attribute": "g", "measure": "calibration_within_groups", "difference": "5%", "public": True}
    given = {"positive": "yes", "groups": ["g"]}
    caps = {"caps": {"series": 5000}}
    assert not problems(reading(models(10, **given), exporter=caps))
    assert (
        "series of counters; the cap is 5,000"
        in problems(reading(models(10, **given, fairness=[promise]), exporter=caps))[0]
    )


def test_what_holds_is_neither_a_problem_nor_a_warning(reading) -> None:
    assert problems(reading(models(200))) == warnings(reading(models(200))) == []


def test_more_models_than_the_cap_are_refused_with_the_cap_that_takes_them(reading) -> None:
    (said,) = problems(reading(models(300), exporter={"caps": {"series": 100_000}}))
    assert "300 models are in this file, and the cap is 200" in said
    assert "exporter.caps.models to 300" in said
    assert not problems(reading(models(300), exporter={"caps": {"models": 300, "series": 100_000}}))


def test_a_problem_has_the_line_of_the_key_or_of_the_section_around_it(reading) -> None:
    found = reading(models(3), exporter={"caps": {"models": 2}})
    (problem,) = capacity.find_problems(found.platform, found.document)
    assert "models: 2" in Path(problem.file).read_text().splitlines()[problem.line - 1]


def test_a_canary_needs_room_for_a_second_version(reading) -> None:
    canary = {"criteria": [{"metric": "errors"}]}
    (said,) = problems(reading(models(1, canary=canary), exporter={"caps": {"versions": 1}}))
    assert said.startswith("models[0].canary: ") and "set exporter.caps.versions to 2" in said


def test_models_whose_least_series_are_over_the_cap_are_refused(reading) -> None:
    many = models(100, classes=[f"class-{number}" for number in range(60)])
    (said,) = problems(reading(many))
    least = capacity.least_series(reading(many).platform)
    assert said.startswith("exporter.caps.series: ") and f"set exporter.caps.series to {least}" in said
    assert not problems(reading(many, exporter={"caps": {"series": least}}))


def test_features_whose_series_are_over_the_cap_are_refused(reading, tmp_path) -> None:
    drift = {"reference": "r.npz", "features": {f"f{number}": "numeric" for number in range(60)}}
    (said,) = problems(reading(models(100, drift=drift)))
    assert "of drift judge's gauges" in said


@pytest.mark.parametrize(
    "model",
    [
        {"classes": ["a", "b", "c"], "groups": ["country", "age"], "positive": "a"},
        {"canary": {"criteria": [{"metric": "errors"}]}},
        {
            "task": "regression",
            "slos": [{"name": "near", "sli": {"absolute_error": {"within": 2.5}}, "objective": "90%"}],
        },
        {"task": "generation", "latency_buckets": [0.1, 1.0]},
    ],
    ids=["classes", "canary", "regression", "generation"],
)
def test_the_least_series_are_no_more_than_what_the_least_traffic_publishes_or_reserves(reading, model) -> None:
    platform = reading(models(2, **model)).platform
    state = State(spec.Exporter(), platform.models)
    for number, version in itertools.product(range(2), range(2 if platform.models[0].canary else 1)):
        one = platform.models[number]
        for answer in capacity._answers(one):
            common = {"id": f"{version}{answer}", "model": one.name, "ts": NOW}
            score = 0.5 if one.positive else None
            asked = events.Prediction(**common, version=f"v{version}", prediction=answer, score=score)
            state.apply(NOW, [asked, events.Label(**common, label=answer)])
    assert capacity.least_series(platform) == state.counters.series
    text, totals = IncrementalText(), state.live()
    commits = ([0] * (len(metrics.COMMIT_BUCKETS) + 1), 0.0)
    for _ in text.write(collector.tables(totals), collector.histograms(totals, commits), [], exposition.CONTENT_TYPE):
        pass
    assert text.series > 0.4 * state.counters.series


# Predictions that wait ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "written"), [(1_234_567, "1,234,567"), (1_000_000, "1,000,000"), (12.5, "12.5")])
def test_the_rate_that_does_not_hold_is_written_without_an_exponent(reading, rate: float, written: str) -> None:
    (said,) = problems(reading(models(1, requests_per_second=rate), exporter={"max_waiting": 1000}))
    assert said.startswith(f"exporter.max_waiting: {written} predictions/s for 1d are ")


def test_the_rate_that_limits_would_hold_is_written_without_an_exponent(reading) -> None:
    (said,) = warnings(reading(models(1, requests_per_second=None), exporter={"label_retention": "1m"}))
    assert "2,000,000 hold 33,333/s of one exporter" in said


def test_predictions_that_wait_are_rate_times_retention(reading) -> None:
    busy = models(10, requests_per_second=10)
    (said,) = problems(reading(busy))
    assert said.startswith("exporter.max_waiting: 100 predictions/s for 1d are 8,640,000, and 2,000,000 may wait")
    assert "set max_waiting to 8640000 (1.4 GiB of memory), or label_retention to 20000s, or sample to 23.1%" in said
    assert not problems(reading(busy, exporter={"max_waiting": 8_640_000}))
    assert not problems(reading(busy, exporter={"label_retention": "20000s"}))
    assert not problems(reading(busy, exporter={"sample": "23.1%"}))
    assert problems(reading(busy, exporter={"sample": "24%"}))
    five = [f"10.0.0.{number}:9500" for number in range(5)]
    assert not problems(reading(busy, exporter={"targets": five}))
    assert problems(reading(busy, exporter={"targets": five[:4]}))


@pytest.mark.parametrize(
    ("rate", "sample"), [(300, "100%"), (77.7, "33.3%"), (1e5, "100%"), (24, "99.99%"), (1e9, "1%")]
)
def test_what_is_said_to_hold_the_predictions_that_wait_does(reading, rate, sample) -> None:
    busy = models(1, requests_per_second=rate)
    (said,) = problems(reading(busy, exporter={"sample": sample}))
    remedies = re.findall(r"(max_waiting|label_retention|sample) to ([0-9.]+[a-z%]*)", said)
    assert remedies
    for key, setting in remedies:
        asked = {"sample": sample, key: int(setting) if key == "max_waiting" else setting}
        assert not problems(reading(busy, exporter=asked)), (key, setting)


def test_nothing_that_waits_is_no_traffic_that_could_be_too_much(reading) -> None:
    (said,) = warnings(reading([{"name": "m"}], exporter={"label_retention": "0s"}))
    assert said.endswith("; state requests_per_second of each model")


def test_a_rate_without_end_is_not_one(make_document, tmp_path) -> None:
    document = make_document()
    document["models"][0]["requests_per_second"] = math.inf
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    assert [one.message for one in load.read(tmp_path / "platform.yaml").problems] == ["inf is not at most 1e+09"]


def test_traffic_that_nobody_states_is_said_not_to_be_judged_and_what_is_stated_is_still_refused(reading) -> None:
    some = [*models(1, requests_per_second=100), *({"name": f"quiet{number}"} for number in range(5))]
    found = reading(some)
    (said,) = warnings(found)
    assert "nothing states the traffic of quiet0, quiet1, quiet2 and 2 more" in said and "not judged" in said
    assert len(problems(found)) == 1


def test_a_volume_has_room_for_two_snapshots_and_the_journal(reading) -> None:
    busy = models(1, requests_per_second=20)
    (said,) = problems(reading(busy, exporter={"volume": "256MiB"}))
    assert said.startswith("exporter.volume: journal and snapshots may have ")
    needed = capacity.least_volume(reading(busy).platform)
    assert f"give it {-(-needed // 2**20)}MiB" in said
    assert not problems(reading(busy, exporter={"volume": f"{-(-needed // 2**20)}MiB"}))


def test_ids_that_a_model_remembers_for_longer_take_room_on_the_volume(reading) -> None:
    settings = {"label_retention": "1m", "volume": "1GiB"}
    assert not problems(reading(models(1, requests_per_second=1000), exporter=settings))
    (said,) = problems(reading(models(1, requests_per_second=1000, remember="7d"), exporter=settings))
    assert said.startswith("exporter.volume: journal and snapshots may have ")
    assert problems(reading(models(1, requests_per_second=1000, too_old="7d"), exporter=settings)) == [said]


def test_a_snapshot_is_no_larger_than_the_arithmetic_says(tmp_path) -> None:
    store = Store(tmp_path, spec.Exporter())
    for start in range(0, 20_000, 5000):
        made = [
            events.Prediction(id=f"{number:032x}", model="fraud", version="v1", ts=NOW, prediction="a", score=0.12345)
            for number in range(start, start + 5000)
        ]
        store.state.apply(NOW, made)
    store.close(NOW)
    (snapshot,) = tmp_path.glob("snapshot-*")
    assert snapshot.stat().st_size < 20_000 * (capacity.WAITING_BYTES + capacity.ID_BYTES)


# The time of a scrape -----------------------------------------------------------------------------------------------


def test_the_scrape_timeout_follows_the_series_and_is_never_longer_than_the_interval(reading) -> None:
    def rendered(series: int, interval: str) -> str:
        settings = {"exporter": {"caps": {"series": series}}, "prometheus": {"scrape_interval": interval}}
        platform = reading(models(1), **settings).platform
        (job,) = [job for job in jobs.of_platform(platform) if job.name == jobs.EXPORTER]
        assert job.timeout is not None and job.timeout <= platform.prometheus.scrape_interval
        return prometheus.render(platform, [job], "localhost:9093")

    assert rendered(50_000, "15s").count("scrape_timeout") == 1
    assert "scrape_timeout: '12s'" in rendered(1_200_000, "15s")
    assert "scrape_timeout: '15s'" in rendered(3_000_000, "15s")
    assert rendered(3_000_000, "5s").count("scrape_timeout: '5s'") == 1


def test_an_interval_that_is_shorter_than_a_scrape_is_refused_and_caps_that_allow_one_are_warned_of(reading) -> None:
    many = models(300, classes=[f"class-{number}" for number in range(50)])
    settings = {"exporter": {"caps": {"models": 300, "series": 2_000_000}}, "prometheus": {"scrape_interval": "1s"}}
    found = reading(many, **settings)
    (said,) = problems(found)
    assert said.startswith("prometheus.scrape_interval: a scrape of ")
    (warned,) = warnings(found)
    assert warned.startswith("exporter.caps.series: up to 2,000,000 series are let through")
    assert "scrape_interval to 20s" in warned


def test_the_most_series_of_the_judge_are_no_less_than_it_says_of_a_version() -> None:
    drift = spec.Drift.model_validate({"reference": "r", "features": {"a": "numeric", "b": "categorical"}})
    said = {
        (metric.name, feature, method)
        for feature, methods in (("a", ("ks", "psi")), ("b", ("psi",)))
        for method in methods
        for metric in (
            metrics.DRIFT_VOTE,
            metrics.DRIFT_STATISTIC,
            metrics.DRIFT_P_VALUE,
            metrics.DRIFT_EFFECT,
            metrics.DRIFT_SMALLEST_SEEN,
        )
    }
    assert len(said) < scrape_size.drift_series(drift)


def test_of_a_fleet_on_kafka_what_waits_is_held_by_partitions(reading) -> None:
    kafka = {"brokers": ["kafka:9092"], "topics": ["events"], "max_waiting": 1000}
    exporter = {"label_retention": "1h", "max_waiting": 10, "kafka": kafka}
    busy = reading(models(1, requests_per_second=2.5), exporter=exporter)
    assert problems(busy) == []
    (said,) = warnings(busy)
    assert "9,000 predictions may wait, and 1,000 in each partition: with fewer than 9 partitions" in said
    assert warnings(reading(models(1, requests_per_second=0.25), exporter=exporter)) == []
    (unstated,) = warnings(reading([{"name": "m"}], exporter=exporter))
    assert "1,000 hold 0.278/s of one partition" in unstated
