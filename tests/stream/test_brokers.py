"""Whether a broker takes connections, before Java is started."""

from __future__ import annotations

import socket

import pytest

from exporters.stream.sources import kafka
from midwatch.errors import MidwatchError
from midwatch.ports import free_ports


def test_a_driver_starts_when_one_of_its_brokers_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        kafka.ensure_reachable([f"127.0.0.1:{free_ports()[0]}", f"127.0.0.1:{server.getsockname()[1]}"])


def test_brokers_that_do_not_answer_are_named_with_the_reason() -> None:
    address = f"127.0.0.1:{free_ports()[0]}"
    with pytest.raises(MidwatchError, match=f"{address}: Connection refused.*start one"):
        kafka.ensure_reachable([address])
