"""Pushing to a Grafana: the difference first, only what differs, and never over somebody's change."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from dashboards import push, render
from dashboards.push import Folder, GrafanaClient, RefusedError, SyncStatus, UnreachableError
from midwatch.errors import MidwatchError
from tests.conftest import free_port, midwatch_here
from tests.dashboards.test_documents import PAGES, file_document, whole

TOKEN = "glsa_secret"
FOLDER = Folder(uid="midwatch-test-folder", title="Midwatch test")


class FakeGrafana:
    """What Grafana's API does with folders and dashboards (documentation, "Dashboard HTTP API"), and no more."""

    def __init__(self) -> None:
        self.folders: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.saves: list[str] = []
        self.provisioned: set[str] = set()
        self.status: int | None = None

    def answer(self, method: str, path: str, token: str | None, body: Any) -> tuple[int, Any]:
        if self.status:
            return self.status, {"message": "as the test wants it"}
        if token != f"Bearer {TOKEN}":
            return 401, {"message": "Unauthorized"}
        if method == "GET" and path.startswith("/api/dashboards/uid/"):
            return self._dashboard(path.rsplit("/", 1)[-1])
        if method == "GET" and path.startswith("/api/folders/"):
            uid = path.rsplit("/", 1)[-1]
            return (200, {"uid": uid, "title": self.folders[uid]}) if uid in self.folders else (404, {})
        if (method, path) == ("POST", "/api/folders"):
            self.folders[body["uid"]] = body["title"]
            return 200, body
        if (method, path) == ("POST", "/api/dashboards/db"):
            return self._save(body)
        return 404, {"message": "Not found"}

    def _dashboard(self, uid: str) -> tuple[int, Any]:
        if uid not in self.dashboards:
            return 404, {"message": "Dashboard not found"}
        saved = self.dashboards[uid]
        meta = {"folderUid": saved["folderUid"], "folderTitle": "?", "provisioned": uid in self.provisioned}
        return 200, {"dashboard": saved["dashboard"], "meta": meta}

    def _save(self, body: Any) -> tuple[int, Any]:
        dashboard = body["dashboard"]
        uid = dashboard["uid"]
        before = self.dashboards.get(uid)
        if body["folderUid"] not in self.folders:
            return 400, {"message": "folder not found"}
        if before and not body["overwrite"] and dashboard.get("version") != before["dashboard"]["version"]:
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        version = before["dashboard"]["version"] + 1 if before else 1
        # Grafana numbers what it keeps, and a newer one brings the schema up to date.
        kept = dashboard | {"id": len(self.dashboards) + 1, "version": version, "schemaVersion": 42, "weekStart": ""}
        self.dashboards[uid] = {"dashboard": kept, "folderUid": body["folderUid"]}
        self.saves.append(uid)
        return 200, {"status": "success", "uid": uid, "version": version}


@pytest.fixture
def fake() -> Iterator[FakeGrafana]:
    grafana = FakeGrafana()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.respond(None)

        def do_POST(self) -> None:
            self.respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def respond(self, body: Any) -> None:
            status, document = grafana.answer(self.command, self.path, self.headers["Authorization"], body)
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    grafana.url = f"http://127.0.0.1:{server.server_port}"
    yield grafana
    server.shutdown()
    server.server_close()


def pushed(fake: FakeGrafana, documents: list[dict[str, Any]]) -> list[push.Comparison]:
    there = GrafanaClient(fake.url, TOKEN)
    comparisons = there.compare(documents, FOLDER)
    there.ensure_folder(FOLDER)
    for comparison in comparisons:
        there.save(comparison, FOLDER)
    return comparisons


def test_a_second_push_changes_nothing_whatever_grafana_adds_by_itself(fake) -> None:
    documents = render.documents(whole())
    assert {comparison.status for comparison in pushed(fake, documents)} == {SyncStatus.NEW}
    assert len(fake.saves) == len(documents)
    assert {comparison.status for comparison in pushed(fake, documents)} == {SyncStatus.SAME}
    assert len(fake.saves) == len(documents)
    assert fake.folders == {FOLDER.uid: FOLDER.title}


def test_only_what_differs_is_saved_and_the_place_is_named(fake) -> None:
    documents = render.documents(whole())
    pushed(fake, documents)
    fake.dashboards[documents[1]["uid"]]["dashboard"]["panels"][1]["title"] = "By hand"
    comparisons = [comparison for comparison in pushed(fake, documents) if comparison.status is SyncStatus.CHANGED]
    (difference,) = comparisons[0].differences
    assert (len(comparisons), difference.before) == (1, "By hand")
    assert difference.place == "panels[How much traffic does it get?].title"
    assert fake.saves.count(documents[1]["uid"]) == 2
    assert fake.dashboards[documents[1]["uid"]]["dashboard"]["version"] == 2


def test_what_somebody_added_or_moved_is_a_difference(fake) -> None:
    documents = render.documents(whole())
    pushed(fake, documents)
    fake.dashboards[documents[0]["uid"]]["dashboard"]["panels"].append({"title": "mine"})
    fake.dashboards[documents[2]["uid"]]["folderUid"] = "elsewhere"
    comparisons = GrafanaClient(fake.url, TOKEN).compare(documents, FOLDER)
    assert [comparison.status.value for comparison in comparisons[:3]] == ["changed", "same", "changed"]
    assert comparisons[2].differences[0].place == "folder"


def test_a_change_between_look_and_push_is_not_overwritten(fake) -> None:
    documents = render.documents(whole())[:1]
    pushed(fake, documents)
    saved = fake.dashboards[documents[0]["uid"]]["dashboard"]
    saved["title"] = "By hand"
    there = GrafanaClient(fake.url, TOKEN)
    (comparison,) = there.compare(documents, FOLDER)
    saved["version"] += 1
    with pytest.raises(RefusedError, match="look at the difference again"):
        there.save(comparison, FOLDER)
    assert saved["title"] == "By hand"


def test_a_dashboard_that_comes_from_a_file_is_left_to_the_file(fake) -> None:
    documents = render.documents(whole())[:1]
    pushed(fake, documents)
    fake.provisioned = {documents[0]["uid"]}
    assert GrafanaClient(fake.url, TOKEN).compare(documents, FOLDER)[0].status is SyncStatus.SAME
    fake.dashboards[documents[0]["uid"]]["dashboard"]["title"] = "By hand"
    with pytest.raises(RefusedError, match="provisioned from a file"):
        GrafanaClient(fake.url, TOKEN).compare(documents, FOLDER)


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (401, RefusedError, "--token-file"),
        (403, RefusedError, "role Editor"),
        (503, UnreachableError, "try again"),
        (500, RefusedError, "as the test wants it"),
    ],
    ids=["no token", "no right", "starting", "broken"],
)
def test_what_grafana_says_is_said_with_a_remedy(fake, status: int, error: type[MidwatchError], text: str) -> None:
    fake.status = status
    with pytest.raises(error, match=text):
        GrafanaClient(fake.url, TOKEN).compare(render.documents(whole())[:1], FOLDER)


def test_no_answer_is_not_no_difference() -> None:
    with pytest.raises(UnreachableError, match="no answer"):
        GrafanaClient(f"http://127.0.0.1:{free_port()}").compare(render.documents(whole())[:1], FOLDER)
    with pytest.raises(MidwatchError, match="not an http"):
        GrafanaClient("grafana:3000")


# The command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "platform.yaml"
    path.write_text(yaml.safe_dump(file_document()))
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return path


def run(file: Path, fake: FakeGrafana, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ("--grafana", fake.url, "--token-file", file.parent / "token", *arguments)
    done = midwatch_here("dashboards", "push", "-f", file, *options)
    assert TOKEN not in done.stdout + done.stderr
    return done


def test_a_dry_run_shows_the_difference_and_changes_nothing(file: Path, fake) -> None:
    done = run(file, fake, "--dry-run")
    assert done.returncode == 1
    assert done.stdout.count("+ new") == len(PAGES)
    assert "nothing was changed" in done.stderr
    assert fake.saves == [] and fake.folders == {}


def test_the_command_pushes_once_and_then_has_nothing_to_do(file: Path, fake) -> None:
    assert run(file, fake).returncode == 0
    assert len(fake.saves) == len(PAGES)
    again = run(file, fake, "--json")
    document = json.loads(again.stdout)
    assert (again.returncode, document["exit"], len(fake.saves)) == (0, 0, len(PAGES))
    assert {one["kind"] for one in document["dashboards"]} == {"same"}
    assert run(file, fake, "--dry-run").returncode == 0


def test_the_command_shows_the_first_places_that_differ(file: Path, fake) -> None:
    run(file, fake)
    dashboard = fake.dashboards["midwatch-test-model"]["dashboard"]
    for panel in dashboard["panels"]:
        panel["title"] += "!"
    done = run(file, fake, "--dry-run")
    assert "~ changed midwatch-test-model" in done.stdout
    assert 'title: "Golden signals!" -> "Golden signals"' in done.stdout
    assert "more; --json has all" in done.stdout
