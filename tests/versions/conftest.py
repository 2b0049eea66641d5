"""What only newer programs have is tried by `make versions`, which puts them first on PATH; elsewhere it skips."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from midwatch import programs
from midwatch.programs import Version, version_text
from tests.conftest import free_port, wait_for

Start = Callable[..., str]


def need(name: str, least: Version) -> None:
    """Skip a test whose program is older, or is not there."""
    found = programs.version(name)
    if found is None or found < least:
        here = "none is here" if found is None else f"{version_text(found)} is here"
        pytest.skip(f"needs {name} {version_text(least)}, and {here}: make versions")


@pytest.fixture
def start_prometheus(tmp_path: Path) -> Iterator[Start]:
    """Starts a Prometheus with a configuration and flags, and gives its URL."""
    with ExitStack() as ended:

        def start(configuration: str, *flags: str) -> str:
            port = free_port()
            folder = tmp_path / f"prometheus-{port}"
            folder.mkdir()
            (folder / "prometheus.yml").write_text(configuration)
            command = [programs.path_of("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
            command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}", *flags]
            log = ended.enter_context((folder / "log").open("wb"))
            process = ended.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
            ended.callback(process.kill)
            wait_for(f"http://127.0.0.1:{port}/-/ready", 60)
            return f"http://127.0.0.1:{port}"

        yield start
