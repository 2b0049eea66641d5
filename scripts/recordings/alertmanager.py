"""Alertmanager: two peers, an alert that is told, a receiver that is away, a silence."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from scripts.recordings import recorder
from scripts.recordings.recorder import Program

SYSTEM = "alertmanager"

CONFIGURATION = """
route: {receiver: away, group_wait: 100ms, group_interval: 1s, repeat_interval: 1m}
receivers: [{name: away, webhook_configs: [{url: 'http://127.0.0.1:9/'}]}]
"""
SILENCE = {
    "matchers": [{"name": "alertname", "value": "Other", "isRegex": False}],
    "startsAt": "2020-01-01T00:00:00Z",
    "endsAt": "2099-01-01T00:00:00Z",
    "createdBy": "recording",
    "comment": "recording",
}


def programs() -> Iterator[Program]:
    """Debian's, and those that were built."""
    built = sorted(recorder.cached().glob("prometheus-versions/alertmanager-*/alertmanager"))
    found = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    for path in [*([Path(found)] if found else []), *built]:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        if version := re.search(r"version (\d+\.\d+\.\d+)", said.stdout + said.stderr):
            yield Program(version=version[1], path=path)


def record(program: Program, folder: Path) -> dict[str, str]:
    """Its exposition before it has an alert, and after it tried to tell one."""
    port, gossip = recorder.free_port(), recorder.free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "alertmanager.yml").write_text(CONFIGURATION)
    command = [program.path, f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", f"--cluster.listen-address=127.0.0.1:{gossip}"]
    with recorder.running(command, folder) as log:
        recorder.wait_for(f"{url}/-/ready", log)
        idle = recorder.wait_for(f"{url}/metrics", log)
        recorder.fetch(f"{url}/api/v2/alerts", [{"labels": {"alertname": "Recorded", "severity": "page"}}])
        recorder.fetch(f"{url}/api/v2/alerts", [{"labels": {}}])
        recorder.fetch(f"{url}/api/v2/silences", SILENCE)
        failed = 'alertmanager_notification_requests_failed_total{integration="webhook"'
        busy = _failed(recorder.wait_for(f"{url}/metrics", log, failed), url, log)
    return {"-idle": idle, "": busy}


def _failed(text: str, url: str, log: Path) -> str:
    """The exposition once a notification has failed."""
    while not re.search(r'alertmanager_notification_requests_failed_total\{integration="webhook"[^}]*\} [1-9]', text):
        text = recorder.wait_for(f"{url}/metrics", log)
    return text
