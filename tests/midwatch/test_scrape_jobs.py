"""The file that Prometheus starts from keeps a user's own scrape jobs."""

from __future__ import annotations

from pathlib import Path

import yaml

from alerts import kubernetes
from midwatch.app import prometheus
from tests.conftest import midwatch_here


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
