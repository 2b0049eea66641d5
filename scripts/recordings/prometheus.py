"""Prometheus: it scrapes itself, evaluates rules of which one fails, is queried, and its remote write is refused."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from scripts.recordings import recorder
from scripts.recordings.recorder import Program

SYSTEM = "prometheus"

CONFIGURATION = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}
rule_files: [rules.yml]
scrape_configs: [{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}', '127.0.0.1:9']}}]}}]
remote_write: [{{url: 'http://127.0.0.1:9/write', name: away}}]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:9']}}]}}]}}
"""
RULES = """
groups:
  - name: g
    rules:
      - {alert: Always, expr: vector(1)}
      - {record: fails, expr: 'label_replace(up, "instance", "x", "", "") + on (job) group_left () up'}
"""


def programs() -> Iterator[Program]:
    """Debian's, and those that were built."""
    built = sorted(recorder.cached().glob("prometheus-versions/prometheus-*/prometheus"))
    found = shutil.which("prometheus")
    for path in [*([Path(found)] if found else []), *built]:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        if version := re.search(r"version (\d+\.\d+\.\d+)", said.stdout + said.stderr):
            yield Program(version=version[1], path=path)


def record(program: Program, folder: Path) -> dict[str, str]:
    """Its exposition before it has a rule or a target, and with all of them."""
    port = recorder.free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "rules.yml").write_text(RULES)
    configuration = folder / "prometheus.yml"
    command = [program.path, f"--config.file={configuration}", f"--web.listen-address=127.0.0.1:{port}"]
    command += [f"--storage.tsdb.path={folder}/data", "--web.enable-lifecycle"]
    configuration.write_text("global: {scrape_interval: 500ms}\n")
    with recorder.running(command, folder) as log:
        recorder.wait_for(f"{url}/-/ready", log)
        idle = recorder.wait_for(f"{url}/metrics", log)
        configuration.write_text(CONFIGURATION.format(port=port))
        recorder.fetch(f"{url}/-/reload", method="POST")
        recorder.wait_for(f"{url}/api/v1/query?query=count_over_time(up[1m])>4", log, '"value"')
        recorder.wait_for(f"{url}/api/v1/query?query=ALERTS", log, "Always")
        recorder.fetch(f"{url}/api/v1/query_range?query=up&start=0&end=60&step=15")
        recorder.fetch(f"{url}/api/v1/query?query=sum(")
        busy = recorder.wait_for(
            f"{url}/metrics", log, "prometheus_rule_evaluation_failures_total", "prometheus_remote_storage"
        )
    return {"-idle": idle, "": busy}
