"""What people and other programs see of a run: the page, the annotation, the pushed metrics."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from chaos import check, display, experiments, report
from chaos.run import publish, verdict
from midwatch.spec.chaos import Chaos, Grafana
from midwatch.spec.model import Platform
from tests.chaos.conftest import small_document


def result(**changes: Any) -> dict[str, Any]:
    activities = [
        {
            "phase": phase,
            "type": "probe",
            "name": f"{phase} <b>x</b>",
            "good": phase != "after",
            "seconds": 1.5,
            "started_at": f"2026-11-25T03:00:0{index}+00:00",
            "said": {"met": True},
        }
        for index, phase in enumerate(("before", "method", "after"))
    ]
    document: dict[str, Any] = {
        "platform": "flights",
        "owner": "ml-serving",
        "experiment": "kill-replica",
        "kind": "kill_replica",
        "model": "flight-delay",
        "verdict": "deviated",
        "reasons": ["after it, <script>alert(1)</script>"],
        "run": "r1",
        "started_at": "2026-11-25T03:00:00.000Z",
        "seconds": 12.5,
        "hit": ["a"],
        "candidates": ["a", "b"],
        "blast_radius": "one",
        "expected_alert": "A",
        "refused": False,
        "stopped": "",
        "seconds_to_clean": 0.02,
        "problems": [],
        "clean": True,
        "guards": [{"guard": "g", "allowed": True, "reason": "fine"}],
        "activities": activities,
        "evidence": "/e",
        "evidence_head": {"seq": 9, "hash": "ff"},
        "folder": "/f",
        "exit": 1,
    }
    return document | changes


def test_what_a_run_says_is_no_markup_on_its_page(tmp_path: Path) -> None:
    report.write(tmp_path / "page.html", result())
    page = (tmp_path / "page.html").read_text()
    assert "<script>alert" not in page
    assert "<li>after it, &lt;script&gt;alert(1)&lt;/script&gt;</li>" in page


@pytest.mark.parametrize(
    ("changes", "meaning", "todo"),
    [
        ({}, "did not take the fault as it was expected", "midwatch chaos run kill-replica"),
        ({"verdict": "held"}, "took the fault as it was expected", "Nothing;"),
        ({"verdict": "inconclusive"}, "Nothing is proven", "Mend what is said below"),
        ({"clean": False}, "Something of the fault may still be there", "midwatch chaos stop"),
        ({"refused": True, "clean": False, "activities": []}, "Nothing was injected", "Mend what the precondition"),
    ],
    ids=["deviated", "held", "inconclusive", "not clean", "refused"],
)
def test_a_page_says_what_the_run_means_and_what_to_do(
    changes: dict[str, Any], meaning: str, todo: str, tmp_path: Path
) -> None:
    report.write(tmp_path / "page.html", result(**changes))
    page = (tmp_path / "page.html").read_text()
    assert re.search(f'<p class="meaning">[^<]*{meaning}', page)
    assert re.search(f'<p class="todo">[^<]*{todo}', page)


def test_a_page_cuts_nothing_off_speaks_no_python_and_says_whose_it_is(tmp_path: Path) -> None:
    name = "the model answers " + "as it did before the fault, " * 8
    said = {"met": True, "short": ["availability"], "alert": None, "share": 0.25}
    activity = {**result()["activities"][0], "name": name, "said": said}
    report.write(tmp_path / "page.html", result(activities=[activity], expected_alert=""))
    page = html.unescape((tmp_path / "page.html").read_text())
    assert name in page
    assert "met: yes, short: availability, alert: nothing, share: 0.25" in page
    for name, value in (("Model", "flight-delay"), ("Platform", "flights"), ("Owner", "ml-serving")):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page
    assert not re.findall(r"…|None\b|True\b|False\b|\{'", page)


def test_why_a_run_deviated_is_said_in_whole_words() -> None:
    output = {"answer": "x" * 300, "met": False}
    probe = {"activity": {"name": "p"}, "status": "succeeded", "output": output, "tolerance_met": False}
    journal: Any = {
        "status": "failed",
        "deviated": True,
        "steady_states": {
            "before": {"steady_state_met": True, "probes": []},
            "after": {"steady_state_met": False, "probes": [probe]},
        },
        "run": [],
        "rollbacks": [],
    }
    judged = verdict.judge(journal, stopped="", deviation=False, problems=[], within=lambda *_: True)
    text = " ".join(judged.reasons)
    assert f"answer: {'x' * 300}, met: no" in text


def test_clean_is_said_to_people_only_when_it_was_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for clean, said in ((True, "clean after 0.020 s"), (False, "NOT seen to be clean")):
        one = result(clean=clean, problems=[] if clean else ["a fault stays"])
        display.show_result(one)
        assert said in capsys.readouterr().out
        report.write(tmp_path / "page.html", one)
        assert ("Not seen to be clean" in (tmp_path / "page.html").read_text()) is not clean


@pytest.fixture
def web() -> Iterator[SimpleNamespace]:
    """Takes whatever it is sent."""
    seen = SimpleNamespace(requests=[], status=200)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.requests.append((self.command, self.path, dict(self.headers), body.decode()))
            self.send_response(seen.status)
            self.send_header("content-length", "0")
            self.end_headers()

        do_PUT = do_POST  # noqa: N815 - what BaseHTTPRequestHandler calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    seen.url = f"http://127.0.0.1:{server.server_port}"
    yield seen
    server.shutdown()
    server.server_close()


def place(tmp_path: Path, url: str) -> Any:
    (tmp_path / "token").write_text("t0ken\n")
    chaos = Chaos(grafana=Grafana(url=url, token_file=Path("token")), pushgateway=url)
    home = SimpleNamespace(folder=tmp_path, evidence=tmp_path / "evidence.jsonl")
    platform = SimpleNamespace(platform="flights", chaos=chaos)
    return SimpleNamespace(home=home, results=tmp_path, platform=platform, platform_file=tmp_path / "platform.yaml")


def test_a_run_is_an_annotation_in_grafana_and_pushed_metrics(tmp_path: Path, web: SimpleNamespace) -> None:
    there = place(tmp_path, web.url)
    assert publish.running(there, "kill-replica") == []
    assert publish.ended(there, result(verdict="held", reasons=[])) == []
    pushed = [one for one in web.requests if one[0] == "PUT"]
    assert {one[1] for one in pushed} == {"/metrics/job/midwatch-chaos/platform/flights"}
    assert 'chaos_experiment_running{experiment="kill-replica"} 1.0' in pushed[0][3]
    assert 'chaos_experiment_verdict{experiment="kill-replica",verdict="held"} 1.0' in pushed[1][3]
    assert pushed[1][3] == (tmp_path / "chaos.prom").read_text()
    (annotation,) = [one for one in web.requests if one[0] == "POST"]
    assert annotation[1] == "/api/annotations"
    assert annotation[2]["Authorization"] == "Bearer t0ken"
    body = json.loads(annotation[3])
    assert body["tags"] == ["chaos", "kill-replica", "held"]
    assert body["timeEnd"] - body["time"] == 12500


def test_a_refused_run_counts_as_none_and_keeps_what_was_known(tmp_path: Path, web: SimpleNamespace) -> None:
    there = place(tmp_path, web.url)
    publish.ended(there, result(verdict="deviated", problems=["a fault stays"], clean=False))
    before = json.loads((tmp_path / "results.json").read_text())["kill-replica"]
    publish.ended(there, result(verdict="inconclusive", refused=True))
    known = json.loads((tmp_path / "results.json").read_text())["kill-replica"]
    assert known == before, "a refused run has shown nothing: neither a verdict nor that all is clean"
    assert (known["verdict"], known["clean"], known["running"]) == ("deviated", False, False)
    publish.ended(there, result(experiment="never-run", refused=True))
    assert json.loads((tmp_path / "results.json").read_text())["never-run"] == {"running": False}


def test_failing_to_tell_is_said_and_no_failed_experiment(tmp_path: Path, web: SimpleNamespace) -> None:
    web.status = 500
    problems = publish.ended(place(tmp_path, web.url), result())
    assert [problem.rsplit(": ", 1)[1] for problem in problems] == ["500", "500"]
    problems = publish.ended(place(tmp_path, "http://127.0.0.1:1"), result())
    assert len(problems) == 2


def test_check_names_an_experiment_that_is_not_valid() -> None:
    files = experiments.render_files(Platform.model_validate(small_document()))
    assert list(check.check_files(files)) == []
    broken = {path: text.replace('"method"', '"methods"') for path, text in files.items()}
    assert len(list(check.check_files(broken))) == len(files)
