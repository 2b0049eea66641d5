"""Evidence of drills is what it claims: files, verdicts, and a log that was cut off with everything beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from dr import drill_log
from dr.drill import judged, ledger, verdict
from dr.drill_log import DrillLog
from dr.posture import exporter, gauges
from midwatch import anchors, evidence
from midwatch.errors import MidwatchError
from midwatch.evidence import Head
from midwatch.spec import load
from tests.conftest import midwatch_here, platform_document
from tests.dr.conftest import recovery_section
from tests.dr.test_lying_drills import OBJECTIVES, Story, story

RUNS = ("r1", "r2")


def ended(log: DrillLog, home: Path, run: str, told: Story, **changes: Any) -> dict[str, Any]:
    """Keep a drill that went as the story tells."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    (home / judged.OBSERVER).write_bytes(b"".join(map(ledger.line, told.facts)))
    (home / judged.RECOVERER).write_bytes(b"".join(map(ledger.line, told.events)))
    for name in ("injection.json", "journal.json", "experiment.json"):
        (home / name).write_text(json.dumps({"begun": told.begun, "effective": None}))
    facts_of_it = judged.Judged(
        run="r",
        objectives=OBJECTIVES,
        injection=told.injection,
        since=0,
        rows=told.rows,
        checks=list(told.checks),
        needs_recoverer=True,
        has_model=False,
    )
    facts_of_it.save(home)
    about = {"run": run, "drill": "lose-primary", "store": "store", "fault": "kill_primary", "what": "kill -9"}
    about |= {"configuration": "c", "seed": 1, "started_at": "2026-11-25T00:00:00+00:00", "duration_seconds": 9.0}
    about |= {"objectives": {"rto": 900.0, "rpo": 300.0}, "versions": {"midwatch": "x"}}
    return log.keep({**about, **verdict.document(facts_of_it.judge(home)), **changes}, home)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A platform with a signed log of two drills, whose heads are kept in a file elsewhere."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "key").write_text("8f" * 32)
    settings = {"folder": "evidence", "key_file": "key", "anchor_file": "elsewhere/heads.jsonl"}
    section = recovery_section(evidence=settings)
    (folder / "elsewhere").mkdir()
    (folder / "platform.yaml").write_text(yaml.safe_dump(platform_document(disaster_recovery=section)))
    log = opened(folder)
    for run in RUNS:
        log.append("drill-started", run=run)
        ended(log, folder / "home", run, story())
    return folder


@pytest.fixture
def platform(original: Path, tmp_path: Path) -> Path:
    """A copy of it that may be spoiled."""
    return Path(shutil.copytree(original, tmp_path / "platform"))


def opened(folder: Path) -> DrillLog:
    file = folder / "platform.yaml"
    return DrillLog.of(load.load_platform(file), file)


def report(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What `dr report` says, and the problems of the evidence."""
    done = midwatch_here("dr", "report", "-f", folder / "platform.yaml", "--json", *options)
    return done, json.loads(done.stdout)["evidence"]["problems"] if done.stdout else []


def test_a_report_of_untouched_evidence_is_whole(platform: Path) -> None:
    done, problems = report(platform)
    assert (done.returncode, problems) == (0, [])
    document = json.loads(done.stdout)
    assert [one["verdict"] for one in document["drills"]] == ["MET", "MET"]
    assert document["evidence"]["anchors"] == [str(platform / "elsewhere/heads.jsonl")]


def test_a_report_says_whose_it_is_and_cuts_nothing_off(platform: Path) -> None:
    document = json.loads(report(platform)[0].stdout)
    about = (document["platform"], document["owner"])
    assert about == (opened(platform).platform, "ml")
    shown = midwatch_here("dr", "report", "-f", platform / "platform.yaml", "--html", platform / "page.html")
    assert f"platform {about[0]}, owner {about[1]}\n" in shown.stdout
    page = (platform / "page.html").read_text()
    assert f"<dt>Platform</dt><dd>{about[0]}</dd>" in page
    assert f"<dt>Owner</dt><dd>{about[1]}</dd>" in page
    for drill in document["drills"]:
        assert drill["hash"] in shown.stdout
        assert drill["hash"] in page


LEFT = [*sorted(name for name in drill_log.KEPT if not name.endswith(".log")), "result.json"]


@pytest.mark.parametrize("how", ["changed", "emptied", "removed"])
@pytest.mark.parametrize("name", LEFT)
def test_a_file_of_a_drill_that_is_not_as_it_was_left_is_named(platform: Path, name: str, how: str) -> None:
    file = platform / "evidence" / "drills" / "r1" / name
    content = file.read_bytes()
    if how == "removed":
        file.unlink()
    else:
        file.write_bytes(b"" if how == "emptied" else content[:10] + bytes([content[10] ^ 1]) + content[11:])
    done, problems = report(platform)
    assert done.returncode == 1
    (problem,) = problems
    assert problem.startswith(f"{file}: "), problem


@pytest.mark.parametrize(
    "content", ["[]", "null", "{", '{"evidence": 1}', '{"evidence": {}}', "[" * 100_000, "\ufffd"], ids=str.__len__
)
def test_a_broken_result_gives_a_line_and_no_traceback(platform: Path, content: str) -> None:
    file = platform / "evidence" / "drills" / "r2" / "result.json"
    file.write_text(content)
    done, problems = report(platform)
    assert done.returncode == 1
    assert problems == [f"{file}: not the result of a drill"]
    shown = midwatch_here("dr", "report", "-f", platform / "platform.yaml", "--html", platform / "page.html")
    assert shown.returncode == 1
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize(
    "changes",
    [
        {"rto_seconds": "x"},
        {"writes": 7},
        {"phases": [{}]},
        {"run": None},
        {"verdict": "GOOD"},
        {"digests": []},
        {"bound": "x"},
        {"objectives": None, "bound": {}},
        {"objectives": {"rto": "soon"}},
        {"what": [], "owner": {}},
        {"duration_seconds": "x"},
        {"configuration": 5},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_record_that_somebody_changed_is_named_and_ends_no_report(platform: Path, changes: dict[str, Any]) -> None:
    log = opened(platform).chain.path
    lines = log.read_text().splitlines()
    document = json.loads(lines[1])
    document["data"] |= changes
    lines[1] = json.dumps(document, sort_keys=True, separators=(",", ":"))
    log.write_text("\n".join(lines) + "\n")
    done, problems = report(platform)
    assert (done.returncode, len(json.loads(done.stdout)["drills"])) == (1, 1)
    assert f"{log}:2: record 1 is not what was written, or the key is another" in problems
    shown = midwatch_here(
        "dr", "report", "-f", platform / "platform.yaml", "--html", platform / "page.html", "--compare"
    )
    assert (shown.returncode, "Traceback" in shown.stderr) == (1, False)
    status = midwatch_here("dr", "status", "-f", platform / "platform.yaml")
    assert "Traceback" not in status.stderr


def test_a_restore_that_somebody_changed_in_the_log_ends_no_look(platform: Path) -> None:
    log = opened(platform)
    for data in ({}, {"store": [], "point": 1.0}, {"store": "archive", "point": "x"}, {"store": "archive"}):
        log.chain.append("restore-verified", **data)
    recovery = load.load_platform(platform / "platform.yaml").disaster_recovery
    assert recovery is not None
    page = exporter.render(gauges.Watch(recovery, log, {}).look()).decode()
    assert 'dr_last_restore_good{store="archive"} 0.0' in page
    assert 'dr_newest_restorable_age_seconds{region="archive",store="archive"}' not in page


def test_a_status_stands_on_no_evidence_that_somebody_changed(platform: Path) -> None:
    """A verdict that was made better in the log must not be a pass."""
    command = ("dr", "status", "-f", platform / "platform.yaml")
    assert "not what was written" not in midwatch_here(*command).stdout
    log = opened(platform).chain.path
    log.write_text(log.read_text().replace('"rto_seconds":', '"rto_was":'))
    done = midwatch_here(*command)
    assert (done.returncode, done.stderr) == (1, "")
    assert "the evidence is not what was written: " in done.stdout
    document = json.loads(midwatch_here(*command, "--json").stdout)
    assert any("is not what was written, or the key is another" in one for one in document["evidence"])


def test_what_was_not_there_or_is_not_there_any_more_is_named(platform: Path) -> None:
    runs = platform / "evidence" / "drills"
    (runs / "r1" / "runner.log").write_text("all went well")
    _, problems = report(platform)
    assert problems == [f"{runs / 'r1' / 'runner.log'}: the drill did not leave it"]
    (runs / "r1").rename(runs / "r3")
    _, problems = report(platform)
    assert problems == [
        f"{runs / 'r1'}: the drill's folder is missing",
        f"{runs / 'r3'}: no record of the log tells of this drill: cut off or replaced",
    ]


def test_a_verdict_that_the_ledgers_do_not_give_is_found_although_everything_is_sealed(tmp_path: Path) -> None:
    log = DrillLog(folder=tmp_path / "evidence", key_file=None)
    bad = story()
    bad.read_back(lambda write: write.number % 2 == 0)
    assert bad.judged().verdict == verdict.Verdict.BREACHED
    ended(log, tmp_path / "home", "true", bad)
    assert log.verified().problems == ()
    ended(log, tmp_path / "home", "forged", bad, verdict="MET", rpo_seconds=0.0)
    (problem,) = log.verified().problems
    assert "the log says verdict MET, and the ledgers say BREACHED, rpo_seconds 0.0" in problem.message
    assert "(by Midwatch x; this is" in problem.message


def test_ledgers_of_an_earlier_release_are_compared_by_their_digests_alone(tmp_path: Path) -> None:
    log = DrillLog(folder=tmp_path / "evidence", key_file=None)
    home = tmp_path / "home"
    home.mkdir()
    (home / judged.OBSERVER).write_text("x")
    log.keep({"run": "old", "drill": "d", "store": "s", "verdict": "MET"}, home)
    assert log.verified().problems == ()
    (log.runs / "old" / judged.OBSERVER).write_text("y")
    assert len(log.verified().problems) == 1


# Cut off with everything beside it -----------------------------------------------------------------------------------


def cut(folder: Path) -> None:
    """Remove the last drill: its records and its folder."""
    log = opened(folder)
    lines = log.chain.path.read_bytes().splitlines(keepends=True)
    log.chain.path.write_bytes(b"".join(lines[:2]))
    shutil.rmtree(log.runs / "r2")


def test_a_log_that_was_cut_together_with_its_folder_lacks_the_head_in_the_anchor_file(platform: Path) -> None:
    cut(platform)
    assert replace(opened(platform), anchor=None).verified().problems == ()
    done, problems = report(platform)
    assert done.returncode == 1
    assert all("is not in it: cut off or replaced" in one for one in problems)
    assert len(problems) == 2  # of its begin and of its end


def spoil_log(folder: Path, how: str) -> None:
    """Take the log away, with nothing beside it that tells of it."""
    shutil.rmtree(folder / "evidence")
    if how != "removed":
        (folder / "evidence").mkdir()
        (folder / "evidence" / "evidence.jsonl").write_text("" if how == "emptied" else "rubbish\n")


@pytest.mark.parametrize("how", ["removed", "emptied", "rubbish"])
def test_a_log_that_is_gone_with_everything_beside_it_lacks_the_heads_in_the_anchor_file(
    platform: Path, how: str
) -> None:
    spoil_log(platform, how)
    done, problems = report(platform)
    assert done.returncode == 1
    assert sum("is not in it: cut off or replaced" in one for one in problems) == 4


def test_ledgers_that_no_log_tells_of_are_named_although_the_results_are_gone(platform: Path) -> None:
    (platform / "elsewhere" / "heads.jsonl").unlink()
    (platform / "evidence" / "evidence.jsonl").unlink()
    for run in RUNS:
        (platform / "evidence" / "drills" / run / "result.json").unlink()
    done, problems = report(platform)
    assert (done.returncode, len(problems)) == (1, 2)


@pytest.mark.parametrize("where", [(), ("--cluster", "gone")], ids=["not said", "no folder"])
def test_a_restore_of_a_store_that_nobody_can_look_at_is_an_error_of_usage_and_not_on_record(
    platform: Path, where: tuple[str, ...]
) -> None:
    """A record of it would page somebody: the backups may be well."""
    log = opened(platform).chain.path
    before = log.read_bytes()
    done = midwatch_here("dr", "verify", "archive", "-f", platform / "platform.yaml", *where)
    assert (done.returncode, "--cluster" in done.stderr) == (2, True)
    assert log.read_bytes() == before


def test_a_drill_waits_for_a_recovery(platform: Path) -> None:
    done = midwatch_here("dr", "run", "lose-primary", "-f", platform / "platform.yaml", "--limit", "0s")
    assert (done.returncode, "no recovery would be waited for" in done.stderr) == (2, True)


def test_no_record_proves_nothing(platform: Path) -> None:
    (platform / "elsewhere" / "heads.jsonl").unlink()
    shutil.rmtree(platform / "evidence")
    done = midwatch_here("dr", "report", "-f", platform / "platform.yaml")
    assert (done.returncode, "whole" in done.stdout) == (3, False)
    assert "0 records, signed (HMAC-SHA-256) and hash-chained: nothing is proven by it" in done.stdout


def test_a_log_that_cannot_be_read_gives_a_line(platform: Path) -> None:
    log = opened(platform).chain.path
    log.unlink()
    log.mkdir()
    for command in ("report", "status"):
        done = midwatch_here("dr", command, "-f", platform / "platform.yaml")
        assert (done.returncode, done.stderr) == (2, f"{log}: the evidence cannot be read: Is a directory\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.unlink(), "nothing shows whether the log was cut off"),
        (lambda file: file.write_text(""), "no head of test/drills was kept in it"),
        (lambda file: file.write_text("{}\n" + file.read_text()), ":1: not a head that was kept"),
        (lambda file: file.write_text("[" * 100_000 + "\n" + file.read_text()), ":1: not a head that was kept"),
    ],
    ids=["gone", "empty", "broken", "deep"],
)
def test_an_anchor_file_that_keeps_nothing_is_said(platform: Path, spoil: Callable[[Path], object], said: str) -> None:
    file = platform / "elsewhere" / "heads.jsonl"
    file.write_text(file.read_text().replace('"log": "', '"log": "'))
    spoil(file)
    name = opened(platform).name
    done, (problem,) = report(platform)
    assert done.returncode == 1
    assert said.replace("test/drills", name) in problem


def test_a_torn_anchor_does_not_hide_the_next(tmp_path: Path) -> None:
    file = tmp_path / "heads"
    anchors.keep(file, "a", Head(seq=1, hash="x"))
    file.write_bytes(file.read_bytes() + b'{"at": "2026')
    assert anchors.kept(file, "a") == anchors.Anchored(heads=(Head(seq=1, hash="x"),))
    anchors.keep(file, "a", Head(seq=2, hash="y"))
    found = anchors.kept(file, "a")
    assert [head.seq for head in found.heads] == [1, 2]
    assert [problem.line for problem in found.problems] == [2]


def test_where_no_head_can_be_kept_no_drill_begins(platform: Path) -> None:
    shutil.rmtree(platform / "elsewhere")
    with pytest.raises(MidwatchError, match=r"the head of .* cannot be kept"):
        opened(platform).append("drill-started", run="r3")


class Answers(BaseHTTPRequestHandler):
    """A Prometheus that has seen one head, or none."""

    seen: list[Head] = []

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["content-length"])).decode()
        assert "max_over_time" in asked
        result = [{"metric": {"head": one.hash}, "value": [1.0, str(one.seq + 1)]} for one in self.seen]
        body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def prometheus() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_head_that_prometheus_has_scraped_shows_that_the_log_was_cut(
    platform: Path, prometheus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(platform)
    recovery = load.load_platform(platform / "platform.yaml").disaster_recovery
    assert recovery is not None
    page = exporter.render(gauges.Watch(recovery, log, {}).look()).decode()
    head = evidence.head(log.chain.path)
    assert head is not None
    assert f'midwatch_evidence_records{{head="{head.hash}",log="{log.name}"}} {head.seq + 1}.0' in page
    monkeypatch.setattr(Answers, "seen", [head])
    assert report(platform, "--prometheus", prometheus)[0].returncode == 0
    (platform / "elsewhere" / "heads.jsonl").write_text("")
    anchors.keep(platform / "elsewhere" / "heads.jsonl", log.name, evidence.Head(seq=1, hash=head_of(log, 1)))
    cut(platform)
    assert report(platform)[0].returncode == 0
    done, (problem,) = report(platform, "--prometheus", prometheus)
    assert (done.returncode, f"record {head.seq} with hash" in problem) == (1, True)
    command = ("evidence", "verify", log.chain.path, "--key-file", platform / "key", "--prometheus", prometheus)
    assert midwatch_here(*command).returncode == 2
    assert midwatch_here(*command, "--log-name", log.name).returncode == 1
    monkeypatch.setattr(Answers, "seen", [])
    done, (problem,) = report(platform, "--prometheus", prometheus)
    assert (done.returncode, "was scraped in 90d" in problem) == (1, True)


def head_of(log: DrillLog, seq: int) -> str:
    return evidence.read(log.chain.path)[seq].hash


def test_a_prometheus_that_does_not_answer_is_no_pass(platform: Path) -> None:
    done, _ = report(platform, "--prometheus", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (2, "")
    assert "are not known" in done.stderr


# Keys ----------------------------------------------------------------------------------------------------------------


def test_an_empty_key_is_an_error_and_signs_nothing(platform: Path) -> None:
    for content in ("", " \n"):
        (platform / "key").write_text(content)
        done, _ = report(platform)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "the key of the evidence is empty" in done.stderr


def test_a_log_of_drills_goes_on_under_the_next_key(platform: Path) -> None:
    log = opened(platform).chain.path
    (platform / "next").write_text("next")
    done = midwatch_here("evidence", "rotate", log, "--key-file", platform / "key", "--new-key-file", platform / "next")
    assert done.returncode == 0, done.stderr
    text = (platform / "platform.yaml").read_text().replace("key_file: key", "key_file: next")
    (platform / "platform.yaml").write_text(text)
    assert report(platform)[0].returncode == 1
    (platform / "platform.yaml").write_text(
        text.replace("key_file: next", "key_file: next\n    earlier_key_files: [key]")
    )
    assert report(platform)[1] == []
    ended(opened(platform), platform / "home", "r3", story())
    assert report(platform)[1] == []
    verify = ("evidence", "verify", log, "--key-file")
    assert midwatch_here(*verify, platform / "key", "--key-file", platform / "next").returncode == 0
    assert midwatch_here(*verify, platform / "next", "--key-file", platform / "key").returncode == 1
