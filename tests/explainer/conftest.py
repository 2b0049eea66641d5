"""Models that are small, the background they have, and a service that is asked in this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from midwatch import exposition
from midwatch.http_server import Request
from monitors.explainer import background, explainer
from monitors.explainer.explanation import Floats, Rows
from monitors.explainer.model import Loaded, as_answers
from monitors.explainer.service import Limits, Service

COLUMNS = ("age", "income", "debt")


def usual_rows(count: int = 40) -> Floats:
    return np.random.default_rng(7).normal(size=(count, len(COLUMNS)))


@pytest.fixture
def background_file(tmp_path: Path) -> Path:
    rows = usual_rows()
    file = tmp_path / "background.parquet"
    pyarrow.parquet.write_table(pa.table({name: rows[:, place] for place, name in enumerate(COLUMNS)}), file)
    return file


class Function:
    """A model of a function."""

    def __init__(self, function: Callable[[Rows], Any]) -> None:
        self._function = function

    def predict(self, rows: Rows, seconds: float) -> Floats:
        return as_answers(self._function(rows), len(rows), "the model")


@pytest.fixture
def make_explainer(background_file: Path) -> Any:
    def made(function: Callable[[Rows], Any], **changes: Any) -> explainer.Explainer:
        settings = {"model": "credit", "version": "v7", "output": None, "precision": 0.05, **changes}
        return explainer.build(Loaded(model=Function(function)), background.read(background_file), **settings)

    return made


class Asked:
    """A service, and answers to requests: `ask` waits for one; threads work only between `work` and the end."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ended = threading.Event()

    def work(self) -> None:
        run = self.service._workers.run
        threading.Thread(target=run, args=(self.ended,), daemon=True).start()

    def begin(self, path: str, document: Any = None, **headers: str) -> asyncio.Future[Any]:
        answer = asyncio.get_running_loop().create_future()

        def respond(status: int, content: bytes, content_type: str, /, *, headers: str = "") -> None:
            is_json = content_type == "application/json"
            read = json.loads(content) if is_json else content.decode()
            answer.set_result(SimpleNamespace(status=int(status), content=read, headers=headers))

        body = document if isinstance(document, bytes) else json.dumps(document).encode() if document else b""
        named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        method = b"GET" if document is None else b"POST"
        self.service.answer(Request(method=method, path=path.encode(), headers=named, body=body), respond)
        return answer

    async def ask(self, path: str, document: Any = None, **headers: str) -> Any:
        return await asyncio.wait_for(self.begin(path, document, **headers), 60)

    async def ask_in_time(self, path: str, document: Any = None) -> Any:
        """An answer before the deadline, which a busy machine does not always keep."""
        while (answer := await self.ask(path, document)).status == 504:
            pass
        return answer

    async def sample(self, name: str, **labels: str) -> float:
        """Value of a series of /metrics, named without model and version."""
        text = (await self.ask("/metrics")).content
        wanted = {"model": "credit", "version": "v7", **labels}
        samples = [one for family in exposition.parse(text) for one in family.samples]
        (value,) = (one.value for one in samples if one.name == name and one.labels == wanted)
        return float(value)


@pytest.fixture
def asked(make_explainer: Any) -> Iterator[Callable[..., Asked]]:
    made: list[Asked] = []

    def of(function: Callable[[Rows], Any] = lambda rows: rows @ np.array([1.0, 2.0, 0.0]), **limits: Any) -> Asked:
        limits = {"deadline": 30.0, **limits}  # a busy machine is no matter but where the deadline is
        made.append(Asked(Service(make_explainer(function), Limits(**limits))))
        return made[-1]

    yield of
    for one in made:
        one.ended.set()


@pytest.fixture
def predictor() -> Iterator[SimpleNamespace]:
    """A server that answers every POST with what `answer(document)` returns, as status and document."""
    seen = SimpleNamespace(requests=[], answer=lambda document: (200, {}))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, document))
            status, answer = seen.answer(document)
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # whoever asked may be gone
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    seen.url = f"http://127.0.0.1:{server.server_port}"
    yield seen
    server.shutdown()
    server.server_close()
