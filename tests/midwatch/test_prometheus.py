"""Asking Prometheus: a real one for answers, a false one for what a real one seldom says."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dashboards import provisioning
from midwatch import jobs, prometheus, prometheus_access
from midwatch.app import prometheus as rendered
from midwatch.errors import Exit, InvalidInputError, MidwatchError
from midwatch.grafana import DataSource
from midwatch.spec.model import Platform, Prometheus
from midwatch.spec.prometheus_auth import Auth
from monitors.canary import argo
from tests.conftest import free_port, midwatch_here, need_program, platform_document


def test_samples_lines_and_single_values_of_a_real_prometheus(prometheus_server: str) -> None:
    client = prometheus.Client(prometheus_server)
    deadline = time.monotonic() + 60
    while not (found := client.query("up == 1")) and time.monotonic() < deadline:
        time.sleep(0.1)
    (sample,) = found
    assert (sample.labels["job"], sample.value) == ("self", 1.0)
    assert client.value("vector(1) / 0") == math.inf
    assert math.isnan(client.value("scalar(nothing_there)"))  # type: ignore[arg-type]
    assert client.query("nothing_there") == []
    assert client.value("nothing_there") is None
    now = time.time()
    (line,) = client.query_range("vector(2)", start=now - 2, end=now, step=1)
    assert [value for _, value in line.points] == [2.0, 2.0, 2.0]
    assert len(line.points) == 3
    assert line.points[-1][1] == 2.0
    assert np.array(line.points).tolist() == [list(point) for point in line.points[:]]
    (line,) = client.query_range("vector(1) / 0", start=now, end=now, step=1)
    assert np.array(line.points)[0, 1] == line.points[0][1] == math.inf
    assert client.query_range("nothing_there", start=now, end=now, step=1) == []


@pytest.mark.parametrize(("url", "is_packed"), [("http://127.0.0.1:9090", False), ("https://prometheus:9090", True)])
def test_an_answer_is_packed_for_the_network_and_not_for_the_same_machine(url: str, is_packed: bool) -> None:
    asks = prometheus_access.session(url, None, 0).headers["Accept-Encoding"]
    assert ("gzip" in asks) is is_packed


def test_a_wrong_query_is_rejected_with_prometheus_reason(prometheus_server: str) -> None:
    with pytest.raises(prometheus.RejectedError, match="parse error"):
        prometheus.Client(prometheus_server).query("sum(")


@pytest.fixture
def answering() -> Iterator[Any]:
    servers = []

    def serve(*answers: tuple[int, str, float]) -> tuple[str, list[str]]:
        left, asked = list(answers), []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(self.rfile.read(int(self.headers["content-length"])).decode())
                status, text, wait = left.pop(0) if len(left) > 1 else left[0]
                time.sleep(wait)
                self.send_response(status)
                self.end_headers()
                try:
                    self.wfile.write(text.encode())
                except OSError:
                    return

            def log_message(self, *args: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", asked

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


EMPTY = json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}})


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (200, json.dumps({**json.loads(EMPTY), "warnings": ["a store is away"]}), prometheus.PartialError),
        (200, json.dumps({"status": "error", "error": "x"}), prometheus.RejectedError),
        (200, "<html>", prometheus.UnreachableError),
        (422, json.dumps({"status": "error", "error": "too many samples"}), prometheus.RejectedError),
        (500, "{}", prometheus.UnreachableError),
        (401, "{}", prometheus.UnreachableError),
    ],
    ids=["warning", "error", "html", "422", "500", "401"],
)
def test_what_is_no_full_answer_is_never_no_data(answering, status: int, text: str, error: type) -> None:
    url, _ = answering((status, text, 0))
    with pytest.raises(error):
        prometheus.Client(url).query("up")


def test_a_gateway_that_recovers_is_asked_again_a_bounded_number_of_times(answering) -> None:
    url, asked = answering((503, "", 0), (200, EMPTY, 0))
    assert prometheus.Client(url).query("up") == []
    assert len(asked) == 2
    url, asked = answering((503, "", 0))
    with pytest.raises(prometheus.UnreachableError):
        prometheus.Client(url).query("up")
    assert len(asked) == 1 + prometheus.RETRIES


def test_no_answer_in_time_is_unreachable(answering) -> None:
    url, _ = answering((200, EMPTY, 0.5))
    with pytest.raises(prometheus.UnreachableError, match="no answer"):
        prometheus.Client(url, timeout=0.1).query("up")


def test_nobody_there_is_unreachable_and_other_schemes_are_refused() -> None:
    with pytest.raises(prometheus.UnreachableError):
        prometheus.Client("http://127.0.0.1:9", timeout=0.5).query("up")
    with pytest.raises(MidwatchError, match="not an address"):
        prometheus.Client("file:///etc/passwd")


@pytest.fixture
def dripping() -> Iterator[Callable[[bytes], str]]:
    """URLs of servers that begin an answer and then send a byte now and then, for ever."""
    ended, servers = threading.Event(), []

    def serve(begin: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def drip() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(begin)
                while not ended.wait(0.02):
                    connection.sendall(b"x")

        threading.Thread(target=drip, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield serve
    ended.set()
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    "begin",
    [b"", HEAD + b"a: ", HEAD + b"content-length: 100000\r\n\r\n", HEAD + b"transfer-encoding: chunked\r\n\r\n1"],
    ids=["status", "header", "body", "chunk"],
)
def test_an_answer_that_drips_ends_at_the_timeout(dripping, begin: bytes) -> None:
    with pytest.raises(prometheus.UnreachableError, match="no answer"):
        prometheus.Client(dripping(begin), timeout=0.15, retries=0).query("up")


def test_what_is_asked_until_a_moment_is_not_asked_after_it(answering) -> None:
    url, asked = answering((200, EMPTY, 0))
    client = prometheus.Client(url)
    assert client.until(time.monotonic() + 60).query("up") == []
    with pytest.raises(prometheus.UnreachableError, match="no time left"):
        client.until(time.monotonic() - 1).query("up")
    assert len(asked) == 1


def test_an_answer_without_an_end_is_not_kept(answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MAX_ANSWER_BYTES", 1000)
    url, _ = answering((200, EMPTY + " " * 5000, 0))
    with pytest.raises(prometheus.UnreachableError, match="more than 1000 bytes"):
        prometheus.Client(url).query("up")


SECRET = "s3cret"


@pytest.mark.parametrize(
    "url",
    [f"http://me:{SECRET}@p:9090", f"http://{SECRET}@p", f"https://:{SECRET}@p", f"http://p/?token={SECRET}", "p:9090"],
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(url: str, load_text, tmp_path) -> None:
    with pytest.raises(MidwatchError) as told:
        prometheus.Client(url)
    assert SECRET not in str(told.value)
    for section in ("prometheus", "alertmanager", "gate", "grafana"):
        with pytest.raises(InvalidInputError) as refused:
            load_text(yaml.safe_dump(platform_document(**{section: {"url": url}})))
        assert SECRET not in str(refused.value)
        assert f" {section}.url: " in str(refused.value)


def auth_of(tmp_path: Path, **sections: Any) -> Auth:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return Auth.model_validate(sections)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"basic": {"username": "me", "password_file": "FILE"}}, {"Authorization": "Basic bWU6czNjcmV0"}),
        ({"token_file": "FILE"}, {"Authorization": "Bearer s3cret"}),
        ({"header_files": {"X-Scope-OrgID": "FILE"}}, {"X-Scope-OrgID": "s3cret"}),
    ],
    ids=["basic", "token", "header"],
)
def test_who_asks_is_read_from_files_at_each_question(receiver, tmp_path: Path, section: Any, expected: Any) -> None:
    file = str(tmp_path / "secret")
    auth = auth_of(tmp_path, **json.loads(json.dumps(section).replace("FILE", file)))
    settings = Prometheus(url=receiver.url, auth=auth)
    client = prometheus.Client.of(settings)
    elsewhere = prometheus.Client.of(settings, receiver.url.replace("127.0.0.1", "localhost"))
    for one in (client, elsewhere):
        with pytest.raises(prometheus.QueryError):
            one.query("up")
    own, other = (headers for _, headers, _ in receiver.requests)
    assert {name: own.get(name) for name in expected} == expected
    assert not any(SECRET in value or "Basic" in value for value in other.values())
    (tmp_path / "secret").write_text("rotated")
    with pytest.raises(prometheus.QueryError):
        client.query("up")
    assert receiver.requests[-1][1] != own
    (tmp_path / "secret").unlink()
    with pytest.raises(MidwatchError, match=rf"{file}: the secret cannot be read"):
        client.query("up")


def test_a_redirect_is_not_followed_with_what_says_who_asks(dripping, tmp_path: Path) -> None:
    url = dripping(
        b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere.invalid/login?next=x\r\ncontent-length: 0\r\n\r\n"
    )
    client = prometheus.Client(url, auth=auth_of(tmp_path, token_file=str(tmp_path / "secret")))
    with pytest.raises(prometheus.UnreachableError, match=r"302 to http://elsewhere.invalid/login; is it a login page"):
        client.query("up")


def certificates(folder: Path, name: str, *, issuer: str = "") -> tuple[Path, Path]:
    """A key and its certificate, signed by an issuer of the folder or by itself."""
    program = need_program("openssl")
    key, made = folder / f"{name}.key", folder / f"{name}.pem"
    command = [
        program,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(made)]
    if issuer:
        command += ["-CA", str(folder / f"{issuer}.pem"), "-CAkey", str(folder / f"{issuer}.key")]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)
    return key, made


def test_a_real_prometheus_that_asks_for_a_certificate_and_a_password(tmp_path: Path) -> None:
    authority = certificates(tmp_path, "authority")[1]
    (key, made), (own_key, own) = (
        certificates(tmp_path, name, issuer="authority") for name in ("prometheus", "midwatch")
    )
    (tmp_path / "web.yml").write_text(
        yaml.safe_dump(
            {
                "tls_server_config": {
                    "cert_file": str(made),
                    "key_file": str(key),
                    "client_auth_type": "RequireAndVerifyClientCert",
                    "client_ca_file": str(authority),
                },
                # bcrypt of the secret
                "basic_auth_users": {"me": "$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK"},
            }
        )
    )
    tls = {"ca_file": str(authority), "cert_file": str(own), "key_file": str(own_key), "server_name": "prometheus"}
    basic = {"username": "me", "password_file": str(tmp_path / "secret")}
    port = free_port()
    auth = auth_of(tmp_path, basic=basic, tls=tls)
    settings = Prometheus(url=f"https://127.0.0.1:{port}", auth=auth, scrape_interval=1.0)
    document = {**platform_document(), "prometheus": {"url": settings.url, "scrape_interval": "1s"}}
    document["prometheus"]["auth"] = {"basic": basic, "tls": tls}
    found = Platform.model_validate(document)
    config = rendered.render(
        found, jobs.of_itself(settings.url, "http://127.0.0.1:9", found.prometheus.auth), "127.0.0.1:9"
    )
    (tmp_path / "prometheus.yml").write_text(config)
    command = [need_program("prometheus"), f"--config.file={tmp_path}/prometheus.yml"]
    command += [f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*command, f"--web.config.file={tmp_path}/web.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        client = prometheus.Client.of(settings)
        has_scraped, deadline = False, time.monotonic() + 60
        while not has_scraped and time.monotonic() < deadline:  # itself, as the rendered file says
            with suppress(prometheus.UnreachableError):
                has_scraped = bool(client.query('up{job="prometheus"} == 1'))
            time.sleep(0.1)
        assert has_scraped
        for lacking in (
            {"tls": tls},
            {"basic": basic, "tls": {"ca_file": str(authority), "server_name": "prometheus"}},
        ):
            with pytest.raises(prometheus.UnreachableError):
                prometheus.Client(settings.url, auth=auth_of(tmp_path, **lacking), retries=0).query("up")
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"basic": {"username": "me", "password_file": "/f"}, "token_file": "/f"}, "has one of them"),
        ({"tls": {"cert_file": "/f"}}, "needs both"),
        ({"token_file": "beside.txt"}, "not an absolute path"),
        ({"header_files": {"Authorization": "/f"}}, "not set here"),
        ({"header_files": {"a b": "/f"}}, "not the name of a header"),
        ({"basic": {"username": "me:you", "password_file": "/f"}}, "username"),
    ],
)
def test_what_cannot_say_who_asks_is_refused(load_text, section: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        load_text(yaml.safe_dump(platform_document(prometheus={"auth": section})))


def test_who_asks_is_rendered_as_files() -> None:
    folder = "/etc/midwatch"
    tls = {name: f"{folder}/{name}" for name in ("ca_file", "cert_file", "key_file")} | {"server_name": "p"}
    section = {"token_file": f"{folder}/token", "header_files": {"X-Scope-OrgID": f"{folder}/org"}, "tls": tls}
    document = platform_document(prometheus={"url": "https://metrics.example/prometheus", "auth": section})
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors"}]}
    found = Platform.model_validate(document)
    scraped = yaml.safe_load(rendered.render_files(found)["prometheus/prometheus.yml"])["scrape_configs"]
    (scrape,) = [one for one in scraped if one["job_name"] == "prometheus"]
    assert scrape == {
        "job_name": "prometheus",
        "metrics_path": "/prometheus/metrics",
        "scheme": "https",
        "authorization": {"credentials_file": f"{folder}/token"},
        "tls_config": tls,
        "static_configs": [{"targets": ["metrics.example"]}],
    }
    source = provisioning.datasources(found)["datasources"][0]
    assert source["secureJsonData"] == {
        "httpHeaderValue1": f"$__file{{{folder}/org}}",
        "httpHeaderValue2": f"Bearer $__file{{{folder}/token}}",
        "tlsCACert": f"$__file{{{folder}/ca_file}}",
        "tlsClientCert": f"$__file{{{folder}/cert_file}}",
        "tlsClientKey": f"$__file{{{folder}/key_file}}",
    }
    told = source["jsonData"]
    assert (told["httpHeaderName1"], told["httpHeaderName2"], told["serverName"]) == (
        "X-Scope-OrgID",
        "Authorization",
        "p",
    )
    assert (told["tlsAuth"], told["tlsAuthWithCACert"]) == (True, True)
    elsewhere = provisioning.datasources(found, {DataSource.PROMETHEUS: "http://127.0.0.1:1"})["datasources"][0]
    assert "secureJsonData" not in elsewhere
    assert "httpHeaderName1" not in elsewhere["jsonData"]
    job = argo.job_template(found, found.models[0])["spec"]["metrics"][0]["provider"]["job"]["spec"]["template"]["spec"]
    assert job["volumes"][0]["projected"]["sources"][1] == {"secret": {"name": argo.PLATFORM_MAP}}


@pytest.mark.parametrize(
    "command",
    [
        ("dashboards", "verify", "-f", "FILE", "--prometheus", "URL"),
        ("alerts", "check", "-f", "FILE", "--prometheus", "URL"),
        ("canary", "judge", "-f", "FILE", "--model", "fraud", "--baseline", "v1", "--canary", "v2"),
        ("canary", "calibrate", "-f", "FILE", "--model", "fraud", "--version", "v1"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_command_that_asks_says_who_it_is(receiver, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "secret").write_text(SECRET)
    receiver.statuses = [503]
    section = {"url": receiver.url, "auth": {"token_file": str(tmp_path / "secret")}}
    document = platform_document(prometheus=section)
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors", "negligible": "2%"}]}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    given = {"FILE": str(file), "URL": receiver.url}
    done = midwatch_here(*(given.get(word, word) for word in command))
    assert done.returncode in (Exit.USAGE, Exit.INCONCLUSIVE), done.stderr
    assert {headers["Authorization"] for _, headers, _ in receiver.requests} == {f"Bearer {SECRET}"}
    assert SECRET not in done.stdout + done.stderr


def test_a_prometheus_given_by_its_url_is_asked_as_the_platform_file_says(tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(prometheus={"auth": {"token_file": "/run/token"}})))
    own, other = (prometheus.client_at(url, file) for url in ("http://127.0.0.1:9090/", "http://elsewhere:9090"))
    assert (own._auth is not None, other._auth) == (True, None)
    assert prometheus.client_at("http://127.0.0.1:9090", None)._auth is None
