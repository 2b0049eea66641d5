"""The file that Prometheus starts from keeps a user's own scrape jobs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alerts import kubernetes
from midwatch import jobs
from midwatch.app import prometheus
from midwatch.spec.model import Platform
from tests.conftest import midwatch_here
from tests.install.programs import whole_document


def test_scrape_jobs_of_ones_own_survive_a_render(make_platform) -> None:
    own = {"job_name": "node", "kubernetes_sd_configs": [{"role": "node"}], "scrape_interval": "30s"}
    text = prometheus.render_files(make_platform(prometheus={"scrapes": [own]}))["prometheus/prometheus.yml"]
    configs = yaml.safe_load(text)["scrape_configs"]
    assert configs[-1] == own
    assert "midwatch-exporter" in [one["job_name"] for one in configs]


def test_a_scrape_job_without_a_name_or_with_one_of_ours_is_refused(tmp_path: Path, make_document) -> None:
    file = tmp_path / "platform.yaml"
    taken = {"job_name": "midwatch-exporter"}
    file.write_text(yaml.safe_dump(make_document(prometheus={"scrapes": [taken]}), sort_keys=False))
    for command in (("render", "-o", tmp_path / "out"), ("check",)):
        done = midwatch_here(*command, "-f", file)
        assert done.returncode == 2
        assert "prometheus.scrapes[0].job_name: a second job 'midwatch-exporter'" in done.stderr
    file.write_text(yaml.safe_dump(make_document(prometheus={"scrapes": [{"jobname": "x"}]}), sort_keys=False))
    assert "has no job_name" in midwatch_here("check", "-f", file).stderr


def test_objects_of_the_operator_carry_the_labels_and_the_namespace_that_it_looks_for(make_platform) -> None:
    operator = {"namespace": "monitoring", "labels": {"release": "kube-prometheus-stack"}}
    vllm = {"name": "chat", "owner": "ml", "task": "generation", "serving": "vllm"}
    made = make_platform(models=[vllm | {"servers": {"targets": ["chat:8000"]}}], prometheus={"operator": operator})
    objects = {**kubernetes.render_objects(made), **prometheus.render_objects(made)}
    assert "kubernetes/scrape-model-chat.yaml" in objects
    for text in objects.values():
        metadata = yaml.safe_load(text)["metadata"]
        assert (metadata["namespace"], metadata["labels"]["release"]) == ("monitoring", "kube-prometheus-stack")
        assert metadata["labels"]["app.kubernetes.io/name"] == "midwatch"


@pytest.mark.parametrize("listen", ["0.0.0.0:9600", "[::]:9600", ":9600", "127.0.0.1:0"])
@pytest.mark.parametrize("section", ["exporter", "gate", "disaster_recovery"])
def test_where_a_service_listens_is_no_target_when_it_is_no_address(
    tmp_path: Path, make_document, section: str, listen: str
) -> None:
    document = with_services(make_document)
    document[section] |= {"listen": listen}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    done = midwatch_here("render", "-f", file, "-o", tmp_path / "out")
    assert (done.returncode, f"{section}.listen: {listen} is where it listens" in done.stderr) == (2, True), done.stderr
    document[section] |= {"targets": ["service:9600"]}
    found = {job.name: job.targets for job in jobs.of_platform(Platform.model_validate(document))}
    assert ("service:9600",) in found.values()


def with_services(make_document) -> dict:
    stores = [{"name": "models", "files": {"source": "models", "backup": "copies"}}]
    document = make_document(exporter={}, gate={}, disaster_recovery={"owner": "ml", "stores": stores})
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors"}]}
    return document


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({}, []),
        ({"gate": {"listen": "127.0.0.1:9500"}}, ["midwatch-gate is at 127.0.0.1:9500, as midwatch-exporter is"]),
        ({"gate": {"listen": "127.0.0.1:9500"}, "kubernetes": {}}, []),  # each has a pod's own
        ({"gate": {"targets": ["b:9500"]}, "exporter": {"targets": ["a:9500"]}}, []),
    ],
)
def test_two_services_at_one_address_are_a_problem(make_document, sections: dict, told: list[str]) -> None:
    platform = Platform.model_validate(with_services(make_document) | sections)
    assert [message for _, message, _ in jobs.find_problems(platform)] == told


def test_no_two_services_are_at_one_address_by_default() -> None:
    document = whole_document() | {"stream": {"folders": [{"path": "events"}]}}
    document.pop("kubernetes")
    platform = Platform.model_validate(document)
    assert len(list(jobs.services(platform))) == 8
    assert list(jobs.find_problems(platform)) == []


def test_a_service_off_loopback_whose_metrics_prometheus_has_no_token_for_is_warned_of(make_document) -> None:
    document = with_services(make_document)
    assert list(jobs.find_warnings(Platform.model_validate(document))) == []
    document["gate"] = {"listen": "0.0.0.0:9600", "targets": ["gate-0.gate:9600"]}
    ((place, message, remedy),) = jobs.find_warnings(Platform.model_validate(document))
    assert (place, "401" in message, "metrics_token_file" in remedy) == (("gate",), True, True)
    document["gate"]["metrics_token_file"] = "/etc/prometheus/secrets/midwatch-metrics/token"
    assert list(jobs.find_warnings(Platform.model_validate(document))) == []


SECRET = {"metrics_token_file": "/etc/prometheus/secrets/midwatch-metrics/token"}


def test_in_a_cluster_our_services_are_scraped_with_their_token_where_they_are_reached(make_document) -> None:
    document = with_services(make_document)
    assert not any("midwatch" in path for path in prometheus.render_objects(Platform.model_validate(document)))
    document["gate"] = {"targets": ["gate-0.gate:9600"], **SECRET}
    objects = prometheus.render_objects(Platform.model_validate(document))
    spec = yaml.safe_load(objects["kubernetes/scrape-midwatch-gate.yaml"])["spec"]
    assert (spec["jobName"], spec["staticConfigs"]) == ("midwatch-gate", [{"targets": ["gate-0.gate:9600"]}])
    assert spec["authorization"]["credentials"] == {"name": "midwatch-metrics", "key": "token"}
    assert not any("exporter" in path or "recovery" in path for path in objects)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://127.0.0.1:9093", {}),
        ("http://127.0.0.1:9093/", {}),
        ("https://alerts.example.com/alertmanager/", {"scheme": "https", "path_prefix": "/alertmanager"}),
    ],
)
def test_alerts_go_to_the_path_and_the_scheme_of_the_alertmanagers_address(make_platform, url: str, wanted) -> None:
    text = prometheus.render_files(make_platform(alertmanager={"url": url}))["prometheus/prometheus.yml"]
    (written,) = yaml.safe_load(text)["alerting"]["alertmanagers"]
    assert written == {**wanted, "static_configs": [{"targets": [url.split("/")[2]]}]}
