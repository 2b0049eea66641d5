"""Whether events go on in region b: what the drill's check says, and of what it says that nobody knows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dr.stores.local_postgresql import takeover


class FakeExporter(ThreadingHTTPServer):
    """Says how many events it has kept; the counter moves by `step` with each time it is asked."""

    daemon_threads = True

    def __init__(self, kept: int = 0, step: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kept, self.step, self.ready = kept, step, 200
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: FakeExporter

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/metrics" else self.server.ready)
        self.end_headers()
        if self.path == "/metrics":
            self.server.kept += self.server.step
            name = "midwatch_exporter_events_total"
            lines = [
                f"# HELP {name} Events received.",
                f'{name}{{kind="prediction",reason="",result="accepted"}} {float(self.server.kept)}',
                f'{name}{{kind="label",reason="",result="accepted"}} 7.0',
                f'{name}{{kind="prediction",reason="id",result="duplicate"}} 999.0',
            ]
            self.wfile.write("\n".join(lines).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def lost() -> Iterator[FakeExporter]:
    yield from _served(FakeExporter(kept=100, step=50))


@pytest.fixture
def heir() -> Iterator[FakeExporter]:
    yield from _served(FakeExporter(kept=3))


def _served(server: FakeExporter) -> Iterator[FakeExporter]:
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(takeover, "POLL_SECONDS", 0.01)


def marked(lost: FakeExporter, heir: FakeExporter) -> takeover.Takeover:
    found = takeover.Takeover(lost=lost.url, heir=heir.url, clients=heir.url)
    found.mark()
    return found


def test_only_events_that_an_exporter_has_kept_are_counted(heir: FakeExporter) -> None:
    assert takeover.kept(heir.url) == 3 + 7
    assert takeover.kept("http://127.0.0.1:1") is None


def test_events_that_region_b_keeps_after_the_fault_are_a_takeover(lost: FakeExporter, heir: FakeExporter) -> None:
    found = marked(lost, heir)
    heir.kept += 20
    check = found.check()
    assert (check.name, check.holds, check.detail) == (takeover.TAKES, True, "20 kept since the fault")


def test_a_sender_that_pauses_before_it_comes_back_is_waited_for(
    lost: FakeExporter, heir: FakeExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "WAIT_SECONDS", 60.0)
    found = marked(lost, heir)
    threading.Timer(0.1, lambda: setattr(heir, "kept", heir.kept + 1)).start()
    assert found.check().holds is True


def test_events_that_stop_with_the_region_are_a_failure(lost: FakeExporter, heir: FakeExporter) -> None:
    check = marked(lost, heir).check()
    assert (check.name, check.holds) == (takeover.TAKES, False)
    assert "region a took 50 just before it" in check.detail


def test_an_exporter_that_does_not_say_leaves_it_undecided(lost: FakeExporter, heir: FakeExporter) -> None:
    found = marked(lost, heir)
    heir.shutdown()
    heir.server_close()
    check = found.check()
    assert (check.name, check.holds) == (takeover.TAKES, None)


def test_an_exporter_of_region_a_that_did_not_say_leaves_it_undecided_unless_b_has_some(heir: FakeExporter) -> None:
    found = takeover.Takeover(lost="http://127.0.0.1:1", heir=heir.url, clients=heir.url)
    found.mark()
    assert found.check().holds is None
    heir.kept += 1
    assert found.check().holds is True


def test_without_traffic_only_that_clients_find_a_ready_exporter_is_claimed(
    lost: FakeExporter, heir: FakeExporter
) -> None:
    lost.step = 0
    found = marked(lost, heir)
    check = found.check()
    assert (check.name, check.holds) == (takeover.READY, True)
    assert "no event came before the fault or since" in check.detail
    heir.ready = 503
    check = found.check()
    assert (check.name, check.holds) == (takeover.READY, False)
    assert "503" in check.detail


def test_too_few_events_before_the_fault_cannot_be_missed_after_it(lost: FakeExporter, heir: FakeExporter) -> None:
    lost.step = 1
    check = marked(lost, heir).check()
    assert (check.name, check.holds) == (takeover.TAKES, None)
    assert "too few to miss the next one" in check.detail
