"""Files of a scoring job: read whatever their kind, loaded once however often, also when they are hours old."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from exporters import event_files, loading
from exporters.events import lateness, recent_ids
from exporters.events.bodies import Refused
from exporters.events.ingest import Answer
from exporters.events.reasons import Reason
from exporters.events.store import Store
from midwatch.errors import MidwatchError
from midwatch.spec import model as spec
from tests.conftest import midwatch_here
from tests.exporters.test_service import exporter

HOUR = 3600.0
REQUESTS = 'ml_requests_total{model="churn",outcome="ok",version="v1"}'
OUTCOMES = 'ml_outcomes_total{actual="yes",model="churn",predicted="no",version="v1"}'


def events_of(path: Path, **reading) -> list[dict]:
    opened = event_files.open_file(path, event_files.Reading(**reading))
    return [json.loads(line) for piece in opened.pieces for line in piece.body.splitlines()]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return midwatch_here("exporter", "load", *arguments)


def scored(folder: Path, kind: str, *, count: int = 30, age: float = 6 * HOUR) -> Path:
    """A night's predictions with their labels, in each kind of file."""
    ts = time.time() - age
    rows = [{"id": f"n{number}", "ts": ts, "prediction": "no", "label": "yes"} for number in range(count)]
    path = folder / f"scored.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "csv":
        path.write_text("id,ts,prediction,label\n" + "".join(f"{r['id']},{ts},no,yes\n" for r in rows))
    else:
        common = {"model": "churn", "version": "v1", "ts": ts}
        pairs = [
            (
                {"event": "prediction", "id": r["id"], "prediction": "no"},
                {"event": "label", "id": r["id"], "label": "yes"},
            )
            for r in rows
        ]
        path.write_text("".join(json.dumps(common | event) + "\n" for pair in pairs for event in pair))
    return path


MODEL = ("--value", "model=churn", "--value", "version=v1")


@pytest.mark.parametrize("kind", ["parquet", "csv", "ndjson"])
def test_a_file_is_loaded_into_a_running_exporter_once_however_often(tmp_path: Path, kind: str) -> None:
    path = scored(tmp_path, kind)
    with exporter(tmp_path / "state") as made:
        url = f"http://127.0.0.1:{made.port}"
        first = run(path, "--url", url, "--json", *MODEL)
        assert first.returncode == 0, first.stderr
        document = json.loads(first.stdout)
        assert (document["accepted"], document["refused"]) == (60, 0)
        assert "60 events" in first.stderr
        again = json.loads(run(path, "--url", url, "--json", *MODEL).stdout)
        assert (again["accepted"], again["duplicates"]) == (0, 60)
        assert (made.metric(REQUESTS), made.metric(OUTCOMES)) == (30, 30)
        assert made.metric('ml_label_delay_seconds_sum{model="churn"}') == 0
    with exporter(tmp_path / "state") as made:
        again = json.loads(run(path, "--url", f"http://127.0.0.1:{made.port}", "--json", *MODEL).stdout)
        assert (again["accepted"], again["duplicates"]) == (0, 60)
        assert made.metric(REQUESTS) == 30


def test_a_file_is_loaded_into_the_state_of_an_exporter_that_is_stopped(tmp_path: Path) -> None:
    path, state = scored(tmp_path, "csv"), tmp_path / "state"
    done = run(path, "--state", state, *MODEL)
    assert done.returncode == 0, done.stderr
    assert "60 accepted, 0 known already" in done.stdout
    assert "0 accepted, 60 known already" in run(path, "--state", state, *MODEL).stdout
    with exporter(state) as made:
        assert (made.metric(REQUESTS), made.metric(OUTCOMES)) == (30, 30)
        busy = run(path, "--state", state, *MODEL)
        assert (busy.returncode, "in use by another exporter" in busy.stderr) == (2, True)


def test_what_is_refused_is_named_by_its_row_and_the_rest_is_kept(tmp_path: Path) -> None:
    now = time.time()
    path = tmp_path / "mixed.csv"
    path.write_text(f"id,model,version,ts,prediction\na,m,v,{now},1\n,m,v,{now},1\n\nb,m,v,{now - 30 * 24 * HOUR},1\n")
    done = run(path, "--state", tmp_path / "state", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["accepted"], document["refused"]) == (1, 1, 2)
    assert [(entry["row"], entry["reason"]) for entry in document["first_refused"]] == [(3, "invalid"), (5, "too_old")]
    assert document["reasons"] == {"invalid": 1, "too_old": 1}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "x", "ends in .parquet, .csv"),
        ("a.csv", "id,model\n1,m\n", "no column for ts; name it with --column ts=COLUMN"),
        ("a.csv", "id,model,ts\n1,m,1\n", "no column for prediction, and none for label"),
        ("a.csv", b"id,model,ts,label\n\xff,m,1,a\n", "not CSV in UTF-8"),
        ("a.parquet", "no", "not Parquet"),
        ("missing.csv", None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_used_ends_with_a_line(tmp_path: Path, name: str, content, said: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = run(path, "--state", tmp_path / "state")
    assert done.returncode == 2
    assert said in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_an_exporter_that_is_not_there_ends_with_a_line(tmp_path: Path) -> None:
    path = scored(tmp_path, "csv")
    done = run(path, "--url", "http://127.0.0.1:9", "--patience", "0", *MODEL)
    assert done.returncode == 2
    assert "takes no events" in done.stderr
    assert run(path, "--url", "127.0.0.1:9500", *MODEL).returncode == 2
    assert run(path, "--column", "id", *MODEL).returncode == 2
    assert "no field 'name'" in run(path, "--value", "name=x").stderr


def test_what_an_exporter_cannot_take_now_is_sent_again() -> None:
    with exporter_answering(
        [(503, {"error": "not durable"}), (503, {"error": "not durable"}), (200, {"accepted": 2})]
    ) as url:
        pauses: list[float] = []
        with loading.running(url, "secret", 60, pauses.append) as send:
            assert send(b"{}\n{}").accepted == 2
    assert pauses == [0.25, 0.5]


def exporter_answering(answers: list[tuple[int, dict]]):
    from contextlib import contextmanager
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    waiting = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/events?source=file"
            assert self.headers["authorization"] == "Bearer secret"
            self.rfile.read(int(self.headers["content-length"]))
            status, document = next(waiting)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    @contextmanager
    def serving():
        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    return serving()


def test_columns_of_a_table_become_fields_features_and_groups(tmp_path: Path) -> None:
    moment = datetime(2026, 11, 27, 3, tzinfo=UTC)
    row = {
        "key": 7,
        "when": moment,
        "answer": 1,
        "score": 0.75,
        "rank": 3.0,
        "features.amount": 12.5,
        "features.country": "NO",
        "groups.country": "NO",
        "unused": "x",
    }
    parquet.write_table(
        pa.Table.from_pylist([row, row | {"score": None, "rank": None, "features.amount": float("nan")}]),
        tmp_path / "a.parquet",
    )
    names = {"id": "key", "ts": "when", "prediction": "answer"}
    first, second = events_of(tmp_path / "a.parquet", columns=names, values={"model": "m", "version": "v"})
    common = {"event": "prediction", "id": "7", "model": "m", "version": "v", "ts": "2026-11-27T03:00:00+00:00"}
    rest = {"prediction": 1, "groups": {"country": "NO"}}
    assert type(first["rank"]) is int
    assert first == common | rest | {"score": 0.75, "rank": 3, "features": {"amount": 12.5, "country": "NO"}}
    assert second == common | rest | {"features": {"country": "NO"}}


def test_rows_are_predictions_labels_errors_or_what_their_event_says(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "\ufeffevent,id,model,version,ts,outcome,prediction,label,label_ts\n"
        ",a,m,v,1,,007,,\n,b,m,v,1,error,,,\n,c,m,v,1,,true,x,2\nlabel,d,m,v,1,,ignored,x,\n,e,m,v,1,,,,\n"
    )
    assert [
        (made["event"], made["id"], made.get("prediction", made.get("label")), made.get("ts"))
        for made in events_of(path)
    ] == [
        ("prediction", "a", "007", 1),
        ("prediction", "b", None, 1),
        ("prediction", "c", True, 1),
        ("label", "c", "x", 2),
        ("label", "d", "x", 1),
        ("prediction", "e", None, 1),
    ]
    labels = tmp_path / "labels.csv"
    labels.write_text("id,model,ts,label\na,m,1,x\nb,m,1,\n")
    assert [made["id"] for made in events_of(labels)] == ["a"]


def test_a_time_without_a_zone_is_utc_only_when_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,model,ts,label\na,m,2026-11-27 03:00:00,x\n")
    assert events_of(path)[0]["ts"] == "2026-11-27 03:00:00"
    assert events_of(path, is_utc=True)[0]["ts"] == "2026-11-27T03:00:00Z"
    naive = {"id": "a", "model": "m", "ts": datetime(2026, 11, 27, 3), "label": "x"}  # noqa: DTZ001 - what is tested
    parquet.write_table(pa.Table.from_pylist([naive]), tmp_path / "a.parquet")
    assert events_of(tmp_path / "a.parquet", is_utc=True)[0]["ts"] == "2026-11-27T03:00:00+00:00"
    in_nanoseconds = pa.table(
        {"id": ["a"], "model": ["m"], "label": ["x"], "ts": pa.array([10**18], pa.timestamp("ns"))}
    )
    parquet.write_table(in_nanoseconds, tmp_path / "ns.parquet")
    assert events_of(tmp_path / "ns.parquet", is_utc=True)[0]["ts"] == "2001-09-09T01:46:40+00:00"


def test_pieces_are_bounded_and_know_the_rows_they_are_of(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"{}\n\n" * 1500 + b'{"x":"' + b"y" * event_files.PIECE + b'"}\n{}\n')
    opened = event_files.open_file(path, event_files.Reading())
    pieces = list(opened.pieces)
    assert [len(piece.rows) for piece in pieces] == [1000, 500, 1, 1]
    assert (pieces[0].rows[1], pieces[2].rows, pieces[3].rows) == (3, [3001], [3002])
    assert pieces[-1].position == opened.size
    summary = loading.Summary()
    summary.add(Answer(refused=[Refused(2, Reason.INVALID, "no id")]), pieces[0].rows)
    assert summary.first_refused == [{"row": 3, "reason": "invalid", "message": "no id"}]


# What comes late without a file ------------------------------------------------------------------------------------


def night_job(identifier: str, age: float, model: str = "churn") -> dict:
    ts = time.time() - age
    return {"event": "prediction", "id": identifier, "model": model, "version": "v1", "ts": ts, "prediction": "no"}


def test_events_that_are_hours_old_are_taken_where_the_model_says_so(tmp_path: Path, make_document) -> None:
    churn = {"name": "churn", "owner": "ml", "task": "classification", "too_old": "12h"}
    document = make_document()
    document["models"].append(churn)
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    with exporter(tmp_path / "s", "-f", str(tmp_path / "platform.yaml")) as made:
        status, answer = made.events(
            night_job("a", 11 * HOUR), night_job("b", 13 * HOUR), night_job("c", 2 * HOUR, "fraud")
        )
        assert (status, answer["accepted"]) == (422, 1)
        assert [(entry["line"], entry["reason"]) for entry in answer["refused"]] == [(2, "too_old"), (3, "too_old")]
        assert made.events(night_job("a", 11 * HOUR))[1]["duplicates"] == 1
        assert made.metric(REQUESTS) == 1


def test_an_id_is_remembered_for_as_long_as_its_model_may_be_late(tmp_path: Path, make_platform) -> None:
    models = make_platform(
        models=[
            {"name": "churn", "owner": "ml", "task": "classification", "too_old": "12h"},
            {"name": "spam", "owner": "ml", "task": "classification", "remember": "2h", "too_old": "30m"},
            {"name": "fraud", "owner": "ml", "task": "classification"},
        ]
    ).models
    settings = spec.Exporter(remember=HOUR, future=300.0)
    late = lateness.Lateness(settings, models)
    assert [late.too_old(name) for name in ("churn", "spam", "fraud", "other")] == [12 * HOUR, 1800, HOUR, HOUR]
    assert [late.horizon(name) - 300 for name in ("churn", "spam", "fraud")] == [12 * HOUR, 2 * HOUR, HOUR]
    week = 7 * 24 * HOUR
    assert {late.too_old(name, loaded=True) for name in ("churn", "spam", "other")} == {week}
    ids = recent_ids.RecentIds(late.horizons())
    ids.extend([1], late.horizon("churn"))
    ids.extend([2], late.horizon("fraud"))
    ids.extend([3], late.horizon("fraud", loaded=True))
    for hour in range(200):
        ids.forget(hour * HOUR)
        if hour == 12:
            assert ids.known([1, 2, 3]) == {1, 3}
        if hour == 167:
            assert ids.known([1, 2, 3]) == {3}
    assert ids.known([1, 2, 3]) == set() or len(ids) == 1
    again = recent_ids.RecentIds(late.horizons())
    for generation in ids.generations():
        again.restore(generation, 0.0)
    assert again.known([1, 2, 3]) == ids.known([1, 2, 3])


def test_ids_of_the_previous_release_and_of_a_horizon_that_is_gone_are_still_known() -> None:
    ids = recent_ids.RecentIds([100.0, 1000.0])
    packed = (7).to_bytes(8, "little")
    ids.restore(recent_ids.Generation(50.0, packed), 60.0)
    ids.restore(recent_ids.Generation(0.0, (8).to_bytes(8, "little"), 500.0), 60.0)
    ids.restore(recent_ids.Generation(0.0, (9).to_bytes(8, "little"), 5000.0), 60.0)
    assert ids.known([7, 8, 9]) == {7, 8, 9}
    ids.forget(200.0)
    assert ids.known([7, 8, 9]) == {8, 9}


def test_a_model_that_forgets_before_it_refuses_is_a_problem_of_the_platform_file(make_platform) -> None:
    model = {"name": "churn", "owner": "ml", "task": "classification", "too_old": "2h", "remember": "1h"}
    with pytest.raises((MidwatchError, ValueError), match="counted twice"):
        make_platform(models=[model])


def test_what_a_file_brought_is_remembered_over_a_restart(tmp_path: Path, make_platform) -> None:
    models = make_platform().models
    path = scored(tmp_path, "ndjson", count=3)
    with loading.state_folder(tmp_path / "s", spec.Exporter(), tuple(models), None) as send:
        assert send(path.read_bytes()).accepted == 6
    store = Store(tmp_path / "s", spec.Exporter(), models)
    now = time.time()
    for hours in range(1, 30):
        store.state.recent_ids.forget(now + hours * HOUR)
    assert len(store.state.recent_ids) == 6
    store.journal.close()
