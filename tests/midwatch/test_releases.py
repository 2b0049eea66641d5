"""`midwatch upgrade check`, and the releases that it knows: what each had, and what it left on a disk.

MIDWATCH_REFRESH=1 writes what the release that is being made has. What it leaves on a disk stands in tests/releases;
that folder is made once for each release, by the same, and is not made again.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import midwatch
from exporters.events import store
from exporters.events.store import Store
from midwatch import evidence, releases
from midwatch.app.upgrade import forms, present
from midwatch.client import events
from midwatch.errors import MidwatchError
from midwatch.releases import Release
from midwatch.spec import model as spec
from midwatch.spec.canary import Canary
from midwatch.spec.drift import Feature
from monitors.canary import counts_file
from monitors.canary.counts import Counts
from monitors.drift import fitting, reference_file
from tests.conftest import midwatch_here, platform_document

LEFT = Path(__file__).parents[1] / "releases"
"""A folder for each release: a platform file, a state, a reference, a log of evidence and counts of a canary."""
CANARY = Canary(criteria=[{"metric": "errors"}])
KEY = b"0123456789abcdef"
EVENTS = [
    events.Prediction(id="a", model="fraud", version="v1", ts=1_800_000_000.0, prediction="yes", duration_seconds=0.1),
    events.Prediction(id="b", model="fraud", version="v1", ts=1_800_000_001.0, prediction="no"),
    events.Label(id="a", model="fraud", label="yes", ts=1_800_000_002.0),
]


def leave(folder: Path) -> None:
    """Write what this release leaves on a disk."""
    (folder / "state").mkdir(parents=True)
    store = Store(folder / "state", spec.Exporter())
    for number, event in enumerate(EVENTS):
        frame = store.encode(1_800_000_003.0 + number, [event])
        store.append(frame)
        store.applied(1_800_000_003.0 + number, [event], len(frame))
        if number == 1:
            store.snapshot(1_800_000_004.0)
            store._join_snapshot()
    store.journal.close()
    (folder / "state" / "lock").unlink(missing_ok=True)
    random = np.random.default_rng(1)
    columns = {"amount": random.normal(size=400), "zone": ["ab"[number] for number in random.integers(0, 2, 400)]}
    kinds = {"amount": Feature.NUMERIC, "zone": Feature.CATEGORICAL}
    reference_file.save(fitting.fit(columns, kinds, window_rows=100), folder / "fraud.npz")
    log = evidence.Log(folder / "evidence.jsonl", key=KEY)
    for is_met in (True, False):
        log.append("drill", name="recovery", met=is_met)
    counts = Counts(
        model="fraud",
        baseline="v1",
        canary="v2",
        start=1_800_000_000.0,
        interval=15.0,
        baseline_requests=np.array([10, 20]),
        canary_requests=np.array([1, 2]),
    )
    (folder / "counts.json").write_text(json.dumps(counts_file.document(counts, CANARY)))
    document = platform_document()
    document["models"][0]["drift"] = {
        "features": {"amount": "numeric", "zone": "categorical"},
        "reference": "fraud.npz",
    }
    (folder / "platform.yaml").write_text(yaml.safe_dump(document))


def test_what_this_release_has_is_recorded() -> None:
    now = present.release()
    file = Path(releases.__file__).parent / f"{now.name}.json"
    if os.environ.get("MIDWATCH_REFRESH"):
        file.write_text(now.text())
        releases.names.cache_clear()
        if not (LEFT / now.name).exists():
            leave(LEFT / now.name)
    hint = "MIDWATCH_REFRESH=1 pytest tests/midwatch/test_releases.py writes it anew; review the difference"
    assert file.read_text() == now.text(), hint
    assert (LEFT / now.name).is_dir(), hint


@pytest.mark.parametrize("name", releases.names())
def test_no_key_and_no_metric_of_a_release_is_gone_without_a_replacement(name: str) -> None:
    then, now = releases.read(name), present.release()
    keys = {f"{place}.{key}".lstrip(".") for place, names in then.keys.items() for key in names}
    known = {f"{place}.{key}".lstrip(".") for place, names in now.keys.items() for key in names}
    assert keys - known <= releases.replaced_keys(name).keys()
    gone = then.metrics.keys() - now.metrics.keys()
    assert gone <= releases.replaced_metrics(name).keys()
    assert {releases.replaced_metrics(name)[metric] for metric in gone} <= now.metrics.keys()


@pytest.fixture(params=releases.names())
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What a release has left, in a folder where it may go on."""
    return Path(shutil.copytree(LEFT / request.param, tmp_path / "left"))


def test_what_each_release_left_opens_and_goes_on(left: Path) -> None:
    state = Store(left / "state", spec.Exporter())
    series = state.state.counters.versions["fraud", "v1"]
    assert (series.ok, series.outcomes) == (2, {"yes": {"yes": 1}})
    state.close(1_800_000_010.0)
    assert sorted(reference_file.load(left / "fraud.npz").features) == ["amount", "zone"]
    log = left / "evidence.jsonl"
    evidence.Log(log, key=KEY).append("drill", name="recovery", met=True)
    verified = evidence.verify(log, key=KEY)
    assert (verified.records, verified.problems) == (3, ())
    counts, settings = counts_file.load(left / "counts.json")
    assert (counts.canary_requests.tolist(), settings) == ([1, 2], CANARY)


def checked(*words: object) -> tuple[int, dict[str, Any]]:
    done = midwatch_here("upgrade", "check", "--json", *words)
    return done.returncode, json.loads(done.stdout) if done.stdout else {"error": done.stderr}


def test_what_each_release_left_is_found_and_opens(left: Path) -> None:
    before = {path: path.read_bytes() for path in left.rglob("*") if path.is_file()}
    code, document = checked("-f", left / "platform.yaml", left)
    assert (code, document["problems"]) == (0, [])
    found = {Path(one["path"]).name: one["kind"] for one in document["files"]}
    assert found == {
        "state": "state of an exporter",
        "fraud.npz": "reference of drift",
        "evidence.jsonl": "log of evidence",
        "counts.json": "counts of a canary",
    }
    assert before == {path: path.read_bytes() for path in left.rglob("*") if path.is_file()}, "it only looks"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "state/snapshot-*.log",
            b"midwatch-snapshot 2",
            b"midwatch-snapshot 3",
            "midwatch-snapshot 3, of a later release",
        ),
        ("state/snapshot-*.log", b"midwatch-snapshot 2\n", b"", "damaged"),
        ("state/journal-*.log", b"midwatch-journal 1", b"midwatch-journal 7", "it is no midwatch-journal 1"),
        ("counts.json", b"counts/1", b"counts/2", "counts"),
        ("fraud.npz", b"head", b"hand", "not a drift reference"),
        ("fraud.npz", b"PK", b"", "not a drift reference"),
        ("evidence.jsonl", b"{", b"", "its first line is no JSON"),
        ("state/head", b"2", b"two", "the file head is damaged"),
        ("state/head", b"2", b"3", "segment 3 was written, and the last that is there is 2"),
    ],
    ids=[
        "a later snapshot",
        "a damaged snapshot",
        "a later journal",
        "later counts",
        "no reference",
        "a reference that is no archive",
        "a damaged log",
        "a damaged head",
        "a missing segment",
    ],
)
def test_what_does_not_open_is_said_with_its_reason(
    left: Path, name: str, old: bytes, new: bytes, message: str
) -> None:
    file = max(left.glob(name))
    file.write_bytes(file.read_bytes().replace(old, new))
    code, document = checked("-f", left / "platform.yaml", left)
    assert code == 1
    assert any("does not open" in one["message"] and message in one["message"] for one in document["problems"])


def test_a_state_without_the_segment_after_its_snapshot_does_not_open(left: Path) -> None:
    max((left / "state").glob("journal-*.log")).unlink()
    code, document = checked("-f", left / "platform.yaml", left / "state")
    assert code == 1
    assert "which follows the snapshot, is missing" in document["problems"][0]["message"]


def test_what_was_not_looked_at_is_said(left: Path) -> None:
    done = midwatch_here("upgrade", "check", "-f", left / "platform.yaml")
    assert done.returncode == 0
    assert "none was looked at" in done.stderr


def test_an_exporter_names_the_later_release_that_wrote_its_state(left: Path) -> None:
    (file,) = (left / "state").glob("snapshot-*.log")
    file.write_bytes(file.read_bytes().replace(store.MAGIC, b"midwatch-snapshot 12\n"))
    with pytest.raises(MidwatchError, match="midwatch-snapshot 12, of a later release, and this one reads"):
        Store(left / "state", spec.Exporter())


# Between two releases ------------------------------------------------------------------------------------------------


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> dict[str, Release]:
    """A release before this one, and this one, which has replaced a key and the name of a metric."""
    now = present.release()
    exporter = sorted({*now.keys["exporter"], "retention"} - {"label_retention"})
    earlier = replace(
        now,
        name="0.0.9",
        keys={place: keys for place, keys in now.keys.items() if place != "maintenance[]"} | {"exporter": exporter},
        metrics={name: labels for name, labels in now.metrics.items() if name != "ml_requests_total"}
        | {"ml_calls_total": ["model"], "ml_call_duration_seconds": []},
        forms=now.forms | {"reference of drift": "4"},
    )
    replaced = {"ml_calls_total": "ml_requests_total", "ml_call_duration_seconds": "ml_request_duration_seconds"}
    now = replace(now, replaced_keys={"exporter.retention": "write label_retention"}, replaced_metrics=replaced)
    recorded = {"0.0.9": earlier, now.name: now}
    monkeypatch.setattr(releases, "names", lambda: tuple(recorded))
    monkeypatch.setattr(releases, "read", recorded.__getitem__)
    return recorded


def test_a_key_that_was_replaced_is_told_with_what_replaces_it(
    two: dict[str, Release], tmp_path: Path, make_document
) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(make_document(exporter={"retention": "1h"})))
    code, document = checked("-f", file, "--from", "0.0.9")
    (problem,) = document["problems"]
    assert (code, problem["path"], problem["remedy"]) == (1, "exporter.retention", "write label_retention")
    assert "write label_retention" in midwatch_here("check", "-f", file).stderr


def test_metrics_that_changed_their_names_are_found_where_they_are_named(
    two: dict[str, Release], tmp_path: Path, make_document
) -> None:
    rule = {"alert": "A", "expr": "rate(ml_calls_total[5m]) > 1", "severity": "page", "owner": "ml", "summary": "s"}
    rules = [{"name": "own", "alerts": [rule | {"runbook": "https://x"}]}]
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(make_document(rules=rules)))
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "own.json").write_text('{"a": 1,\n "expr": "sum(ml_call_duration_seconds_bucket)"}')
    (tmp_path / "boards" / "other.json").write_text('{"expr": "my_ml_calls_total"}')
    code, document = checked("-f", tmp_path / "platform.yaml", tmp_path / "boards")
    found = [(Path(one["file"]).name, one["path"], one["line"], one["remedy"]) for one in document["problems"]]
    assert code == 1
    assert found[0][:2] == ("platform.yaml", "rules[0].alerts[0].expr")
    assert found[1] == ("own.json", "", 2, "write ml_request_duration_seconds_bucket")
    assert len(found) == 2


def test_going_back_says_what_it_would_lose(two: dict[str, Release], left: Path, make_document) -> None:
    document = yaml.safe_load((left / "platform.yaml").read_text())
    document["maintenance"] = [
        {"name": "m", "from": "2027-01-01T00:00:00Z", "to": "2027-01-01T01:00:00Z", "labels": {"owner": "ml"}}
    ]
    document["exporter"] = {"label_retention": "1h"}
    (left / "platform.yaml").write_text(yaml.safe_dump(document))
    code, answer = checked("-f", left / "platform.yaml", left, "--to", "0.0.9")
    said = [f"{one['path']}: {one['message']}" for one in answer["problems"]]
    assert code == 1
    assert "exporter.label_retention: 0.0.9 does not know this key, and refuses the file" in said
    assert any("does not open this reference of drift (5): lost is the reference" in one for one in said)
    assert any("0.0.9 has no ml_requests_total with the labels" in one for one in said)
    assert not any("state of an exporter" in one or "retention: write" in one for one in said)


def test_names_that_were_replaced_twice_lead_to_the_last(two: dict[str, Release]) -> None:
    name = midwatch.__version__
    later = replace(two[name], name="9.0.0", replaced_metrics={"ml_requests_total": "ml_answers_total"})
    two["9.0.0"] = later
    assert releases.replaced_metrics("0.0.9")["ml_calls_total"] == "ml_answers_total"
    assert releases.replaced_metrics(name) == {"ml_requests_total": "ml_answers_total"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--to", "0.0.1"), "there is no release '0.0.1'; recorded are"),
        (("--to", "0.1.0", "--from", "0.1.0"), "give one"),
        (("--to", ""), "there is no release ''"),
        (("--from", ""), "there is no release ''"),
        (("nowhere",), "there is no such file or folder"),
        (("empty",), "it has no state"),
        (("empty/state.bin",), "it has no state"),
    ],
    ids=["an unknown release", "both", "no release", "none before", "no path", "an empty folder", "another file"],
)
def test_what_cannot_be_checked_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(platform_document()))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/state.bin").write_bytes(bytes(99))
    monkeypatch.chdir(tmp_path)
    code, document = checked("-f", tmp_path / "platform.yaml", *words)
    assert (code, message in document["error"]) == (2, True)


def test_every_kind_of_file_is_recorded_by_every_release() -> None:
    for name in releases.names():
        assert releases.read(name).forms.keys() == {kind.name for kind in forms.KINDS}
