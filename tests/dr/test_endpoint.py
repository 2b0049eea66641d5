"""The endpoint before a local store: routes, terms, and connections that are cut."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dr import children
from dr.stores.local_postgresql import endpoint
from tests.conftest import free_port
from tests.dr.conftest import wait_until


def speaker(word: bytes) -> tuple[socket.socket, int]:
    """A server that greets with a word and keeps the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as kept:
            while True:
                connection = kept.enter_context(listener.accept()[0])
                connection.sendall(word)

    threading.Thread(target=serve, daemon=True).start()
    return listener, listener.getsockname()[1]


@pytest.fixture
def running_endpoint(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    one, port_a = speaker(b"a")
    other, port_b = speaker(b"b")
    port = free_port()
    endpoint.describe(tmp_path, [endpoint.Listener(port=port, targets={"a": port_a, "b": port_b})])
    (tmp_path / "route.json").write_text(json.dumps({"term": 1, "region": "a"}))
    process = endpoint.start(tmp_path)
    wait_until(lambda: (tmp_path / "endpoint.sock").exists())
    yield tmp_path, port
    children.stop(process)
    one.close()
    other.close()


def greeting(port: int) -> tuple[socket.socket, bytes]:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    return connection, connection.recv(1)


def test_a_new_route_cuts_every_connection_and_an_old_term_is_refused(running_endpoint) -> None:
    folder, port = running_endpoint
    old, word = greeting(port)
    assert word == b"a"
    assert endpoint.reroute(folder / "endpoint.sock", term=2, region="b") >= 1
    with contextlib.suppress(ConnectionError):
        assert old.recv(1) == b""
    new, word = greeting(port)
    assert word == b"b"
    with pytest.raises(endpoint.EndpointError, match="term 2 is in force"):
        endpoint.reroute(folder / "endpoint.sock", term=2, region="a")
    assert endpoint.route_of(folder) == {"term": 2, "region": "b"}
    old.close()
    new.close()


def test_an_endpoint_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with pytest.raises(endpoint.EndpointError, match="does not answer"):
        endpoint.reroute(tmp_path / "nothing.sock", term=2, region="b")
