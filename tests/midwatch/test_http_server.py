"""The HTTP server under clients that are hostile, slow or in a hurry, by raw sockets."""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import Any

import pytest
import uvloop

from midwatch import http_access, http_server
from midwatch.http_server import Limits, Request, Respond

BODY = 1 << 20
ANSWER = b"a" * 4096


class Server:
    """A server on its own loop; `/later` is answered when the test says so, `/bad` raises."""

    def __init__(self, limits: Limits, token: bytes | None = None) -> None:
        self.connections = http_server.Connections(self._handle, limits, http_access.admission(token))
        self.seen: list[Request] = []
        self.later: list[Respond] = []
        self.came = Event()
        self.loop = uvloop.new_event_loop()
        self._ready = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(60)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        made = self.loop.create_server(self.connections.protocol, "127.0.0.1", 0)
        self.server = self.loop.run_until_complete(made)
        self.port = self.server.sockets[0].getsockname()[1]
        self.loop.call_soon(self._ready.set)
        self.loop.run_forever()
        self.server.close()
        for connection in list(self.connections.open):
            connection._transport.abort()
        self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.close()

    def _handle(self, request: Request, respond: Respond) -> None:
        self.seen.append(request)
        if request.path == b"/later":
            self.later.append(respond)
        elif request.path == b"/bad":
            raise ValueError("a bug")
        elif request.path == b"/full":
            respond(503, request.body, "text/plain", headers=request.headers[b"x-with"].decode() + "\r\n")
        else:
            respond(200, ANSWER if request.path == b"/answer" else request.body, "text/plain")
        self.came.set()

    def on_loop(self, call: Callable[[], Any]) -> Any:
        """Result of a call on the loop's thread, after what is there has been read."""

        async def called() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(60)

    def answer_later(self) -> None:
        assert self.came.wait(60)
        self.on_loop(lambda: self.later.pop(0)(200, b"late", "text/plain"))

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)


@contextmanager
def serving(limits: Limits | None = None, token: bytes | None = None) -> Iterator[Server]:
    server = Server(limits or Limits(max_body=BODY), token)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def client(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def exchanged(server: Server, text: bytes, *, end: bool = True) -> bytes:
    """Everything that is answered to a text until the server closes."""
    with client(server) as made:
        made.sendall(text)
        if end:
            made.shutdown(socket.SHUT_WR)
        return rest(made)


def rest(made: socket.socket) -> bytes:
    return b"".join(iter(lambda: made.recv(1 << 20), b""))


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answers)]


def request(path: bytes, *headers: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    lines = [b"%s %s HTTP/1.1" % (method, path), b"host: x", *headers]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


def sized(length: int) -> bytes:
    return b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % length


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (sized(BODY), 401),
        (b"POST /events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer wrong\r\ntransfer-encoding: chunked\r\n\r\n", 401),
        (b"POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n", 413),
        (b"GET /readyz HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", 413),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 00\r\n\r\n", 200),
    ],
    ids=["no token", "wrong token, chunked", "health with a body", "health with chunks", "health"],
)
def test_without_the_token_no_body_is_read(head: bytes, status: int) -> None:
    with serving(token=b"secret") as server, client(server) as made:
        made.sendall(head)
        assert made.recv(65536).startswith(b"HTTP/1.1 %d " % status)
        with pytest.raises(OSError), ExitStack():  # what is sent on is not kept, and ends soon
            for _ in range(64) if status != 200 else []:
                made.sendall(b"x" * BODY)
                assert server.on_loop(lambda: server.connections.held) < http_server.SMALL
            raise OSError
        assert [one.body for one in server.seen] == ([b""] if status == 200 else [])


def test_bodies_of_all_connections_have_one_limit_and_small_requests_pass_it() -> None:
    limits = Limits(max_body=BODY, max_held=4 * BODY)
    with serving(limits) as server, ExitStack() as stack:
        slow = [stack.enter_context(client(server)) for _ in range(12)]
        for made in slow:
            made.sendall(b"POST /events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % BODY)
            made.sendall(b"x" * (BODY * 3 // 4))
            server.on_loop(lambda: None)
        with client(server) as small:
            small.sendall(request(b"/events", method=b"POST", body=b"small"))
            assert small.recv(65536).endswith(b"small")
        held = server.on_loop(lambda: server.connections.held)
        assert held <= limits.max_held + len(slow) * http_server.SMALL
        with client(server) as large:
            large.sendall(sized(BODY))
            assert b" 503 " in large.recv(65536).splitlines()[0]
        stack.close()
        server.on_loop(lambda: None)


def test_what_is_held_is_given_back(server: Server) -> None:
    exchanged(server, request(b"/events", method=b"POST", body=b"x" * BODY))
    exchanged(server, request(b"/events", b"content-encoding: gzip", method=b"POST", body=gzip.compress(b"0" * BODY)))
    exchanged(server, sized(BODY) + b"x" * 1000)
    exchanged(server, request(b"/bad") + b"rubbish\r\n\r\n")
    with client(server) as gone:
        gone.sendall(request(b"/later", method=b"POST", body=b"x" * 1000))
        assert server.came.wait(60)
    server.answer_later()
    with client(server) as gone:
        gone.sendall(request(b"/answer") * 1000)
    exchanged(server, request(b"/events"))
    assert server.on_loop(lambda: (server.connections.held, server.connections.untaken)) == (0, 0)


def sent_until_full(server: Server, made: socket.socket, text: bytes) -> int:
    """Bytes of a text that are sent before the server reads no more of them."""
    made.setblocking(False)
    sent = blocked = 0
    while sent < len(text) and blocked < 3:
        try:
            sent += made.send(text[sent : sent + 65536])
            blocked = 0
        except BlockingIOError:
            blocked += 1
            server.on_loop(lambda: None)
    made.settimeout(60)
    return sent


def test_a_client_that_takes_no_answers_is_not_read_on_and_gets_all_when_it_does(server: Server) -> None:
    one = request(b"/answer", b"padding: " + b"x" * 8000)  # what the system keeps of both ways is then few requests
    text = one * 5000
    with client(server) as made:
        sent = sent_until_full(server, made, text)
        assert sent < len(text)
        assert server.on_loop(lambda: server.connections.untaken) < 2 * http_server.MAX_PIPELINED * len(ANSWER)
        count = -(-sent // len(one))
        sender = Thread(target=lambda: (made.sendall(text[sent : count * len(one)]), made.shutdown(socket.SHUT_WR)))
        sender.start()
        assert statuses(rest(made)) == [200] * count
        sender.join()


@pytest.mark.parametrize(
    ("own", "said"), [(b"x-with: retry-after: 30", [b"30"]), (b"x-with: a: b", [b"1"])], ids=["own", "none"]
)
def test_a_503_has_one_time_to_come_again(server: Server, own: bytes, said: list[bytes]) -> None:
    assert re.findall(rb"retry-after: (\d+)", exchanged(server, request(b"/full", own))) == said


def test_an_answer_nobody_takes_makes_room_by_a_503(server: Server) -> None:
    server.on_loop(lambda: setattr(server.connections, "untaken", server.connections.limits.max_untaken + 1))
    assert statuses(exchanged(server, request(b"/answer"))) == [503]
    server.on_loop(lambda: setattr(server.connections, "untaken", 0))


def test_head_has_no_body_and_the_length_of_one(server: Server) -> None:
    answers = exchanged(server, request(b"/answer", method=b"HEAD") + request(b"/events"))
    assert statuses(answers) == [200, 200]
    assert b"content-length: 4096" in answers
    assert ANSWER not in answers
    with serving(token=b"secret") as guarded:
        assert exchanged(guarded, request(b"/answer", method=b"HEAD")).endswith(b"\r\n\r\n")


def test_connect_has_one_answer(server: Server) -> None:
    assert statuses(exchanged(server, b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n" + request(b"/answer"))) == [501]


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_an_upgrade_is_not_done_and_the_request_answered_once(server: Server, method: bytes) -> None:
    body = b"the body" if method == b"POST" else b""
    upgrade = request(
        b"/events",
        b"connection: Upgrade, HTTP2-Settings",
        b"upgrade: h2c",
        b"http2-settings: AAM",
        method=method,
        body=body,
    )
    answers = exchanged(server, upgrade + request(b"/answer"))
    assert statuses(answers) == [200, 200]
    assert [one.body for one in server.seen] == [body, b""]
    assert server.seen[0].method == method


def test_an_upgrade_is_admitted_like_any_request() -> None:
    with serving(token=b"secret") as server:
        asked = request(b"/events", b"connection: upgrade", b"upgrade: websocket", method=b"POST", body=b"x")
        assert statuses(exchanged(server, asked)) == [401]
        assert server.seen == []


def test_a_good_request_before_a_bad_one_keeps_its_answer(server: Server) -> None:
    with client(server) as made:
        made.sendall(request(b"/later") + request(b"/answer") + b"\x16\x03\x01 rubbish\r\n\r\n" + request(b"/answer"))
        server.answer_later()
        answers = rest(made)
    assert statuses(answers) == [200, 200, 400]
    assert answers.index(b"late") < answers.index(ANSWER)


def test_a_client_that_has_said_all_gets_its_answer(server: Server) -> None:
    with client(server) as made:
        made.sendall(request(b"/later") * 2)
        made.shutdown(socket.SHUT_WR)
        server.answer_later()
        server.answer_later()
        assert statuses(rest(made)) == [200, 200]


def test_a_refused_client_that_still_sends_gets_its_answer(server: Server) -> None:
    length = 2 * BODY
    with client(server) as made:
        made.sendall(sized(length) + b"x" * (BODY // 2))
        assert statuses(rest(made)) == [413]


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\na: ",
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: ",
    ],
    ids=["target", "header", "header name", "chunk extension", "trailer"],
)
def test_what_has_no_end_is_not_kept(server: Server, begin: bytes) -> None:
    with client(server) as made:
        made.sendall(begin)
        with pytest.raises(OSError):
            for _ in range(4096):
                made.sendall(b"x" * 4096)
                assert server.on_loop(lambda: server.connections.held) < 3 * http_server.MAX_HEADERS


def test_many_tiny_headers_are_counted_with_what_they_cost(server: Server) -> None:
    many = b"".join(b"h%d:\r\n" % number for number in range(2000))
    assert statuses(exchanged(server, b"GET / HTTP/1.1\r\n" + many + b"\r\n")) == [431]


def test_trailers_change_no_header(server: Server) -> None:
    body = (
        b"POST /events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nauthorization: b\r\n\r\n"
    )
    assert statuses(exchanged(server, body)) == [200]
    assert b"authorization" not in server.seen[0].headers


def test_a_body_of_tiny_chunks_is_one_body(server: Server) -> None:
    head = b"POST /events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    answers = exchanged(server, head + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    assert answers.endswith(b"\r\n\r\n" + b"x" * 50_000)


def test_a_handler_that_fails_is_a_500_and_the_connection_goes_on(server: Server) -> None:
    assert statuses(exchanged(server, request(b"/bad") + request(b"/answer"))) == [500, 200]


def test_an_expected_continue_comes_after_the_answers_before_it(server: Server) -> None:
    with client(server) as made:
        made.sendall(request(b"/later"))
        made.sendall(b"POST /events HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        server.answer_later()
        seen = b""
        while b"100 Continue" not in seen:
            seen += made.recv(65536)
        made.sendall(b"ok")
        made.shutdown(socket.SHUT_WR)
        assert statuses(seen + rest(made)) == [200, 100, 200]
