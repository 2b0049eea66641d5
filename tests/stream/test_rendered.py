"""What is rendered for a stream: its driver in a cluster, its scrape, its alerts; and no exporter where none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.rules import shipped
from dashboards import render as dashboards
from midwatch import jobs, metrics, yamlfile
from midwatch.app.workloads import render
from midwatch.errors import InvalidInputError
from midwatch.spec import load, model

PLATFORM = """
apiVersion: midwatch/v1
platform: p
owners: {ml: {page: [mail], ticket: [mail]}}
channels: {mail: {email: {to: ml@example.com, from: p@example.com, smarthost: "mail:25"}}}
models:
  - {name: fraud, owner: ml, task: classification, positive: fraud}
kubernetes: {}
"""

STREAM = """
stream:
  targets: ["midwatch-stream:9560"]
  kafka: {servers: ["kafka:9092"], topics: [predictions]}
"""


def platform(folder: Path, text: str) -> model.Platform:
    path = folder / "platform.yaml"
    path.write_text(PLATFORM + text)
    return load.load_platform(path)


def names(given: model.Platform) -> set[str]:
    return {rule.name for rule in shipped.of_platform(given)}


def test_the_driver_keeps_checkpoint_and_counts_on_one_volume_and_reaches_the_brokers(tmp_path: Path) -> None:
    files = render.render_objects(platform(tmp_path, STREAM), "")
    objects = {one["kind"]: one for one in yamlfile.load_all(files["kubernetes/plane-stream.yaml"])}
    workload = objects["StatefulSet"]["spec"]
    assert workload["replicas"] == 1
    (container,) = workload["template"]["spec"]["containers"]
    words = container["command"]
    for option in ("--checkpoint", "--sink"):
        assert words[words.index(option) + 1].startswith("/var/lib/midwatch/stream/")
    policies = yamlfile.load_all(files["kubernetes/plane-network.yaml"])
    (policy,) = [one for one in policies if one["metadata"]["name"] == "midwatch-stream"]
    assert 9092 in [port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", ())]


def test_alerts_on_the_stream_are_of_platforms_that_have_one(tmp_path: Path) -> None:
    assert {name for name in names(platform(tmp_path, STREAM)) if name.startswith("Stream")} == {
        "StreamDown",
        "StreamBehind",
        "StreamDropsLate",
    }
    assert not any(name.startswith("Stream") for name in names(platform(tmp_path, "")))


def test_no_exporter_is_scraped_missed_or_rendered_where_the_stream_counts_everything(tmp_path: Path) -> None:
    beside = platform(tmp_path, STREAM)
    alone = platform(tmp_path, STREAM + "  exporters: false\n")
    for given, is_there in ((beside, True), (alone, False)):
        files = render.render_objects(given, "")
        assert ("kubernetes/plane-exporter.yaml" in files) is is_there
        assert (jobs.EXPORTER in [job.name for job in jobs.of_platform(given)]) is is_there
        assert ("ExporterDown" in names(given)) is is_there
        assert any(jobs.EXPORTER in text for text in files.values()) is is_there


def test_a_stream_has_a_section_that_shows_each_of_its_metrics(tmp_path: Path) -> None:
    told = [name for name in metrics.CATALOGUE if name.startswith("midwatch_stream_")]
    text = " ".join(dashboards.render_files(platform(tmp_path, STREAM)).values())
    assert told
    assert [name for name in told if name not in text] == []
    assert "midwatch_stream_" not in " ".join(dashboards.render_files(platform(tmp_path, "")).values())


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("stream: {}", "needs something to read"),
        ("stream: {kafka: {servers: [kafka], topics: [a]}}", "servers"),
        ('stream: {kafka: {servers: ["kafka:9092"], topics: ["a b"]}}', "topics"),
    ],
)
def test_what_names_nothing_to_read_is_a_problem_with_its_line(tmp_path: Path, written: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=f"platform.yaml:\\d+: stream.*{said}"):
        platform(tmp_path, written)
