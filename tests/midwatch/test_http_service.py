"""A service and what it does beside answering."""

from __future__ import annotations

import asyncio
import queue
import threading
import urllib.request

import pytest

from midwatch import http_service
from midwatch.http_service import Address, Published


def test_a_service_whose_thread_breaks_ends_with_its_error_instead_of_answering_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered, urls = threading.Event(), queue.SimpleQueue[str]()

    def broken(_: threading.Event) -> None:
        answered.wait(60)
        raise ZeroDivisionError("of a thread")

    async def serve() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", lambda *_: None, raising=False)
        address = Address(host="127.0.0.1", port=0)
        await http_service.publish(Published(text=bytes), address, beside={"work": broken}, started=urls.put)

    def ask() -> None:
        with urllib.request.urlopen(f"{urls.get()}/healthz", timeout=30) as answer:
            assert answer.status == 200
        answered.set()

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(ZeroDivisionError, match="of a thread"):
        asyncio.run(serve())
    asking.join()
