"""The Helm chart: what it installs is what is rendered, and values change what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.app import helm as helm_values
from tests.conftest import midwatch_here
from tests.install.programs import CHART, NAMESPACE, Object, helm, kubectl, objects, template

Objects = dict[tuple[str, str, str], Object]


@pytest.fixture(scope="module")
def written(values: Path) -> str:
    return template(values)


@pytest.fixture
def changed(values: Path, tmp_path: Path) -> Callable[..., Objects]:
    def with_values(**own: Any) -> Objects:
        file = tmp_path / "own.yaml"
        file.write_text(yaml.safe_dump(own))
        return objects(template(values, "-f", file))

    return with_values


def pod(found: Objects, name: str, kind: str = "StatefulSet") -> Object:
    return found[kind, NAMESPACE, name]["spec"]["template"]


def test_the_chart_installs_what_is_rendered_for_a_cluster(written: str, expected: Objects) -> None:
    assert objects(written) == expected


def test_the_chart_writes_the_same_bytes_again(written: str, values: Path) -> None:
    assert template(values) == written


def test_what_no_value_changes_is_as_it_was_rendered_to_the_byte(written: str, whole: Path) -> None:
    for path in sorted((whole / "kubernetes").rglob("*.yaml")):
        for text in path.read_text().split("\n---\n"):
            assert text.strip() in written, path.name


def test_helm_finds_no_fault_in_it(values: Path) -> None:
    done = helm("lint", "--strict", CHART, "-f", values)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({}, "midwatch render --target helm"),
        ({"rendered": {"a.yaml": "kind: A"}, "renderedBy": "9.9.9"}, "rendered by Midwatch 9.9.9"),
        ({"imagePullSecret": ["x"]}, "imagePullSecret"),
        ({"parts": {"dashboard": False}}, "dashboard"),
        ({"replicas": {"midwatch-exporter": "three"}}, "replicas"),
        ({"storage": {"midwatch-exporter": "fifty"}}, "storage"),
        ({"resources": {"exporter": {"limit": {"memory": "8Gi"}}}}, "limit"),
        ({"parts": None}, "parts is required"),
        ({"parts": {"rules": None}}, "rules is required"),
        ({"replicas": None}, "replicas is required"),
    ],
    ids=[
        "nothing rendered",
        "another version",
        "misspelt value",
        "misspelt part",
        "wrong kind",
        "no quantity",
        "misspelt key of resources",
        "no parts",
        "a part that is neither on nor off",
        "no sizes",
    ],
)
def test_values_that_cannot_be_meant_are_refused(tmp_path: Path, own: Object, said: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(own))
    done = helm("template", "midwatch", CHART, "-f", file)
    assert done.returncode == 1
    assert said in done.stderr


def test_values_of_pods_reach_every_pod_and_the_judges_job(changed: Callable[..., Objects]) -> None:
    found = changed(
        image="mirror/midwatch:2",
        imagePullPolicy="Always",
        imagePullSecrets=["mirror"],
        tolerations=[{"key": "plane", "operator": "Exists"}],
        nodeSelector={"pool": "plane"},
        priorityClassName="high",
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318", "A": "1"},
        podAnnotations={"linkerd.io/inject": "enabled"},
        labels={"team": "sre"},
    )
    templates = [
        one["spec"]["template"] for (kind, _, _), one in found.items() if kind in ("StatefulSet", "Deployment")
    ]
    templates += [
        one["spec"]["jobTemplate"]["spec"]["template"] for (kind, _, _), one in found.items() if kind == "CronJob"
    ]
    templates += [
        metric["provider"]["job"]["spec"]["template"]
        for (kind, _, _), one in found.items()
        if kind == "AnalysisTemplate"
        for metric in one["spec"]["metrics"]
        if "job" in metric["provider"]
    ]
    assert len(templates) == 12
    for one in templates:
        spec, (container,) = one["spec"], one["spec"]["containers"]
        assert (container["image"], container["imagePullPolicy"]) == ("mirror/midwatch:2", "Always")
        assert spec["imagePullSecrets"] == [{"name": "mirror"}]
        assert spec["tolerations"] == [{"key": "plane", "operator": "Exists"}]
        assert (spec["nodeSelector"], spec["priorityClassName"]) == ({"pool": "plane"}, "high")
        assert [entry["name"] for entry in container["env"]][-2:] == ["A", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        assert one["metadata"]["annotations"]["linkerd.io/inject"] == "enabled"
        assert one["metadata"]["labels"]["team"] == "sre"
    assert all(one["metadata"]["labels"]["team"] == "sre" for one in found.values())
    for kind, namespace, name in [key for key in found if key[0] == "StatefulSet"]:
        assert "team" not in found[kind, namespace, name]["spec"]["selector"]["matchLabels"]


def test_sizes_are_changed_by_name(changed: Callable[..., Objects]) -> None:
    found = changed(
        replicas={"midwatch-exporter": 3},
        storage={"midwatch-exporter": "70Gi"},
        storageClass="fast",
        resources={"exporter": {"limits": {"memory": "8Gi"}}},
    )
    exporter = found["StatefulSet", NAMESPACE, "midwatch-exporter"]["spec"]
    assert exporter["replicas"] == 3
    assert exporter["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "70Gi"
    assert exporter["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "fast"
    resources = exporter["template"]["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "8Gi"}}
    gate = found["StatefulSet", NAMESPACE, "midwatch-gate"]["spec"]
    assert (gate["replicas"], gate["volumeClaimTemplates"][0]["spec"]["storageClassName"]) == (1, "fast")


@pytest.mark.parametrize(
    ("value", "own", "known"),
    [
        (
            "replicas",
            {"exporter": 3},
            "midwatch-evaluator, midwatch-exporter, midwatch-gate, midwatch-incidents, midwatch-loop",
        ),
        ("storage", {"midwatch-recovery-exporter": "5Gi"}, "midwatch-exporter, midwatch-gate"),
        ("resources", {"midwatch-exporter": {"limits": {"memory": "8Gi"}}}, "exporter"),
        ("serviceAccounts", {"exporter": {"annotations": {"identity": "a"}}}, "midwatch-exporter"),
        ("services", {"gate": {"type": "LoadBalancer"}}, "midwatch-gate"),
    ],
)
def test_a_value_for_a_name_that_nothing_has_is_refused(
    values: Path, tmp_path: Path, value: str, own: Object, known: str
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({value: own}))
    done = helm("template", "midwatch", CHART, "-f", values, "-f", file)
    assert done.returncode == 1
    (name,) = own
    said, _, names = done.stderr.partition("; known: ")
    assert f"{value}.{name}: nothing that is rendered has this name" in said
    assert known in names


def test_accounts_and_services_take_what_a_cloud_wants(changed: Callable[..., Objects]) -> None:
    found = changed(
        serviceAccounts={"midwatch-exporter": {"annotations": {"identity": "exporter"}}},
        services={"midwatch-gate": {"type": "LoadBalancer", "annotations": {"internal": "true"}}},
    )
    assert found["ServiceAccount", NAMESPACE, "midwatch-exporter"]["metadata"]["annotations"] == {
        "identity": "exporter"
    }
    assert "annotations" not in found["ServiceAccount", NAMESPACE, "midwatch-gate"]["metadata"]
    gate = found["Service", NAMESPACE, "midwatch-gate"]
    assert (gate["spec"]["type"], gate["metadata"]["annotations"]) == ("LoadBalancer", {"internal": "true"})


def test_an_existing_config_map_stands_in_for_the_platform_file(changed: Callable[..., Objects]) -> None:
    found = changed(platform={"existingConfigMap": "ours", "checksum": "7"})
    assert ("ConfigMap", NAMESPACE, "midwatch-platform") not in found
    for kind, name in (("StatefulSet", "midwatch-exporter"), ("Deployment", "midwatch-recovery-exporter")):
        template_of = pod(found, name, kind)
        (volume,) = [one for one in template_of["spec"]["volumes"] if one["name"] == "platform"]
        assert volume["projected"]["sources"][0]["configMap"]["name"] == "ours"
        assert template_of["metadata"]["annotations"]["midwatch.dev/configuration"] == "7"
    exporter = next(one for one in pod(found, "midwatch-exporter")["spec"]["volumes"] if one["name"] == "platform")
    assert exporter["projected"]["sources"][1]["configMap"]["name"] == "midwatch-references"


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("platformFile", "ConfigMap"),
        ("workloads", "StatefulSet"),
        ("network", "NetworkPolicy"),
        ("scrapes", "ServiceMonitor"),
        ("rules", "PrometheusRule"),
        ("routes", "Secret"),
        ("canaries", "ClusterAnalysisTemplate"),
    ],
)
def test_a_part_can_be_left_out(changed: Callable[..., Objects], expected: Objects, part: str, kind: str) -> None:
    found = changed(parts={part: False})
    left_out = expected.keys() - found.keys()
    assert kind in {key[0] for key in left_out}
    assert found.keys() < expected.keys()
    if kind not in ("ConfigMap", "NetworkPolicy"):  # dashboards are ConfigMaps, and chaos has a policy of its own
        assert kind not in {key[0] for key in found}


def test_every_file_that_is_rendered_is_of_a_part(values: Path) -> None:
    rendered = yaml.safe_load(values.read_text())["rendered"]
    off = dict.fromkeys(yaml.safe_load((CHART / "values.yaml").read_text())["parts"], False)
    parts = ",".join(f"parts.{name}=false" for name in off)
    assert rendered
    assert not objects(template(values, "--set", parts))


def test_the_chart_is_of_this_version(tmp_path: Path) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    written = yaml.safe_load(helm_values.render_values({})[helm_values.FILE])
    assert chart["version"] == chart["appVersion"] == written["renderedBy"]


def test_only_some_parts_of_the_values_cannot_be_asked_for(tmp_path: Path) -> None:
    done = midwatch_here("render", "--target", "helm", "--only", "rules", "-o", tmp_path)
    assert (done.returncode, "parts" in done.stderr) == (2, True)


def test_kustomize_makes_the_same_of_the_folder(whole: Path, expected: Objects) -> None:
    done = kubectl("kustomize", whole / "kubernetes")
    assert done.returncode == 0, done.stderr
    assert objects(done.stdout) == expected


def test_the_base_of_kustomize_is_no_file_that_kubectl_would_apply(whole: Path, expected: Objects) -> None:
    base = yaml.safe_load((whole / "kubernetes/Kustomization").read_text())
    found = {str(path.relative_to(whole / "kubernetes")) for path in (whole / "kubernetes").rglob("*.yaml")}
    assert set(base["resources"]) == found
    assert not any(kind == "Kustomization" for kind, _, _ in expected)
