"""A Prometheus on blocks that were made before it was started."""

from __future__ import annotations

import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from midwatch.ports import free_ports


def backfill(folder: Path, lines: Sequence[str], *, longest: str = "2h") -> None:
    """Make blocks of lines of OpenMetrics; `longest` is what one spans at most, as after a server's own compaction."""
    (folder / "history.txt").write_text("".join(lines) + "# EOF\n")
    command = ["promtool", "tsdb", "create-blocks-from", f"--max-block-duration={longest}"]
    command += ["openmetrics", "history.txt", "data"]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)


@contextmanager
def prometheus(prepare: Callable[[Path], None], config: dict | None = None) -> Iterator[str]:
    """A Prometheus on prepared blocks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config or {}))
        port = free_ports()[0]
        command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=60d"]
        command += ["--rules.alert.resend-delay=1s"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(f"http://127.0.0.1:{port}/-/ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def wait_for(url: str) -> None:
    """Wait until an address answers; TimeoutError after 30 s."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError):
            urllib.request.urlopen(url, timeout=1).close()
            return
        time.sleep(0.1)
    raise TimeoutError(url)
