"""A driver of the stream as a process: what it says, what it has written, and what it has started."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyspark

from midwatch import exposition, modules
from midwatch.ports import free_ports

PLATFORM = """
apiVersion: midwatch/v1
platform: p
owners: {{ml: {{page: [mail], ticket: [mail]}}}}
channels: {{mail: {{email: {{to: ml@example.com, from: p@example.com, smarthost: "mail:25"}}}}}}
models:
  - {{name: fraud, owner: ml, task: classification, positive: fraud, label_maturity: 600s}}
exporter: {{label_retention: 1h}}
stream:
  listen: 127.0.0.1:{port}
  every: 200ms
  buckets: 8
  partitions: 2
  kafka: {{servers: ["{servers}"], topics: [{topics}]}}
"""

EXECUTORS = "local-cluster[2,1,1024]"
"""Two executors of one core, each a Java of its own, with so many MiB at most."""

DEFAULTS = """
spark.ui.enabled false
spark.driver.host 127.0.0.1
spark.driver.bindAddress 127.0.0.1
spark.executor.memory 512m
spark.python.authenticate.socketTimeout 120s
"""
"""Spark's own configuration where it runs on executors."""

WAIT_SECONDS = 600.0
"""How long something may take on a machine that has much else to do: Java alone starts in half a minute there."""

JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""What a JVM compiles for the long run never pays where it is killed before."""

Counts = Counter[tuple[str, ...]]


class Place:
    """The folder of a stream: its platform file, its checkpoint and its counts, whatever driver runs there."""

    def __init__(self, folder: Path, servers: str, topics: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.topics, (self.port,) = folder, topics, free_ports(1)
        text = PLATFORM.format(port=self.port, servers=servers, topics=", ".join(topics))
        (folder / "platform.yaml").write_text(text)
        self._checkpoint, self._counts = folder / "state/stream/checkpoint", folder / "state/stream/counts.db"

    @property
    def planned(self) -> int:
        """The last batch that Spark has planned; -1 before the first."""
        return self._newest("offsets")

    @property
    def committed(self) -> int:
        """The last batch that is done for Spark."""
        return self._newest("commits")

    def _newest(self, part: str) -> int:
        names = [path.name for path in (self._checkpoint / part).glob("*")]
        return max((int(name) for name in names if name.isdigit()), default=-1)

    @property
    def taken(self) -> int:
        """The last batch that is in the counts."""
        try:
            with closing(sqlite3.connect(f"file:{self._counts}?mode=ro", uri=True, timeout=10.0)) as connection:
                return int(connection.execute("SELECT coalesce(max(batch), -1) FROM batches").fetchone()[0])
        except sqlite3.Error:  # it is not there yet
            return -1

    def has_state(self, batch: int) -> bool:
        """Whether a part of the state of a batch is in the checkpoint."""
        return any(self._checkpoint.glob(f"state/0/*/{batch + 1}[._]*"))

    def read_until(self, batch: int) -> int:
        """Records of all topics up to the end of a batch."""
        last = (self._checkpoint / f"offsets/{batch}").read_text().splitlines()[-1]
        return sum(offset for partitions in json.loads(last).values() for offset in partitions.values())


class Driver:
    """`midwatch stream run` in a session of its own, with all that it starts; on executors where they are asked for."""

    def __init__(self, place: Place, *, executors: bool = False) -> None:
        self._place = place
        self._log = place.folder / "log"
        self._begun = self._log.stat().st_size if self._log.exists() else 0
        environment = os.environ | {"JDK_JAVA_OPTIONS": JAVA_OPTIONS, "PYSPARK_PYTHON": sys.executable}
        words = ["-f", "platform.yaml", "--memory", "512m"]
        if executors:
            environment |= _cluster(place.folder)
            words += ["--master", EXECUTORS]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                modules.command("midwatch", "stream", "run", *words),
                cwd=place.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What this driver has said."""
        return self._log.read_bytes()[self._begun :].decode(errors="replace")

    def has_said(self, message: str) -> bool:
        """Whether a message is in its log."""
        return f'"{message}"' in self.log

    def until(self, holds: Callable[[], bool], every: float = 0.05) -> None:
        """Wait until that holds; RuntimeError when the driver has ended, or it takes too long."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not holds():
            if self.process.poll() is not None:
                raise RuntimeError(f"the driver has ended by itself: {self.log[-3000:]}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"it does not come to pass: {self.log[-3000:]}")
            time.sleep(every)

    def samples(self) -> list[exposition.Sample]:
        """What it publishes; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._place.port}/metrics", timeout=10) as answer:
                families = exposition.parse(answer.read().decode())
        except OSError:
            return []
        return [sample for family in families for sample in family.samples]

    def total(self, name: str) -> float:
        """Sum of a metric's samples."""
        return sum(sample.value for sample in self.samples() if sample.name == name)

    # Processes ---------------------------------------------------------------------------------------------------

    def started(self, sign: bytes = b"") -> list[int]:
        """Processes of its session that have a sign in their command."""
        return [pid for pid in _session(self.process.pid) if sign in _command(pid)]

    def java(self) -> list[int]:
        """The driver's Java."""
        return self.started(b"org.apache.spark.deploy.SparkSubmit")

    def executors(self) -> list[int]:
        """Java of each executor."""
        return self.started(b"CoarseGrainedExecutorBackend")

    def workers(self) -> list[int]:
        """Spark's Python workers: processes of its daemon."""
        return self.started(b"pyspark.worker")

    def kill(self) -> None:
        """As a machine that loses power: the driver, Spark and its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _cluster(folder: Path) -> dict[str, str]:
    """Environment of a Spark with executors that writes below a folder alone; the user's Spark is linked there."""
    home, settings = folder / "spark", folder / "spark-conf"
    home.mkdir(exist_ok=True)
    settings.mkdir(exist_ok=True)
    for part in Path(pyspark.__file__).parent.iterdir():
        link = home / part.name
        if not link.exists():
            link.symlink_to(part)
    (settings / "spark-defaults.conf").write_text(DEFAULTS)
    return {"SPARK_HOME": str(home), "SPARK_CONF_DIR": str(settings), "SPARK_LOCAL_IP": "127.0.0.1"}


def _session(leader: int) -> list[int]:
    found = []
    for name in (path.name for path in Path("/proc").glob("[0-9]*")):
        try:
            if os.getsid(int(name)) == leader:
                found.append(int(name))
        except ProcessLookupError:
            continue
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
