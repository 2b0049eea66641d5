"""`prometheus.base`: an existing prometheus.yml keeps what it says, and gets our jobs and rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.app import prometheus
from midwatch.errors import InvalidInputError
from midwatch.spec import load
from tests.conftest import platform_document

EXISTING = """\
global:
  scrape_interval: 15s
  external_labels: {cluster: "0123", zone: 0123, on: yes}
rule_files: [/etc/prometheus/*.rules]
alerting:
  alertmanagers:
  - static_configs: [{targets: [am:9093]}]
scrape_configs:
- &node
  job_name: node
  static_configs: [{targets: ["n:9100"]}]
- <<: *node
  job_name: other
remote_write:
- url: https://store/api
"""


def read(tmp_path: Path, existing: str | None, **changes: Any) -> tuple[Any, Any]:
    if existing is not None:
        (tmp_path / "existing.yml").write_text(existing)
    document = platform_document(prometheus={"base": "existing.yml", **changes})
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    return load.load_with_places(tmp_path / "platform.yaml")


def rendered(platform: Any) -> Any:
    return yaml.load(prometheus.render_files(platform)["prometheus/prometheus.yml"], Loader=yaml.BaseLoader)


def test_what_exists_stays_as_it_is_written_and_ours_is_added(tmp_path: Path) -> None:
    platform, document = read(tmp_path, EXISTING, scrapes=[{"job_name": "mine"}])
    assert prometheus.find_problems(platform, document) == []
    found, plain = rendered(platform), prometheus.render_files(platform)["prometheus/prometheus.yml"]
    assert 'cluster: "0123", zone: 0123, on: yes' in plain
    assert found["global"]["evaluation_interval"] == "15s"
    assert found["rule_files"] == ["/etc/prometheus/*.rules", "rules/*.yml"]
    assert found["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["am:9093"]}]}]
    names = [job["job_name"] for job in found["scrape_configs"]]
    assert names[:2] == ["node", "other"] and names[-1] == "mine" and "midwatch-exporter" in names
    assert found["remote_write"] == [{"url": "https://store/api"}]


@pytest.mark.parametrize("existing", ["", "# nothing\n", "global:\n", "scrape_configs: []\n"])
def test_what_says_nothing_leaves_ours(tmp_path: Path, existing: str) -> None:
    platform, document = read(tmp_path, existing)
    alone = platform.model_copy(update={"prometheus": platform.prometheus.model_copy(update={"base": None})})
    assert prometheus.find_problems(platform, document) == []
    assert rendered(platform) == rendered(alone)


def test_two_of_a_name_and_other_intervals_are_told(tmp_path: Path) -> None:
    existing = EXISTING.replace("15s", "1m").replace("job_name: other", "job_name: midwatch-exporter")
    platform, document = read(tmp_path, existing)
    name, interval = map(str, prometheus.find_problems(platform, document))
    assert "prometheus.base: it has a job 'midwatch-exporter', and Midwatch or scrapes writes another" in name
    assert "prometheus.base: its global.scrape_interval is 1m, and prometheus.scrape_interval is 15s" in interval


@pytest.mark.parametrize(
    ("existing", "said"),
    [
        (None, "existing.yml: No such file"),
        ("- a\n", "not a mapping"),
        ("a: [", "existing.yml:"),
        ("a: 1\n---\nb: 2\n", "2 d"),
    ],
)
def test_a_file_that_is_none_is_told_where_it_is_named(tmp_path: Path, existing: str | None, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, existing)
    (problem,) = caught.value.problems
    assert problem.path == "prometheus.base" and said in problem.message
