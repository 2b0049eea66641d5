"""A platform of two regions, its planes as real programs on loopback, and whoever is told."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch import metrics, programs
from midwatch.app.render import rendered_files
from midwatch.ports import free_ports
from midwatch.prometheus import Client, UnreachableError
from midwatch.spec import load
from midwatch.spec.model import Platform
from tests.conftest import need_program, platform_document, wait_for

REGIONS = ("east", "west")
GLOBAL = "global"
PATIENCE_SECONDS = 200.0
"""How long anything may take on a busy machine; nothing waits for so long when all is well."""


def plane(region: str, **changes: Any) -> dict[str, Any]:
    return {
        "cloud": {"east": "aws", "west": "gcp"}[region],
        "cluster": f"ml-{region}",
        "prometheus": f"http://prometheus.{region}:9090",
        "alertmanager": f"http://alertmanager.{region}:9093",
        "gossip": f"alertmanager.{region}:9094",
    } | changes


def regions_section(here: str | None = "east", **changes: Any) -> dict[str, Any]:
    section: dict[str, Any] = {
        "planes": {region: plane(region) for region in REGIONS},
        "view": {
            "cloud": "azure",
            "cluster": "ml-view",
            "prometheus": "http://prometheus.view:9090",
            "query": "http://thanos.view:10902",
        },
        "primary": "east",
    }
    return section | ({"here": here} if here else {}) | changes


Loads = Callable[..., Platform]


@pytest.fixture
def load_document(tmp_path: Path) -> Loads:
    """The platform that a document describes, read as a file is."""

    def loaded(document: dict[str, Any]) -> Platform:
        file = tmp_path / "platform.yaml"
        file.write_text(yaml.safe_dump(document))
        return load.load_platform(file)

    return loaded


@pytest.fixture
def at(load_document: Loads) -> Callable[..., Platform]:
    """The platform as the plane of a region has it."""

    def placed(here: str | None, section: dict[str, Any] | None = None, **changes: Any) -> Platform:
        return load_document(platform_document(regions=section or regions_section(here), **changes))

    return placed


# Real programs ------------------------------------------------------------------------------------------------------


class Told:
    """A webhook that keeps what it is sent."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        received = threading.Condition()
        documents = self.documents

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with received:
                    documents.append(document)
                    received.notify_all()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self._received = received
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def of(self, **labels: str) -> list[dict[str, Any]]:
        """Notifications that fire of alerts with these labels."""
        return [
            one for one in self.documents if one["status"] == "firing" and labels.items() <= one["commonLabels"].items()
        ]

    def wait_for(self, **labels: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._received:
            while not (found := self.of(**labels)):
                left = deadline - time.monotonic()
                assert left > 0, f"nobody was told of {labels}; told: {[one['commonLabels'] for one in self.documents]}"
                self._received.wait(left)
        return found[0]


class Planes:
    """Prometheus of both regions and of the view, and the Alertmanagers of both regions, as they are rendered."""

    def __init__(self, folder: Path, ended: ExitStack) -> None:
        self._folder, self._ended = folder, ended
        self.told = Told()
        ended.callback(self.told.server.server_close)
        ended.callback(self.told.server.shutdown)
        self.ports = {
            (what, where): free_ports()[0]
            for what, where in (
                *(("prometheus", where) for where in (*REGIONS, GLOBAL)),
                *((what, where) for what in ("alertmanager", "gossip") for where in REGIONS),
                ("query", GLOBAL),
            )
        }
        self.processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def address(self, what: str, where: str) -> str:
        return f"127.0.0.1:{self.ports[what, where]}"

    def document(self, here: str) -> dict[str, Any]:
        section = regions_section(
            here,
            planes={
                region: plane(
                    region,
                    prometheus=f"http://{self.address('prometheus', region)}",
                    alertmanager=f"http://{self.address('alertmanager', region)}",
                    gossip=self.address("gossip", region),
                )
                for region in REGIONS
            },
            silent_after="10s",
        )
        section["view"]["prometheus"] = f"http://{self.address('prometheus', GLOBAL)}"
        section["view"]["query"] = f"http://{self.address('query', GLOBAL)}"
        channels = {name: {"webhook": {"url": f"{self.told.url}/{name}"}} for name in ("oncall", "chat")}
        return platform_document(
            regions=section,
            channels=channels,
            prometheus={"scrape_interval": "1s", "evaluation_interval": "1s", "timeout": "20s"},
            # Longer than peers wait for one another: else each would tell what the other took back meanwhile.
            alertmanager={"group_wait": "1s", "group_interval": "1m"},
        )

    def start(self) -> None:
        for where in (*REGIONS, GLOBAL):
            self._render(where)
        # At once: one that starts late has been silent, and the end of that is told for minutes.
        for where in (*REGIONS, GLOBAL):
            self._start_prometheus(where)
        until(self.hear_one_another)
        for where in REGIONS:
            self.start_alertmanager(where)
        until(lambda: all(self._has_joined(where) for where in REGIONS))

    def _has_joined(self, where: str) -> bool:
        """Whether an Alertmanager is one of a cluster of both, whose gossip has settled."""
        url = f"http://{self.address('alertmanager', where)}/api/v2/status"
        with urllib.request.urlopen(url, timeout=60) as answer:
            cluster = json.load(answer)["cluster"]
        return cluster["status"] == "ready" and len(cluster["peers"]) == len(REGIONS)

    def _render(self, where: str) -> None:
        file = self._folder / f"{where}.yaml"
        file.write_text(yaml.safe_dump(self.document(where)))
        for name, text in rendered_files(load.load_platform(file)).items():
            if name.startswith(("prometheus/", "alertmanager/")):
                path = self._folder / where / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def _start_prometheus(self, where: str) -> None:
        folder = self._folder / where
        command = [programs.path_of("prometheus"), f"--config.file={folder / 'prometheus/prometheus.yml'}"]
        command += [f"--storage.tsdb.path={folder / 'data'}", "--rules.alert.resend-delay=1s"]
        self._run("prometheus", where, [*command, f"--web.listen-address={self.address('prometheus', where)}"])

    def start_alertmanager(self, where: str) -> None:
        folder = self._folder / where / "alertmanager"
        command = [programs.path_of("alertmanager"), f"--config.file={folder / 'alertmanager.yml'}"]
        command += [f"--storage.path={folder / 'data'}", f"@{folder / 'cluster.args'}"]
        command += [f"--cluster.advertise-address={self.address('gossip', where)}"]
        self._start("alertmanager", where, [*command, f"--web.listen-address={self.address('alertmanager', where)}"])

    def _start(self, what: str, where: str, command: list[str]) -> None:
        self._run(what, where, command)
        wait_for(f"http://{self.address(what, where)}/-/ready", PATIENCE_SECONDS)

    def _run(self, what: str, where: str, command: list[str]) -> None:
        log = self._ended.enter_context((self._folder / f"{what}-{where}.log").open("wb"))
        process = self._ended.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
        self._ended.callback(process.kill)
        self.processes[what, where] = process

    def hear_one_another(self) -> bool:
        """Whether each Prometheus has heard both others, and takes none for silent."""
        heard = f"count({metrics.COPIED_HEARTBEAT.name} > time() - 5) unless on () ALERTS{{alertname='RegionSilent'}}"
        clients = [Client(f"http://{self.address('prometheus', where)}") for where in (*REGIONS, GLOBAL)]
        try:
            return all(client.value(heard) == len(REGIONS) for client in clients)
        except UnreachableError:  # it is starting
            return False

    def looked(self, where: str) -> float:
        """How often an Alertmanager has looked whether another one has notified already."""
        return self._counted(where, "alertmanager_nflog_queries_total")

    def _counted(self, where: str, series: str) -> float:
        with urllib.request.urlopen(f"http://{self.address('alertmanager', where)}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), 0.0)

    def kill(self, what: str, where: str) -> None:
        process = self.processes[what, where]
        process.kill()
        process.wait()

    def start_view(self) -> None:
        """Prometheus of all planes, a sidecar of Thanos beside each, and Thanos Query, which asks these."""
        program = need_thanos()
        self.ports |= {("sidecar", where): free_ports()[0] for where in (*REGIONS, GLOBAL)}
        query = [program, "query"]
        for where in (*REGIONS, GLOBAL):
            self._render(where)
            self._start_prometheus(where)
        until(self.hear_one_another)
        for where in (*REGIONS, GLOBAL):
            http = free_ports()[0]
            command = [program, "sidecar", f"--prometheus.url=http://{self.address('prometheus', where)}"]
            command += [f"--tsdb.path={self._folder / where / 'data'}", f"--http-address=127.0.0.1:{http}"]
            self._run("sidecar", where, [*command, f"--grpc-address={self.address('sidecar', where)}"])
            query.append(f"--endpoint={self.address('sidecar', where)}")
        query += [f"--http-address={self.address('query', GLOBAL)}", f"--grpc-address=127.0.0.1:{free_ports()[0]}"]
        self._run("query", GLOBAL, query)
        wait_for(f"http://{self.address('query', GLOBAL)}/-/ready", PATIENCE_SECONDS)


def until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (result := found()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)
    return result


def need_thanos() -> str:
    """Thanos, which `make thanos` builds."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = sorted((Path(os.environ.get("MIDWATCH_THANOS") or cache / "midwatch/thanos")).glob("thanos-*"))
    if not built:
        message = "thanos is not there: make thanos builds it where Go is installed"
        pytest.fail(message) if os.environ.get("MIDWATCH_REQUIRE_PROGRAMS") else pytest.skip(message)
    return str(built[-1])


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planes]:
    """Planes and the view over them, without Alertmanagers."""
    need_program("prometheus")
    with ExitStack() as ended:
        made = Planes(tmp_path_factory.mktemp("view"), ended)
        made.start_view()
        yield made


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planes]:
    for program in ("prometheus", "prometheus-alertmanager"):
        need_program(program)
    with ExitStack() as ended:
        made = Planes(tmp_path_factory.mktemp("planes"), ended)
        made.start()
        yield made
