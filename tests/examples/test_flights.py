"""The flights example is honest: no leak, a fault only where it is said, labels only for flights that landed."""

from __future__ import annotations

import importlib
import json
import pickle
import queue
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from midwatch.spec import load
from monitors.drift import trigger
from tests.conftest import midwatch_here

FOLDER = Path("examples/flights").resolve()


NAMES = (
    "data",
    "features",
    "mlflow_rest",
    "replay",
    "retrainer",
    "retraining",
    "rollout",
    "serve",
    "train",
    "warehouse",
)


@pytest.fixture
def modules(monkeypatch):
    """A module of the example by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def test_nothing_that_is_known_only_after_the_departure_is_a_feature(modules) -> None:
    data = modules("data")
    assert not {"dep_delay", "dep_time", "arr_time", "arr_delay", "air_time", "late"} & set(data.FEATURES)


def test_flights_are_in_order_and_the_replay_starts_after_the_training(modules) -> None:
    data = modules("data")
    table = data.load()
    assert table["departs"].is_monotonic_increasing
    training = table[table["month"].isin(data.TRAINING_MONTHS)]
    assert training["departs"].max() < table[~table["month"].isin(data.TRAINING_MONTHS)]["departs"].min()


def test_flights_that_never_arrived_have_no_label(modules) -> None:
    data = modules("data")
    table = data.load()
    assert 0.02 < table["late"].isna().mean() < 0.04
    assert table[table["landed_minutes"].isna()]["late"].isna().all()


@pytest.mark.parametrize("seconds", [36.0, 46.0, 96.0, 136.0])
def test_the_fault_is_exactly_within_its_window_and_touches_only_what_has_a_unit(modules, seconds: float) -> None:
    data, features, replay = modules("data"), modules("features"), modules("replay")
    known = dict.fromkeys(data.FEATURES, 10.0)
    story = replay.story_of(seconds)
    begin, end = story.metric
    assert features.of_flight(known, story.release_at(begin - 1e-9)) == known
    assert story.release_at(end) == features.IMPERIAL
    faulty = features.of_flight(known, story.release_at(begin))
    assert faulty["visib"] == pytest.approx(16.09344)
    touched = {"temp", "wind_speed", "visib", "precip", "distance"}
    assert {name for name in known if faulty[name] != known[name]} == touched
    assert features.of_flight(dict.fromkeys(data.FEATURES), features.METRIC) == dict.fromkeys(data.FEATURES)


def test_a_table_of_flights_has_the_units_that_each_flight_has(modules) -> None:
    data, features = modules("data"), modules("features")
    rows = data.load().head(50)
    table = features.of_table(rows, features.METRIC)
    for known, computed in zip(rows.to_dict("records"), table.to_dict("records"), strict=True):
        wanted = features.of_flight(known, features.METRIC)
        assert [computed[name] for name in data.NUMERIC] == pytest.approx(
            [wanted[name] for name in data.NUMERIC], nan_ok=True
        )


def test_only_a_run_that_is_long_enough_keeps_the_units_so_that_a_retraining_is_asked_for(modules) -> None:
    replay = modules("replay")
    drift = load.load_platform(FOLDER / "platform.yaml").models[0].drift
    longest = (drift.retrain.windows - 2) * drift.window  # so long a fault is in one window less than a trigger takes
    for seconds in (36.0, 46.0, 96.0, 119.0):
        begin, end = replay.story_of(seconds).metric
        assert 0 < end - begin < longest, seconds
    assert replay.story_of(replay.LOOP_SECONDS).metric[1] == float("inf")
    assert replay.story_of(replay.ENDLESS_SECONDS) == replay.CALM


@pytest.mark.parametrize("seconds", [46.0, 136.0])
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_version_gets_its_share_only_while_it_is_a_canary(modules, version: str, seconds: float) -> None:
    replay = modules("replay")
    router = replay.Router(replay.story_of(seconds), None)
    begin, end = replay.story_of(seconds).canaries[version]
    before = {router.version_at(index, begin - 1e-9) for index in range(100)}
    during = [router.version_at(index, begin) for index in range(1000)]
    after = {router.version_at(index, end) for index in range(100)}
    assert before == after == {"v1"}
    assert during.count(version) == pytest.approx(1000 * replay.CANARY_SHARE, abs=5)


def test_a_rollout_says_which_share_of_the_traffic_the_new_version_gets(modules, tmp_path: Path) -> None:
    replay, rollout = modules("replay"), modules("rollout")
    router = replay.Router(replay.story_of(136.0), tmp_path)
    for share, wanted in ((0.4, 400), (1.0, 1000), (0.0, 0)):
        rollout.write_shares(tmp_path, {"v4": share})
        router.look()
        versions = [router.version_at(index, 60.0) for index in range(1000)]
        assert versions.count("v4") == pytest.approx(wanted, abs=5)
        assert versions.count("v1") == 1000 - versions.count("v4")


def test_the_platform_file_has_no_problems() -> None:
    checked = midwatch_here("check", "-f", FOLDER / "platform.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


# The retraining ----------------------------------------------------------------------------------------------------


class Planted:
    """What unpickles as a call."""

    def __reduce__(self):
        return exec, ("raise SystemExit('run')",)


def test_a_models_file_that_names_other_code_is_refused_and_not_run(modules) -> None:
    retraining = modules("retraining")
    with pytest.raises(retraining.RefusedError, match=r"builtins\.exec"):
        retraining.scan(pickle.dumps(Planted()))


def rows(features, data, count: int, *, release: str, right: bool) -> list[dict[str, Any]]:
    """Rows of the warehouse: flights before September, and answers of a champion that are all right, or all wrong."""
    found = data.training().sample(count, random_state=1).to_dict("records")
    return [
        {
            "id": str(number),
            "at": float(number),
            "version": "v1",
            "release": release,
            "features": features.of_flight(flight, release),
            "prediction": "late" if bool(flight["late"]) == right else "on_time",
            "late": bool(flight["late"]),
        }
        for number, flight in enumerate(found)
    ]


@pytest.fixture
def stopped_by(modules, monkeypatch, tmp_path: Path):
    """What the pipeline is stopped by, and what it wrote down, for rows in the warehouse."""
    retraining, warehouse, features = modules("retraining"), modules("warehouse"), modules("features")
    train, data = modules("train"), modules("data")

    def ask(kept: list[dict[str, Any]], release: str) -> tuple[str, dict[str, str]]:
        writer = warehouse.Writer(tmp_path)
        for row in kept:
            writer.add(row)
        writer.close()
        features.bring_out(tmp_path, release)
        mlflow = Recorded()
        few = data.training().head(4000)
        monkeypatch.setattr(data, "training", lambda: few)
        monkeypatch.setattr(retraining, "_begin_reference", lambda _rows: None)
        fit = train.fit
        monkeypatch.setattr(train, "fit", lambda version, table: fit(version, table.head(3000)))
        with pytest.raises(retraining.RefusedError) as stopped:
            retraining.Retraining(mlflow, tmp_path, "e1", "r1").run()
        return str(stopped.value), mlflow.tags

    return ask


class Recorded:
    """Stands for MLflow: keeps the tags of the run and how it ended; nothing may be registered."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def experiment(self, name: str) -> str:
        return "1"

    def start_run(self, experiment: str, name: str, tags: dict[str, str]) -> object:
        self.tags |= tags
        return object()

    def tag_run(self, run: object, key: str, value: str) -> None:
        self.tags[key] = value

    def log_metrics(self, *_: object, **__: object) -> None:
        """Kept by nobody."""

    log_dataset = log_metrics

    def end_run(self, run: object, status: str) -> None:
        self.tags["status"] = status


def test_too_few_rows_since_the_drift_began_train_nothing(modules, stopped_by) -> None:
    features, data = modules("features"), modules("data")
    said, tags = stopped_by(rows(features, data, 200, release="metric", right=False), "metric")
    assert "1500 are needed" in said
    assert tags["midwatch.episode"] == "e1"
    assert tags["midwatch.data_validation"].startswith("failed")
    assert tags["status"] == "FAILED"


def test_rows_that_are_served_in_other_units_than_they_are_trained_on_train_nothing(modules, stopped_by) -> None:
    features, data = modules("features"), modules("data")
    served = [row | {"release": "metric"} for row in rows(features, data, 2000, release="imperial", right=False)]
    said, _ = stopped_by(served, "metric")
    assert "served otherwise than it is trained on" in said


def test_a_version_that_is_no_better_than_the_champion_is_not_registered(modules, stopped_by) -> None:
    features, data = modules("features"), modules("data")
    said, tags = stopped_by(rows(features, data, 2000, release="metric", right=True), "metric")
    assert "not better on" in said
    assert tags["midwatch.data_validation"] == "passed"
    assert tags["midwatch.evaluation"].startswith("failed")
    assert tags["status"] == "FAILED"


@pytest.fixture
def retrainer(modules, monkeypatch, tmp_path: Path):
    """Address of a retrainer, and the episodes that it has begun a run for."""
    module = modules("retrainer")
    begun: queue.Queue[str] = queue.Queue()

    class Run:
        def __init__(self, _mlflow: object, _folder: Path, episode: str, _request: str) -> None:
            self._episode = episode

        def run(self) -> str:
            begun.put(self._episode)
            return "4"

    monkeypatch.setattr(module.retraining, "Retraining", Run)
    server = ThreadingHTTPServer(("127.0.0.1", 0), module.handler(module.Runs(None, tmp_path), b"secret"))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/retrain", begun
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_trigger_is_answered_with_an_id_and_the_same_one_again_starts_nothing(retrainer) -> None:
    url, begun = retrainer
    ids = [json.loads(sent(url, b'{"episode": "e1"}', b"secret").data)["eventID"] for _ in range(2)]
    other = sent(url, b'{"episode": "e2"}', b"secret")
    assert other.status == 202
    assert ids[0] == ids[1] != json.loads(other.data)["eventID"]
    assert [begun.get(timeout=60), begun.get(timeout=60)] == ["e1", "e2"]
    assert begun.empty()


@pytest.mark.parametrize(
    ("body", "secret", "status"),
    [(b'{"episode": "e1"}', b"another", 401), (b"{}", b"secret", 400), (b"[]", b"secret", 400), (b"", b"secret", 413)],
    ids=["not signed by us", "no episode", "no object", "nothing"],
)
def test_what_is_no_trigger_of_ours_starts_nothing(retrainer, body: bytes, secret: bytes, status: int) -> None:
    url, begun = retrainer
    assert sent(url, body, secret).status == status
    assert begun.empty()


def sent(url: str, body: bytes, secret: bytes) -> urllib3.BaseHTTPResponse:
    headers = {"X-Hub-Signature-256": trigger.signature(secret, body)}
    return urllib3.PoolManager().request("POST", url, body=body, headers=headers, retries=False)
