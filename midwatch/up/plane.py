"""The plane's parts: what is started, with which configuration, in which order, and stopped again."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from alerts import render
from midwatch.commands.render import write
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client
from midwatch.spec import model as spec
from midwatch.up.canaries import Canaries
from midwatch.up.processes import Part, PartDiedError, Processes, find_program, free_port, wait_until_ready
from midwatch.up.sink import Sink

PREPARE_SECONDS = 600


class Traffic:
    """The traffic process: its last progress line, and whether it has ended."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.progress: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._read, name="traffic", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self.part.process.stdout or ():
            try:
                self.progress = json.loads(line)
            except ValueError:
                continue

    def has_ended(self) -> bool:
        """Whether it is done; PartDiedError when it failed."""
        code = self.part.process.poll()
        if code is None:
            return False
        self._thread.join()
        if code:
            text = self.part.log.read_text(errors="replace")[-2000:]
            raise PartDiedError(f"{self.part.name} ended with code {code}; its last lines ({self.part.log}):\n{text}")
        return True


class Plane:
    """Everything that runs for a platform file, under one state folder."""

    def __init__(self, platform: spec.Platform, file: Path, state: Path) -> None:
        self._platform, self._file, self._base, self.state = platform, file, file.resolve().parent, state
        self._programs = {name: find_program(name) for name in ("prometheus", "alertmanager")}
        try:
            for folder in ("logs", "config"):
                (state / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MidwatchError(f"{state}: {error.strerror}; give a folder with --state") from error
        self.processes = Processes(state / "logs")
        self.sink = Sink(state / "deliveries.jsonl")
        self._ports = {name: free_port() for name in ("prometheus", "alertmanager", "exporter")}
        if any(model.canary for model in platform.models):
            self._ports["gate"] = free_port()
        self._ports |= {f"server-{server.name}": free_port() for server in platform.local.servers}
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in self._ports.items()}
        self.client = Client(self.urls["prometheus"], timeout=platform.prometheus.timeout)
        self.canaries = Canaries(self.urls.get("gate", ""), platform.local.canaries)

    def prepare(self) -> None:
        """Run the platform's preparations; PartDiedError when one fails."""
        for command in self._platform.local.prepare:
            words = [self._filled(word) for word in command]
            log = self.state / "logs" / "prepare.log"
            with log.open("ab") as output:
                code = subprocess.run(
                    words, cwd=self._base, stdout=output, stderr=output, timeout=PREPARE_SECONDS, check=False
                ).returncode
            if code:
                text = log.read_text(errors="replace")[-2000:]
                raise PartDiedError(f"preparing failed with code {code}: {' '.join(words)}\n{text}")

    def start(self) -> None:
        """Start everything but the traffic, and wait until it is ready."""
        self._write_config()
        self._start_exporter()
        self._start_alertmanager()
        self._start_prometheus()
        self._start_gate()
        for server in self._platform.local.servers:
            name = f"server-{server.name}"
            words = [self._filled(word, port=self._ports[name]) for word in server.command]
            part = self.processes.start(name, words, folder=self._base, port=self._ports[name])
            if server.ready:
                wait_until_ready(part, server.ready, self.processes)
        self._write_inventory()
        self.canaries.start()

    def start_traffic(self, seconds: float) -> Traffic | None:
        """Start the platform's traffic for so many seconds, if it has one."""
        traffic = self._platform.local.traffic
        if traffic is None:
            return None
        words = [self._filled(word, duration=seconds) for word in traffic.command]
        part = self.processes.start(f"traffic-{traffic.name}", words, folder=self._base, may_end=True)
        self._write_inventory()
        return Traffic(part)

    def stop(self) -> None:
        """Stop everything that was started."""
        self.canaries.stop()
        self.processes.stop_all()
        self.sink.close()

    def _filled(self, word: str, *, port: int | None = None, duration: float | None = None) -> str:
        values = {"python": sys.executable, "exporter": self.urls["exporter"], "state": str(self.state)}
        values |= {
            f"server:{server.name}": self.urls[f"server-{server.name}"] for server in self._platform.local.servers
        }
        if port is not None:
            values["port"] = str(port)
        if duration is not None:
            values["duration"] = f"{duration:g}"
        for name, value in values.items():
            word = word.replace("{" + name + "}", value)
        return word

    def _write_config(self) -> None:
        scrapes = [
            render.Scrape(
                job=f"server-{server.name}", targets=(self._address(f"server-{server.name}"),), path=server.metrics
            )
            for server in self._platform.local.servers
            if server.metrics
        ]
        plane = render.Plane(
            exporters=(self._address("exporter"),),
            alertmanager=self._address("alertmanager"),
            scrapes=scrapes,
            sink_url=self.sink.url,
            gate=self._address("gate") if "gate" in self._ports else None,
        )
        write(render.render_files(self._platform, plane), self.state / "config", force=True)

    def _address(self, name: str) -> str:
        return f"127.0.0.1:{self._ports[name]}"

    def _start_exporter(self) -> None:
        command = [sys.executable, "-m", "midwatch.cli", "exporter", "serve", "-f", str(self._file.resolve())]
        command += ["--listen", self._address("exporter"), "--state", str(self.state / "exporter")]
        part = self.processes.start("exporter", command, folder=self.state, port=self._ports["exporter"])
        wait_until_ready(part, "/readyz", self.processes)

    def _start_alertmanager(self) -> None:
        command = [
            self._programs["alertmanager"],
            f"--config.file={self.state / 'config/alertmanager/alertmanager.yml'}",
            f"--storage.path={self.state / 'alertmanager'}",
            f"--web.listen-address={self._address('alertmanager')}",
            "--cluster.listen-address=",  # no gossip: there is one
        ]
        part = self.processes.start("alertmanager", command, folder=self.state, port=self._ports["alertmanager"])
        wait_until_ready(part, "/-/ready", self.processes)

    def _start_prometheus(self) -> None:
        command = [
            self._programs["prometheus"],
            f"--config.file={self.state / 'config/prometheus/prometheus.yml'}",
            f"--storage.tsdb.path={self.state / 'prometheus'}",
            f"--web.listen-address={self._address('prometheus')}",
            # Prometheus drops the first notification, before it has found Alertmanager, and repeats it after a minute.
            "--rules.alert.resend-delay=1s",
        ]
        part = self.processes.start("prometheus", command, folder=self.state, port=self._ports["prometheus"])
        wait_until_ready(part, "/-/ready", self.processes)

    def _start_gate(self) -> None:
        if "gate" not in self._ports:
            return
        command = [sys.executable, "-m", "midwatch.cli", "canary", "gate", "-f", str(self._file.resolve())]
        command += ["--listen", self._address("gate"), "--prometheus", self.urls["prometheus"]]
        command += ["--audit", str(self.state / "gate" / "audit.jsonl")]
        part = self.processes.start("gate", command, folder=self.state, port=self._ports["gate"])
        wait_until_ready(part, "/readyz", self.processes)

    def _write_inventory(self) -> None:
        """What runs, for whoever wants to act on it."""
        parts = [
            {"name": part.name, "pid": part.process.pid, "port": part.port, "log": str(part.log)}
            for part in self.processes.parts
        ]
        document = {"platform": str(self._file.resolve()), "sink": self.sink.url, "parts": parts}
        (self.state / "plane.json").write_text(json.dumps(document, indent=1) + "\n")
