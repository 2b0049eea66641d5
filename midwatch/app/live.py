"""What `midwatch check` looks at beside its own files: what Prometheus scrapes, and the analyses of a cluster.

Manifests that are not applied yet are looked at as the cluster's objects are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alerts import needed_jobs
from alerts.rules import files as rule_files
from midwatch import kubernetes, promql, yaml_nodes
from midwatch.errors import Problem
from midwatch.prometheus import Client
from midwatch.spec.model import Platform
from monitors.canary import argo_cluster, argo_manifests

GROUP = "/apis/argoproj.io/v1alpha1"


def prometheus_problems(platform: Platform) -> Iterator[Problem]:
    """Jobs that rules name and the platform's Prometheus scrapes not, or with others; QueryError without an answer."""
    client = Client.of(platform.prometheus)

    def jobs_with(selector: str) -> set[str]:
        return {one.labels.get("job", "") for one in client.query(f"group by (job) ({selector})")}

    scraped = jobs_with("up")
    known = {job: jobs_with(metric) for job, metric in needed_jobs.PUBLISHED_BY.items() if job not in scraped}
    yield from needed_jobs.find_problems(rule_files.documents(platform), scraped, known)
    yield from needed_jobs.find_strangers(platform, {job: _targets(client, job) for job in needed_jobs.OWN})
    yield from place_problems(platform)


def place_problems(platform: Platform) -> Iterator[Problem]:
    """Labels of the plane that its Prometheus runs without, whoever configures it; QueryError without an answer."""
    regions = platform.regions
    if regions is None or regions.here is None:
        return
    url = regions.sites[regions.here].prometheus
    running = yaml_nodes.parsed(Client.of(platform.prometheus, url).configuration())
    labels = yaml_nodes.value(yaml_nodes.value(running, "global"), "external_labels")
    for name, wanted in platform.place_labels.items():
        said = yaml_nodes.value(labels, name)
        if said is None or said.value != wanted:
            what = f"no external label {name}" if said is None else f"the external label {name}: {said.value}"
            remedy = f"give it {name}: {wanted}, in its configuration or the operator's Prometheus object"
            yield Problem(file=url, message=f"it runs with {what}, and is the plane of {regions.here}", remedy=remedy)


def _targets(client: Client, job: str) -> int:
    """Targets of a job, each once however many Prometheus there are."""
    counted = client.query(f"count({promql.scraped_once(job=job)})")
    return int(counted[0].value) if counted else 0


def cluster_problems(platform: Platform, warnings: list[Problem]) -> Iterator[Problem]:
    """What the cluster's analyses would do with a canary; UnreachableError when the cluster does not answer."""
    if not any(model.canary for model in platform.models):
        return iter(())
    found = argo_cluster.Found(
        templates=[*_objects("AnalysisTemplate"), *_objects("ClusterAnalysisTemplate")], rollouts=_objects("Rollout")
    )
    warnings += argo_cluster.find_warnings(platform, found)
    return argo_cluster.find_problems(platform, found)


def manifest_problems(platform: Platform, place: Path, warnings: list[Problem]) -> Iterator[Problem]:
    """What analyses in a file or folder would do with a canary; InvalidInputError when they cannot be read."""
    found = argo_manifests.read(platform, place)
    warnings += argo_cluster.find_warnings(platform, found)
    return argo_cluster.find_problems(platform, found)


def _objects(kind: str) -> list[kubernetes.Object]:
    """Every object of a kind of Argo Rollouts, in all namespaces."""
    items = kubernetes.request("GET", f"{GROUP}/{kind.lower()}s")["items"]
    return [{**one, "kind": kind} for one in items]
