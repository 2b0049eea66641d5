"""The local stack: what is started, with which configuration, in which order, and stopped again."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alerts import render as alerts
from chaos.places.place import Home
from midwatch import files, jobs, modules, platform_files, processes, program_versions, programs, yamlfile
from midwatch.app import prometheus
from midwatch.app.render import write
from midwatch.app.up import addresses, grafana
from midwatch.app.up.canaries import Canaries
from midwatch.app.up.episodes import Episodes
from midwatch.app.up.parts import READY_SECONDS, Part, PartDiedError, Parts, wait_until_ready
from midwatch.app.up.regions import EVENTS_B, Regions
from midwatch.app.up.webhook_receiver import WebhookReceiver
from midwatch.errors import MidwatchError
from midwatch.jobs import Job
from midwatch.ports import free_ports
from midwatch.programs import Version
from midwatch.prometheus import Client
from midwatch.spec import evaluation, load
from midwatch.spec.model import LocalProcess, Platform
from midwatch.spec.values import describe_duration, format_duration

PREPARE_SECONDS = 600
JUDGE = "exporter-judge"
"""Part that judges drift where the exporters are members of a Kafka group."""
SERVER_SECONDS = 120.0
"""How long the platform's servers may take: they start all at once, and a registry makes its database first."""
HELD = "held"
"""Folder of the state: a file named as a part keeps that part down, see `parts.Parts`."""
RESULTS = "results"
"""Folder of the state: Prometheus text in files `*.prom`, of whoever measures something and does not stay."""
LINKS = "links"
"""Folder of the state: what makes a link bad, see `chaos.places.local.links`."""
CONSOLE_TOKEN = "console-token"  # noqa: S105 - the name of a file
"""File of the state with the token that admits to silences from the console."""
MEND_SECONDS = 0.05


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
                progress = json.loads(line)
            except ValueError:
                continue
            if isinstance(progress, dict):
                self.progress = progress

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


class Stack:
    """Everything that runs for a platform file, under one state folder."""

    def __init__(self, platform: Platform, file: Path, state: Path) -> None:
        self.state = state
        self._programs = {name: programs.path_of(name) for name in ("prometheus", "alertmanager")}
        self._base = load.base_folder(file.resolve())
        try:
            for folder in ("logs", "config", HELD, RESULTS, LINKS):
                (state / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MidwatchError(f"{state}: {error.strerror}; give a folder with --state") from error
        self.parts = Parts(state / "logs", state / HELD)
        self.receiver = WebhookReceiver(state / "deliveries.jsonl", state / RESULTS, Home(state).lock)
        self._ports = {name: free_ports()[0] for name in ("console", "prometheus", "alertmanager", "exporter")}
        if any(model.canary for model in platform.models):
            self._ports["gate"] = free_ports()[0]
        self._ports |= {f"server-{server.name}": free_ports()[0] for server in platform.local.servers}
        self._grafana = grafana.find()
        self._ports |= {"grafana": free_ports()[0]} if self._grafana else {}
        self._file = self._as_it_is_here(platform, file)
        platform = load.load_platform(self._file)
        # What runs here is one plane, and hears no other: it tells nobody that they are silent.
        self._platform = program_versions.as_running(platform.model_copy(update={"regions": None}))
        self._ports |= {name: free_ports()[0] for name in self._services()}
        self.regions = Regions(platform, self._file, state, self._ports)
        self._ports |= {name: free_ports()[0] for name in self._exporters if name not in self._ports}
        self._links = {name: free_ports()[0] for name in self._link_targets()} if platform.chaos else {}
        clients = {name: self._way(name) for name in self._ports if name not in (EVENTS_B, JUDGE)}
        self.urls = {name: f"http://{address}" for name, address in clients.items()}
        self._identity = processes.identify(os.getpid())
        self._stopped = threading.Event()
        self._mender = threading.Thread(target=self._mend, name="mender", daemon=True)
        self.client = Client(self.urls["prometheus"], timeout=platform.prometheus.timeout)
        self.canaries = Canaries(self.urls.get("gate", ""), platform.local.canaries)
        self.episodes = Episodes(self.urls.get("loop", ""))

    def _as_it_is_here(self, platform: Platform, file: Path) -> Path:
        """The platform file, with an overlay where it has other addresses for servers that run here."""
        servers = [server for server in platform.local.servers if server.address]
        here = {str(server.address): self._address(f"server-{server.name}") for server in servers}
        differing = addresses.overlay(load.read(file).document.values, here)
        if not differing:
            return file.resolve()
        path = self.state / "here.yaml"
        write({path.name: yamlfile.dump(differing)}, path.parent, force=True)
        return platform_files.path_of([str(file.resolve()), str(path)])

    def _services(self) -> Iterator[str]:
        """Services of ours that the platform file asks for, beside those that always run."""
        if self._platform.loop is not None:
            yield "loop"
        if jobs.observes(self._platform):
            yield "systems"
        if self._platform.incidents.watch:
            yield "incidents"
        if evaluation.promised(self._platform):
            yield "evaluator"

    @property
    def targets(self) -> int:
        """How many targets Prometheus is to scrape."""
        return sum(len(job.targets) for job in self._jobs())

    def prepare(self, command: Sequence[str]) -> None:
        """Run one of the platform's preparations; PartDiedError when it fails or takes too long."""
        words = [self._filled(word, "prepare") for word in command]
        log = self.state / "logs" / "prepare.log"
        with log.open("ab") as output:
            try:
                subprocess.run(words, cwd=self._base, stdout=output, stderr=output, timeout=PREPARE_SECONDS, check=True)
                return
            except subprocess.CalledProcessError as error:
                reason = f"ended with code {error.returncode}"
            except subprocess.TimeoutExpired:
                reason = f"took longer than {describe_duration(PREPARE_SECONDS)}"
            except OSError as error:
                reason = f"cannot be started: {error.strerror}"
        text = log.read_text(errors="replace")[-2000:]
        raise PartDiedError(f"preparing: {' '.join(words)} {reason}; its last lines ({log}):\n{text}")

    def start(self) -> None:
        """Start everything but the traffic, and wait until it is ready."""
        self._write_config()
        self.regions.start_store(self.parts)
        self._start_links()
        servers = [self._started_server(server) for server in self._platform.local.servers]
        self._start_exporters()
        self._start_alertmanager()
        for server, part in zip(self._platform.local.servers, servers, strict=True):
            if server.ready:
                wait_until_ready(part, server.ready, self.parts, seconds=SERVER_SECONDS)
        self.regions.start_rest(self.parts)
        self._start_systems()
        self._start_prometheus()  # after what it scrapes: nobody is to be told that it is down before it has started
        self._start_grafana()
        self._start_gate()  # after the registry: whoever is champion when it first looks is so with good reason
        self._start_loop()
        self._start_explaining()
        self._start_evaluator()
        self._write_inventory()
        self._start_console()
        self._write_inventory()
        self._mender.start()
        self.canaries.start()
        self.episodes.start()

    def _started_server(self, server: LocalProcess) -> Part:
        """A server that begins to start: it has until all others have."""
        name = f"server-{server.name}"
        words = [self._filled(word, "servers", port=self._ports[name]) for word in server.command]
        return self.parts.start(name, words, folder=self._base, port=self._ports[name])

    def start_traffic(self, seconds: float) -> Traffic | None:
        """Start the platform's traffic for so many seconds, if it has one."""
        traffic = self._platform.local.traffic
        if traffic is None:
            return None
        words = [self._filled(word, "traffic", duration=seconds) for word in traffic.command]
        part = self.parts.start(f"traffic-{traffic.name}", words, folder=self._base, may_end=True)
        self._write_inventory()
        return Traffic(part)

    def _mend(self) -> None:
        """Start what is released again, at once: a view that waits for an answer must not hold it up.

        What cannot be written, as on a full disk, is tried again: who released the part waits for its number.
        """
        is_written = True
        while not self._stopped.wait(MEND_SECONDS):
            try:
                is_written = not self.parts.mend() and is_written
            except (MidwatchError, OSError):
                return  # the part stays dead, which ensure_alive tells
            if not is_written:
                with contextlib.suppress(MidwatchError):
                    self._write_inventory()
                    is_written = True

    def stop(self) -> None:
        """Stop everything that was started."""
        self.canaries.stop()
        self.episodes.stop()
        self._stopped.set()
        if self._mender.is_alive():
            self._mender.join()
        self.parts.stop_all()
        self.receiver.close()

    def _filled(self, word: str, source: str, *, port: int | None = None, duration: float | None = None) -> str:
        values = {"python": sys.executable, "exporter": self._url(source, "exporter"), "state": str(self.state)}
        values |= {"platform": str(self._file)} | ({"gate": self.urls["gate"]} if "gate" in self.urls else {})
        values |= {
            f"server:{server.name}": self._url(source, f"server-{server.name}")
            for server in self._platform.local.servers
        }
        if port is not None:
            values["port"] = str(port)
        if duration is not None:
            values["duration"] = f"{duration:g}"
        for name, value in values.items():
            word = word.replace("{" + name + "}", value)
        return word

    def _link_targets(self) -> dict[str, str]:
        """Part that a link leads to, by the link's name: experiments make these connections bad."""
        links = {f"traffic--{server.name}": f"server-{server.name}" for server in self._platform.local.servers}
        return links | {"events--exporter": "exporter"}

    def _url(self, source: str, part: str) -> str:
        """Where `source` finds a part: through the link between them if there is one."""
        link = "events--exporter" if part == "exporter" else f"{source}--{part.removeprefix('server-')}"
        return f"http://127.0.0.1:{self._links[link]}" if link in self._links else f"http://{self._way(part)}"

    def _way(self, part: str) -> str:
        """Address at which clients find a part: of the endpoint before it, where it is served from two regions."""
        port = self.regions.port_of(part)
        return self._address(part) if port is None else f"127.0.0.1:{port}"

    def _start_links(self) -> None:
        if not self._links:
            return
        words = [
            f"{name}=127.0.0.1:{self._links[name]}:{self._way(part)}" for name, part in self._link_targets().items()
        ]
        command = [*modules.command("chaos.places.local.links"), str(self.state / LINKS), *words]
        self.parts.start("links", command, folder=self.state)

    def _write_config(self) -> None:
        scraped = prometheus.render(self._platform, jobs.ordered(self._jobs()), self.urls["alertmanager"])
        rendered = alerts.render_files(self._as_it_runs(), sink_url=self.receiver.url)
        write(rendered | {"prometheus/prometheus.yml": scraped}, self.state / "config", force=True)

    def _as_it_runs(self) -> Platform:
        """The platform with the exporters of this machine: rules judge by them whether one is missing."""
        here = list(map(self._address, self._exporters))
        return self._platform.model_copy(
            update={"exporter": self._platform.exporter.model_copy(update={"targets": here})}
        )

    def _jobs(self) -> Iterator[Job]:
        """Jobs of what runs here, at the ports that were free."""
        yield Job(name=jobs.EXPORTER, targets=tuple(map(self._address, self._exporters)))
        if "gate" in self._ports:
            yield Job(name=jobs.GATE, targets=(self._address("gate"),))
        if "loop" in self._ports:
            yield Job(name=jobs.LOOP, targets=(self._address("loop"),))
        if "systems" in self._ports:  # `namespace` is a label of what the systems have
            yield Job(name=jobs.SYSTEMS, targets=(self._address("systems"),), honor_labels=True)
        if "incidents" in self._ports:
            yield Job(name=jobs.INCIDENTS, targets=(self._address("incidents"),))
        if "evaluator" in self._ports:
            yield Job(name=jobs.EVALUATOR, targets=(self._address("evaluator"),))
        for server in self._platform.local.servers:
            if server.metrics:
                name = f"server-{server.name}"
                yield Job(name=name, targets=(self._address(name),), path=server.metrics)
        yield Job(name=jobs.RESULTS, targets=(self.receiver.address,))
        if self.regions.exporter_port is not None:
            yield Job(name=jobs.RECOVERY, targets=(f"127.0.0.1:{self.regions.exporter_port}",))
        yield from jobs.of_itself(self.urls["prometheus"], self.urls["alertmanager"])
        yield from jobs.of_models(self._platform)
        yield from jobs.of_systems(self._platform)

    def _address(self, name: str) -> str:
        return f"127.0.0.1:{self._ports[name]}"

    def _start_exporters(self) -> None:
        # Members of a Kafka group are ready once the broker is, which may be one of the platform's servers.
        seconds = SERVER_SECONDS if self._platform.exporter.kafka else READY_SECONDS
        for part in [self._started_exporter(name) for name in self._exporters]:
            wait_until_ready(part, "/readyz", self.parts, seconds=seconds)

    @property
    def _exporters(self) -> tuple[str, ...]:
        """Parts that are scraped as exporters."""
        return (*self.regions.exporters, *((JUDGE,) if jobs.has_judge_alone(self._platform) else ()))

    def _started_exporter(self, name: str) -> Part:
        command = [*modules.command("midwatch"), "exporter", "serve", "-f", str(self._file)]
        command += ["--listen", self._address(name), "--state", str(self.state / name)]
        if self._platform.exporter.kafka:
            command += ["--kafka", "--member", name, *(["--judge"] if name == JUDGE else [])]
        return self.parts.start(name, command, folder=self.state, port=self._ports[name])

    def _start_alertmanager(self) -> None:
        command = [
            self._programs["alertmanager"],
            f"--config.file={self.state / 'config/alertmanager/alertmanager.yml'}",
            f"--storage.path={self.state / 'alertmanager'}",
            f"--web.listen-address={self._address('alertmanager')}",
            "--cluster.listen-address=",  # no gossip: there is one
        ]
        part = self.parts.start("alertmanager", command, folder=self.state, port=self._ports["alertmanager"])
        wait_until_ready(part, "/-/ready", self.parts)

    def _start_prometheus(self) -> None:
        kept = self._platform.prometheus.retention
        command = [
            self._programs["prometheus"],
            f"--config.file={self.state / 'config/prometheus/prometheus.yml'}",
            f"--storage.tsdb.path={self.state / 'prometheus'}",
            *([f"--storage.tsdb.retention.time={format_duration(kept)}"] if kept is not None else []),
            f"--web.listen-address={self._address('prometheus')}",
            "--enable-feature=exemplar-storage",  # the dots in the latency heatmap that lead to traces
            *(["--web.enable-otlp-receiver"] if _takes_otlp(self._platform.prometheus.version) else []),
            # Prometheus drops the first notification, before it has found Alertmanager, and repeats it after a minute.
            "--rules.alert.resend-delay=1s",
        ]
        part = self.parts.start("prometheus", command, folder=self.state, port=self._ports["prometheus"])
        wait_until_ready(part, "/-/ready", self.parts)

    def _start_grafana(self) -> None:
        if self._grafana:
            command = grafana.command(self._grafana, self._platform, self.state, self.urls)
            part = self.parts.start("grafana", command, folder=self.state, port=self._ports["grafana"])
            wait_until_ready(part, grafana.READY, self.parts, seconds=grafana.START_SECONDS)

    def _start_gate(self) -> None:
        if "gate" not in self._ports:
            return
        command = [*modules.command("midwatch"), "canary", "gate", "-f", str(self._file)]
        command += ["--listen", self._address("gate"), "--prometheus", self.urls["prometheus"]]
        command += ["--audit", str(self.state / "gate" / "audit.jsonl")]
        part = self.parts.start("gate", command, folder=self.state, port=self._ports["gate"])
        wait_until_ready(part, "/readyz", self.parts)

    def _start_explaining(self) -> None:
        """Start what says what changed before an alert; nobody waits for it."""
        if "incidents" not in self._ports:
            return
        command = [*modules.command("midwatch"), "explain", "watch", "-f", str(self._file.resolve()), "--every", "2s"]
        command += ["--prometheus", self.urls["prometheus"], "--evidence", str(self.state)]
        command += ["--listen", self._address("incidents")]
        self.parts.start("incidents", command, folder=self.state, port=self._ports["incidents"])

    def _start_evaluator(self) -> None:
        """Start what judges fairness; nobody waits for its first verdicts."""
        if "evaluator" not in self._ports:
            return
        command = [*modules.command("midwatch"), "evaluate", "serve", "-f", str(self._file)]
        command += ["--prometheus", self.urls["prometheus"], "--listen", self._address("evaluator")]
        self.parts.start("evaluator", command, folder=self.state, port=self._ports["evaluator"])

    def _start_systems(self) -> None:
        if "systems" not in self._ports:
            return
        command = [*modules.command("midwatch"), "systems", "export", "-f", str(self._file)]
        command += ["--listen", self._address("systems"), "--state", str(self.state / "systems")]
        part = self.parts.start("systems", command, folder=self.state, port=self._ports["systems"])
        wait_until_ready(part, "/readyz", self.parts)

    def _start_loop(self) -> None:
        if "loop" not in self._ports:
            return
        command = [*modules.command("midwatch"), "loop", "serve", "-f", str(self._file)]
        command += ["--listen", self._address("loop"), "--prometheus", self.urls["prometheus"]]
        command += ["--state", str(self.state / "loop")]
        part = self.parts.start("loop", command, folder=self.state, port=self._ports["loop"])
        wait_until_ready(part, "/healthz", self.parts)

    def _start_console(self) -> None:
        """Last, since it finds the others by the inventory; whoever may read its token may silence."""
        token = self.state / CONSOLE_TOKEN
        token.touch(mode=0o600)
        token.write_text(f"{secrets.token_urlsafe(24)}\n", encoding="utf-8")
        command = [*modules.command("midwatch"), "console", "-f", str(self._file)]
        command += ["--listen", self._address("console"), "--state", str(self.state), "--token-file", str(token)]
        command += ["--evidence", str(self.state), "--span", "15m"]
        part = self.parts.start("console", command, folder=self.state, port=self._ports["console"])
        wait_until_ready(part, "/readyz", self.parts)

    def _write_inventory(self) -> None:
        """What runs, for whoever wants to act on it: always whole, and right as soon as a part is another process."""
        parts = [
            {
                "name": part.name,
                "pid": part.process.pid,
                "started": _started(part.process.pid),
                "port": part.port,
                "url": None if part.port is None else part.url,
                "log": str(part.log),
            }
            for part in self.parts.started
        ]
        document = {
            "platform": str(self._file),
            "sink": {"url": self.receiver.url, "file": str(self.receiver.file)},
            "up": os.getpid(),
            "up_started": self._identity.started if self._identity else 0,
            "held": str(self.state / HELD),
            "links": str(self.state / LINKS),
            "results": str(self.state / RESULTS),
            "regions": self.regions.inventory(),
            "parts": parts,
        }
        files.replace(self.state / "plane.json", (json.dumps(document, indent=1) + "\n").encode())


def _takes_otlp(version: Version | None) -> bool:
    """Whether Prometheus has an OTLP receiver to be enabled by this flag (CHANGELOG of Prometheus, 3.0.0)."""
    return version is not None and version >= (3, 0)


def _started(pid: int) -> int | None:
    """When a process of ours started: its number alone may be another's by the time somebody acts on it."""
    identity = processes.identify(pid)
    return identity.started if identity else None
