"""Builders and real programs that tests share."""

from __future__ import annotations

import compileall
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings

from midwatch import kafka_broker
from midwatch.ports import free_ports
from midwatch.spec import load, model

settings.register_profile("midwatch", deadline=None)  # the machine may be busy with something else
settings.load_profile("midwatch")

HERE = Path(__file__).parent
ROOT = HERE.parent
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

COMPUTING = ("alerts", "drift", "midwatch", "systems")
"""Folders whose tests compute and wait for nothing: they fill the time that others spend waiting for programs."""
LANES = (
    ("up", "chaos", "midwatch"),
    ("dr", "install", "terraform", "promotion", "systems"),
    ("canary", "alerts", "fairness", "explainer", "evaluator", "attribution", "regression", "incident"),
    ("exporters", "drift", "dashboards", "status", "report"),
    ("loop", "examples", "systems_export", "versions", "releases", "regions", "stream", "browser"),
)
"""Folders in the order in which a worker runs them: five workers for two cores, because they also wait for programs;
and never two planes of `midwatch up` at once.
The browser is last: Playwright keeps an event loop running, beside which no other can be."""
PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "java": "default-jre-headless",
    "postgres": "postgresql",
    "promtool": "prometheus",
}
"""Debian package of a program whose package has another name."""

os.environ.pop("COLUMNS", None)
# readline, which pytest loads, sets it behind Python's back, and workers inherit it: tables would be that narrow.

os.environ.setdefault("GOGC", "400")
# Programs in Go that live for a test spend a sixth of their time on collecting garbage that would fit into memory.

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where the cores are shared, threads of one computation wait for each other busily: training the models of the flights
# takes 6 CPU seconds with one thread, and 50 with two.

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs so, and children inherit it: Ctrl-C would reach none of those tried here.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure() -> None:
    """Compile the commands once: where no process may write bytecode, each of hundreds would compile them anew."""
    if WORKER is None:
        for package in ROOT.glob("*/__init__.py"):
            compileall.compile_dir(package.parent, quiet=2)


def folder_of(path: Path) -> str:
    """The folder of the tests in which a file is; its own name, where it is right in `tests`."""
    return path.relative_to(HERE).parts[0]


def lane_of(folder: str) -> int:
    """Number of the lane of a folder; one that is in no lane belongs to the last."""
    return next((number for number, lane in enumerate(LANES) if folder in lane), len(LANES) - 1)


def place_of(path: Path) -> tuple[int, int]:
    folder = folder_of(path)
    lane = lane_of(folder)
    return lane, LANES[lane].index(folder) if folder in LANES[lane] else -1


def is_run_here(folder: str) -> bool:
    """Whether this worker runs the tests of a folder; without workers one process runs all."""
    return WORKER is None or lane_of(folder) % WORKERS == int(WORKER.removeprefix("gw"))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """A worker imports the tests of its own lane alone."""
    return None if collection_path == HERE or is_run_here(folder_of(collection_path)) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if is_run_here(folder_of(item.path))]  # those that were asked for by name, too
    items.sort(key=lambda item: place_of(item.path))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Compressed bytes carry the second in which they were made: two workers would name one test differently."""
    return argname if isinstance(val, bytes) and not val.isascii() else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each worker runs all that it has collected, which is its lane: while some wait for programs another computes."""
    from xdist.scheduler import EachScheduling

    class ByLane(EachScheduling):
        def schedule(self) -> None:
            session: Any = config.pluginmanager.get_plugin("dsession")
            session._session.testscollected = sum(map(len, self.node2collection.values()))
            super().schedule()

    return ByLane(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A worker that computes beside programs leaves them the processors."""
    be_nice(10 if folder_of(item.path) in COMPUTING else 0)


def be_nice(niceness: int) -> None:
    """Give a worker a niceness; what it starts inherits it."""
    if WORKER:
        with suppress(PermissionError):  # only root goes back to what it was
            os.setpriority(os.PRIO_PROCESS, 0, niceness)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The last lines say what was skipped, and how to get it."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())
    )
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {count}: {reason}")


def free_port() -> int:
    return free_ports()[0]


def need_program(name: str) -> str:
    be_nice(0)  # whoever waits for a program has a limit, and would get a twentieth of a processor
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed: apt-get install {PACKAGES.get(name, name)}"
        pytest.fail(message) if os.environ.get("MIDWATCH_REQUIRE_PROGRAMS") else pytest.skip(message)
    return str(found)


def midwatch_here(*words: object) -> subprocess.CompletedProcess[str]:
    """The command as it is typed, in this process: one of its own spends seconds on importing.

    What the command puts into the environment ends with it, as it would with its process.
    """
    from midwatch.app import cli

    code, environment = 0, dict(os.environ)
    with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
        try:
            cli.main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os.environ.clear()
            os.environ.update(environment)
    return subprocess.CompletedProcess(words, code, output.getvalue(), errors.getvalue())


def wait_for(url: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def platform_document(**changes: Any) -> dict[str, Any]:
    """A good platform file; each test breaks or changes one thing."""
    document: dict[str, Any] = {
        "apiVersion": "midwatch/v1",
        "platform": "test",
        "owners": {"ml": {"page": ["oncall"], "ticket": ["chat"]}},
        "channels": {
            "oncall": {"pagerduty": {"routing_key_file": "/run/secrets/pd"}},
            "chat": {"webhook": {"url": "http://127.0.0.1:1/chat"}},
        },
        "models": [
            {
                "name": "fraud",
                "owner": "ml",
                "task": "classification",
                "positive": "fraud",
                "groups": ["country"],
                "slos": [
                    {"name": "availability", "sli": "availability", "objective": "99.9%"},
                    {"name": "latency", "sli": {"latency": {"threshold": "250ms"}}, "objective": "99%"},
                    {"name": "accuracy", "sli": {"outcome": "correct"}, "objective": "80%"},
                ],
            }
        ],
    }
    return document | changes


def platform(**changes: Any) -> model.Platform:
    return model.Platform.model_validate(platform_document(**changes))


@pytest.fixture
def make_platform() -> Any:
    return platform


@pytest.fixture
def make_document() -> Any:
    return platform_document


@pytest.fixture
def load_text(tmp_path: Path) -> Any:
    def loaded(text: str) -> model.Platform:
        file = tmp_path / "platform.yaml"
        file.write_text(text)
        return load.load_platform(file)

    return loaded


@pytest.fixture(scope="session")
def prometheus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Prometheus that scrapes itself."""
    program = need_program("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a real Kafka broker without topics."""
    need_program("java")
    if kafka_broker.jars() is None:
        message = "the jars of a Kafka broker are not there: scripts/kafka-jars kafka"
        pytest.fail(message) if os.environ.get("MIDWATCH_REQUIRE_PROGRAMS") else pytest.skip(message)
    broker = kafka_broker.prepare(tmp_path_factory.mktemp("kafka"), *free_ports(2))
    process = subprocess.Popen(broker.command, cwd=broker.folder, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 180
        while not answers_metadata(broker.servers):
            assert process.poll() is None, "the broker ended by itself"
            assert time.monotonic() < deadline, "the broker does not answer"
        yield broker.servers
    finally:
        process.kill()
        process.wait()


def answers_metadata(servers: str) -> bool:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        return bool(AdminClient({"bootstrap.servers": servers, "log_level": 0}).list_topics(timeout=5).brokers)
    except KafkaException:
        return False


@pytest.fixture
def receiver() -> Iterator[SimpleNamespace]:
    """A receiver that answers with the statuses it is given, the last one for ever; 0 closes without an answer."""
    seen = SimpleNamespace(requests=[], statuses=[200])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.requests.append((self.path, dict(self.headers), body))
            status = seen.statuses.pop(0) if len(seen.statuses) > 1 else seen.statuses[0]
            if status:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(b'{"eventID": "7"}')

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    seen.url = f"http://127.0.0.1:{server.server_port}"
    yield seen
    server.shutdown()
    server.server_close()
