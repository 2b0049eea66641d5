"""A Kafka broker on loopback: one node that is its own controller (KRaft), for the demo and for tests.

The jars are an unpacked Apache Kafka's ($KAFKA_HOME), or those that scripts/kafka-jars fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from midwatch.errors import MissingProgramError

HEAP = "256m"
"""The broker's memory for objects: a few topics and clients need a third of it."""

FORMAT_SECONDS = 120.0
"""How long formatting may take, on a machine that has much to do."""

_CLUSTER = "bWlkd2F0Y2gtbG9jYWwtMQ"
"""Id of the cluster: any 16 bytes in base64."""

_REMEDY = "set KAFKA_HOME to an unpacked Apache Kafka, or run scripts/kafka-jars in a clone of Midwatch (needs Maven)"


@dataclass(frozen=True, kw_only=True)
class Broker:
    """A broker whose storage is formatted: `command` starts it, `servers` is where clients find it (HOST:PORT)."""

    command: tuple[str, ...]
    folder: Path
    servers: str


def jars() -> Path | None:
    """Folder with the broker's jars; None when there is none."""
    home = os.environ.get("KAFKA_HOME")
    if home:
        return _with_broker(Path(home) / "libs")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "midwatch" / "jars"
    found = sorted(cache.glob("kafka-*"), key=lambda folder: folder.stat().st_mtime)
    return _with_broker(found[-1]) if found else None


def _with_broker(folder: Path) -> Path | None:
    return folder if any(folder.glob("kafka_2.*.jar")) else None


def prepare(folder: Path, port: int, controller_port: int) -> Broker:
    """Write a broker's configuration into a folder and format its storage there, unless it has been.

    Raises MissingProgramError, which says what to install, without Java or the jars.
    """
    java = shutil.which("java")
    if java is None:
        raise MissingProgramError("java", "install the Debian package default-jre-headless, or put it on PATH")
    libraries = jars()
    if libraries is None:
        raise MissingProgramError("Kafka", _REMEDY)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "server.properties"
    file.write_text(_properties(folder, port, controller_port))
    machine = (java, f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{libraries}/*")
    if not (folder / "data" / "meta.properties").exists():
        command = [*machine, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=FORMAT_SECONDS)
    return Broker(command=(*machine, "kafka.Kafka", str(file)), folder=folder, servers=f"127.0.0.1:{port}")


def _properties(folder: Path, port: int, controller_port: int) -> str:
    """Configuration (https://kafka.apache.org/documentation/#brokerconfigs): everything is kept once, on this node."""
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "log.dirs": folder / "data",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "log.cleaner.dedupe.buffer.size": 4 * 2**20,  # its usual 128 MiB are half of the heap
        "log.retention.check.interval.ms": 1000,
        "log.initial.task.delay.ms": 1000,
        "num.network.threads": 2,
        "num.io.threads": 2,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
