"""Where events are sent: TLS with an authority of one's own, a path in front, tokens that are rotated."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from midwatch.client import EventLog, Label, event_log
from midwatch.errors import MidwatchError
from tests.conftest import need_program
from tests.exporters.fake_exporter import Exporter, wait_until
from tests.exporters.test_service import exporter as real_exporter


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "RETRY_SECONDS", (0.01, 0.05))


def label(number: int = 1) -> Label:
    return Label(id=f"l{number}", model="m", label=True, ts=1.0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    need_program("openssl")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=exporter", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-out", certificate, "-keyout", key),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def test_events_go_to_a_path_over_tls_that_is_verified(certificate: tuple[Path, Path]) -> None:
    exporter = Exporter(tls=certificate)
    log = EventLog(f"{exporter.url}/ml/events-of-b/", ca_file=certificate[0], token="secret")
    log.send(label())
    assert log.close().acknowledged == 1
    exporter.close()
    ((path, headers),) = exporter.requests
    assert path == "/ml/events-of-b/events"
    assert headers["authorization"] == "Bearer secret"
    assert headers["content-type"] == "application/x-ndjson"


def test_a_server_that_no_authority_knows_gets_nothing(certificate: tuple[Path, Path]) -> None:
    exporter = Exporter(tls=certificate)
    log = EventLog(exporter.url)
    log.send(label())
    wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in str(log.stats.failing))
    stats = log.close(timeout=0)
    exporter.close()
    assert exporter.bodies == []
    assert (stats.acknowledged, stats.dropped) == (0, 1)


def test_a_slow_answer_over_tls_is_waited_for(certificate: tuple[Path, Path]) -> None:
    def slow(request) -> None:
        for part in (b"HTTP/1.1 200 OK\r\n", b"content-length: 14\r\n\r\n", b'{"accep', b'ted":1}'):
            request.wfile.write(part)
            time.sleep(0.3)  # longer than the client waits between two looks at the time

    exporter = Exporter(slow, tls=certificate)
    log = EventLog(exporter.url, ca_file=certificate[0])
    log.send(label())
    stats = log.close()
    exporter.close()
    assert (stats.acknowledged, stats.retries) == (1, 0)


def test_a_token_of_a_file_is_read_again_when_it_was_rotated(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    with real_exporter(tmp_path, "--token-file", str(write(tmp_path / "new", "new"))) as running:
        log = EventLog(f"http://{running.host}:{running.port}", token_file=token)
        log.send(Label(id="a", model="m", label=True, ts=1e9))
        wait_until(lambda: "401" in str(log.stats.failing))
        assert log.stats.refused == 0
        token.unlink()
        wait_until(lambda: "cannot be read" in str(log.stats.failing))
        token.write_text("new\n")
        wait_until(lambda: log.stats.acknowledged == 1)
        assert log.close().dropped == 0


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://x", "not an http or https URL"),
        ("http://", "not an http or https URL"),
        ("exporter:9500", "not an http or https URL"),
        ("http://[::1", "not a URL"),
        ("http://x:99999", "not a URL"),
        ("http://user:hunter2@x", "a user, a query or a fragment"),
        ("http://x/?a=hunter2", "a user, a query or a fragment"),
        ("http://x/a b", "not percent-encoded"),
    ],
)
def test_an_address_that_cannot_be_is_refused_at_the_start_without_repeating_it(url: str, message: str) -> None:
    with pytest.raises(MidwatchError, match=message) as caught:
        EventLog(url)
    assert "hunter2" not in str(caught.value)


def test_a_token_that_cannot_be_sent_is_refused_at_the_start_without_repeating_it(tmp_path: Path) -> None:
    for options in ({"token": "hunter2\n"}, {"token_file": write(tmp_path / "token", "hunter2\nsecond line")}):
        with pytest.raises(MidwatchError, match="no header may have") as caught:
            EventLog("http://x", **options)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(MidwatchError, match="cannot be read"):
        EventLog("http://x", token_file=tmp_path / "absent")
    with pytest.raises(MidwatchError, match="no certificates of an authority"):
        EventLog("https://x", ca_file=write(tmp_path / "ca", "none"))
