"""The plane's own workloads: what runs, with which rights, restarted by what, reached by whom."""

from __future__ import annotations

from typing import Any

import pytest

from dr import manifests
from midwatch import jobs, pod_volumes
from midwatch.errors import InvalidInputError
from midwatch.spec import kubernetes
from midwatch.spec.model import Platform
from tests.install.programs import NAMESPACE, Object, whole_document, workloads

OURS = {
    "StatefulSet/midwatch-exporter",
    "StatefulSet/midwatch-gate",
    "StatefulSet/midwatch-loop",
    "Deployment/midwatch-recovery-exporter",
    "Deployment/midwatch-console",
    "Deployment/midwatch-evaluator",
    "Deployment/midwatch-incidents",
}


def test_without_the_section_no_workload_is_rendered() -> None:
    document = whole_document()
    assert workloads(document)
    del document["kubernetes"]
    assert not workloads(document)


def test_exporter_gate_and_recovery_exporter_run(pods: dict[str, Object]) -> None:
    assert pods.keys() >= OURS


def test_the_console_runs_where_the_platform_file_has_one_with_a_token_of_its_own(pods: dict[str, Object]) -> None:
    document = whole_document()
    del document["console"]
    assert not [name for name in workloads(document) if "console" in name]
    secrets = [
        one["secret"]["secretName"] for one in pods["Deployment/midwatch-console"]["spec"]["volumes"] if "secret" in one
    ]
    assert "midwatch-console" in secrets
    assert "midwatch-token" not in secrets


def test_what_says_what_changed_runs_where_alerts_carry_its_line_and_asks_prometheus_alone(
    expected: dict[Any, Object],
) -> None:
    document = whole_document()
    document["incidents"]["watch"] = False
    del document["models"][0]["fairness"]
    assert not [name for name in workloads(document) if "incidents" in name[2] or "evaluator" in name[2]]
    policy = expected["NetworkPolicy", NAMESPACE, "midwatch-incidents"]["spec"]
    asked = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert asked == {53, 9090}
    assert all(policy["ingress"])


@pytest.mark.parametrize("part", sorted(OURS))
def test_a_pod_has_the_least_rights_probes_and_limits(pods: dict[str, Object], part: str) -> None:
    spec = pods[part]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 10_000
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"]["memory"]
    written = [one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")]
    assert written == ["/var/lib/midwatch", "/tmp"]
    assert spec["affinity"]["podAntiAffinity"]
    volumes = {one["name"] for one in spec["volumes"]} | {"state"}
    assert {one["name"] for one in container["volumeMounts"]} <= volumes


def test_the_loop_creates_pipeline_runs_and_reads_them_and_the_systems_exporter_lists_what_is_observed(
    pods: dict[str, Object], expected: dict[Any, Object]
) -> None:
    assert pods["StatefulSet/midwatch-loop"]["spec"]["automountServiceAccountToken"]
    assert not pods["StatefulSet/midwatch-exporter"]["spec"]["automountServiceAccountToken"]
    assert not pods["StatefulSet/midwatch-gate"]["spec"]["automountServiceAccountToken"]
    roles = [one for (kind, namespace, _), one in expected.items() if (kind, namespace) == ("Role", "training")]
    assert pods["StatefulSet/midwatch-systems"]["spec"]["automountServiceAccountToken"]
    assert [(role["metadata"]["name"], role["rules"]) for role in roles] == [
        (
            "midwatch-loop.test",
            [
                {"apiGroups": ["tekton.dev"], "resources": ["pipelineruns"], "verbs": ["create", "get", "list"]},
                {"apiGroups": ["tekton.dev"], "resources": ["taskruns"], "verbs": ["get", "list"]},
            ],
        ),
        (
            "midwatch-systems.test",
            [
                {"apiGroups": ["tekton.dev"], "resources": [resource], "verbs": ["list"]}
                for resource in ("pipelineruns", "taskruns")
            ],
        ),
    ]


def test_without_a_loop_the_exporter_creates_the_pipeline_runs() -> None:
    document = whole_document()
    del document["loop"]
    found = workloads(document)
    role = found["Role", "training", "midwatch-exporter.test"]
    assert role["rules"] == [{"apiGroups": ["tekton.dev"], "resources": ["pipelineruns"], "verbs": ["create"]}]
    assert ("StatefulSet", NAMESPACE, "midwatch-loop") not in found


def test_members_of_a_kafka_group_are_a_stateful_set_and_one_more_pod_judges_drift() -> None:
    document = whole_document()
    tls = {"ca_file": "/etc/kafka/ca.pem"}
    document["exporter"] = {"kafka": {"brokers": ["kafka-0:9093", "kafka-1:9093"], "topics": ["events"], "tls": tls}}
    document["kubernetes"]["exporter"] = {"replicas": 3}
    found = workloads(document)
    members, judge = (
        found["StatefulSet", NAMESPACE, name]["spec"] for name in ("midwatch-exporter", "midwatch-exporter-judge")
    )
    assert (members["replicas"], judge["replicas"]) == (3, 1)
    for spec, more in ((members, ["--kafka"]), (judge, ["--kafka", "--judge"])):
        (container,) = spec["template"]["spec"]["containers"]
        assert [word for word in container["command"] if word in ("--kafka", "--judge", "--member")] == more
        policy = found["NetworkPolicy", NAMESPACE, spec["serviceName"].removesuffix("-members")]
        assert {"port": 9093, "protocol": "TCP"} in policy["spec"]["egress"][-1]["ports"]
    platform = Platform.model_validate(document)
    assert [target for target in jobs.service_targets(platform, jobs.EXPORTER) if "judge" in target]
    unmounted = [place for place, _, _ in kubernetes.find_problems(platform)]
    assert ("exporter", "kafka", "tls", "ca_file") in unmounted


def test_the_systems_exporter_lists_objects_with_an_account_in_its_namespace() -> None:
    for account, place in ((None, "systems_exporter.account"), ({"namespace": "other"}, "account.namespace")):
        document = whole_document() | {"systems_exporter": {"account": account} if account else {}}
        problems = list(kubernetes.find_problems(Platform.model_validate(document)))
        assert [".".join(map(str, where)).endswith(place) for where, _, _ in problems] == [True]


def test_what_was_acknowledged_stays_when_the_plane_is_deleted(expected: dict[Any, Object]) -> None:
    for name in ("midwatch-exporter", "midwatch-gate", "midwatch-loop", "midwatch-systems"):
        spec = expected["StatefulSet", NAMESPACE, name]["spec"]
        assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        assert spec["volumeClaimTemplates"][0]["metadata"]["name"] == "state"


def test_a_service_finds_the_pods_of_its_part_and_no_others(
    pods: dict[str, Object], expected: dict[Any, Object]
) -> None:
    services = [one for (kind, _, _), one in expected.items() if kind == "Service"]
    assert len(services) == 12  # four of them give the pods of a set their names
    for service in services:
        wanted = service["spec"]["selector"].items()
        found = [part for part, one in pods.items() if wanted <= one["metadata"]["labels"].items()]
        assert len(found) == 1, service["metadata"]["name"]
        (port,) = service["spec"]["ports"]
        (container,) = pods[found[0]]["spec"]["containers"]
        assert port["port"] == container["ports"][0]["containerPort"]


def test_a_service_monitor_finds_one_service_and_names_the_job_that_rules_know(expected: dict[Any, Object]) -> None:
    services = [one for (kind, _, _), one in expected.items() if kind == "Service"]
    monitors = [one for (kind, _, _), one in expected.items() if kind == "ServiceMonitor"]
    jobs = set()
    for monitor in monitors:
        spec = monitor["spec"]
        (service,) = [
            one
            for one in services
            if spec["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
            and one["metadata"]["namespace"] == monitor["metadata"]["namespace"]
        ]
        jobs.add(service["metadata"]["labels"][spec["jobLabel"]])
        assert spec["endpoints"][0]["authorization"]["credentials"]["name"] == "midwatch-metrics"
        assert spec["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert jobs == {
        "midwatch-exporter",
        "midwatch-gate",
        "midwatch-loop",
        "midwatch-incidents",
        "midwatch-evaluator",
        "midwatch-recovery",
        "midwatch-systems",
    }


def test_a_scrape_of_the_exporter_may_take_as_long_as_its_series_need() -> None:
    document = whole_document()
    document["exporter"] = {"caps": {"series": 1_500_000}}
    found = workloads(document)
    (monitor,) = [one for (kind, _, name), one in found.items() if kind == "ServiceMonitor" and "exporter" in name]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("15s", "15s")


def test_a_change_of_the_platform_file_restarts_the_pods_and_nothing_else_does() -> None:
    def checksums(document: Object) -> set[str]:
        found = workloads(document)
        return {
            one["spec"]["template"]["metadata"]["annotations"][pod_volumes.CHECKSUM]
            for (kind, _, name), one in found.items()
            if f"{kind}/{name}" in OURS
        }

    before, again = checksums(whole_document()), checksums(whole_document())
    changed = whole_document()
    changed["models"][0]["slos"][0]["objective"] = "99.5%"
    assert len(before) == 1
    assert before == again
    assert not before & checksums(changed)


def test_a_change_of_the_platform_file_restarts_recoverers() -> None:
    def annotations(document: Object) -> Object:
        found = manifests.objects(Platform.model_validate(document))
        (recoverer,) = [one for one in found if one["kind"] == "Deployment"]
        return recoverer["spec"]["template"]["metadata"]["annotations"]

    before, changed = whole_document(), whole_document()
    changed["disaster_recovery"]["rto"] = "14m"
    assert annotations(before) == annotations(whole_document())
    assert annotations(before).keys() == {pod_volumes.CHECKSUM}
    assert annotations(before) != annotations(changed)


def test_nothing_is_reached_but_what_is_listed(expected: dict[Any, Object], pods: dict[str, Object]) -> None:
    policies = {name: one["spec"] for (kind, _, name), one in expected.items() if kind == "NetworkPolicy"}
    deny = policies["midwatch-deny"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & deny.keys()
    for part in OURS:
        labels = pods[part]["metadata"]["labels"].items()
        assert deny["podSelector"]["matchLabels"].items() <= labels
        allowed = [
            name
            for name, one in policies.items()
            if one["podSelector"]["matchLabels"].items() <= labels and one != deny
        ]
        assert len(allowed) == 1, part
        (port,) = [port["port"] for rule in policies[allowed[0]]["ingress"] for port in rule["ports"]]
        assert port == pods[part]["spec"]["containers"][0]["ports"][0]["containerPort"]


def test_every_pod_that_runs_can_reach_what_it_needs_through_a_policy(
    expected: dict[Any, Object], pods: dict[str, Object]
) -> None:
    policies = [one["spec"] for (kind, _, _), one in expected.items() if kind == "NetworkPolicy"]
    for part, template in pods.items():
        if part == "StatefulSet/midwatch-exporter":
            continue  # with a loop, it asks nobody
        labels = template["metadata"]["labels"].items()
        own = [one for one in policies if one["podSelector"]["matchLabels"].items() <= labels]
        assert any(one.get("egress") for one in own), f"{part} reaches nothing"


def test_clients_of_some_namespaces_alone_may_send_events() -> None:
    document = whole_document(clients={"midwatch.dev/client": "true"})
    document["prometheus"] = {"operator": {"namespace": "monitoring"}}
    policy = workloads(document)["NetworkPolicy", NAMESPACE, "midwatch-exporter"]
    selectors = [one["namespaceSelector"]["matchLabels"] for one in policy["spec"]["ingress"][0]["from"]]
    assert selectors == [{"midwatch.dev/client": "true"}, {"kubernetes.io/metadata.name": "monitoring"}]


def test_pods_are_placed_as_the_platform_file_says() -> None:
    document = whole_document(
        image="mirror/midwatch:1",
        pull_secrets=["mirror"],
        labels={"team": "sre"},
        node_selector={"pool": "plane"},
        tolerations=[{"key": "plane", "operator": "Exists"}],
        priority_class="system",
        secrets={"hash-key": "/run/secrets/hash"},
        exporter={"replicas": 3, "storage": "50Gi", "storage_class": "fast"},
    )
    found = workloads(document)["StatefulSet", NAMESPACE, "midwatch-exporter"]
    spec = found["spec"]["template"]["spec"]
    assert found["spec"]["replicas"] == 3
    assert found["metadata"]["labels"]["team"] == found["spec"]["template"]["metadata"]["labels"]["team"] == "sre"
    assert "team" not in found["spec"]["selector"]["matchLabels"]
    assert spec["containers"][0]["image"] == "mirror/midwatch:1"
    assert spec["imagePullSecrets"] == [{"name": "mirror"}]
    assert (spec["nodeSelector"], spec["priorityClassName"]) == ({"pool": "plane"}, "system")
    assert spec["tolerations"] == [{"key": "plane", "operator": "Exists"}]
    assert "/run/secrets/hash" in [one["mountPath"] for one in spec["containers"][0]["volumeMounts"]]
    claim = found["spec"]["volumeClaimTemplates"][0]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]) == ("fast", {"storage": "50Gi"})


def test_the_references_lie_where_the_platform_file_says(pods: dict[str, Object]) -> None:
    volumes = {one["name"]: one for one in pods["StatefulSet/midwatch-exporter"]["spec"]["volumes"]}
    references = volumes["platform"]["projected"]["sources"][-1]["configMap"]
    assert references == {
        "name": "midwatch-references",
        "items": [{"key": "fraud.npz", "path": "references/fraud.npz"}],
    }


def broken(change: str) -> Object:
    document = whole_document()
    model = document["models"][0]
    if change == "gate":
        document["gate"] = {"url": "http://gate.other.svc:9600"}
    elif change == "gate-port":
        document["gate"] = {"listen": "127.0.0.1:9700"}
    elif change == "no-references":
        del document["kubernetes"]["references"]
    elif change == "outside":
        model["drift"]["reference"] = "../fraud.npz"
    elif change == "absolute":
        model["drift"]["reference"] = "/data/fraud.npz"
    elif change == "hash":
        document["exporter"] = {"personal": {"hash": ["customer"], "key_file": "/run/secrets/hash/key"}}
    elif change == "webhook":
        model["drift"]["retrain"] = {"webhook": {"url_file": "/run/secrets/hook/url", "secret_file": "hook-secret"}}
    elif change == "toleration":
        document["kubernetes"]["tolerations"] = [{"key": "plane"}]
    elif change == "quantity":
        document["kubernetes"]["exporter"] = {"storage": "10 GB"}
    return document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("gate", "write http://midwatch-gate.midwatch.svc:9600"),
        ("gate-port", "write http://midwatch-gate.midwatch.svc:9700"),
        ("no-references", "name it in kubernetes.references"),
        ("outside", "outside the folder"),
        ("absolute", "no pod has /data/fraud.npz"),
        ("hash", "no pod has /run/secrets/hash/key"),
        ("webhook", "no pod has hook-secret"),
        ("toleration", "operator Equal needs key and value"),
        ("quantity", "10 GB"),
    ],
)
def test_what_pods_would_lack_is_said_with_its_place(load_text: Any, change: str, said: str) -> None:
    import yaml

    with pytest.raises(InvalidInputError) as raised:
        load_text(yaml.safe_dump(broken(change), sort_keys=False))
    assert said in str(raised.value)
    assert "platform.yaml:" in str(raised.value)


def test_the_loop_may_read_what_it_observes_and_nothing_else() -> None:
    document = whole_document()
    document["models"][0]["canary"]["rollout"] = {"name": "fraud", "namespace": "ml"}
    document["systems"]["argo_cd"] = {
        "owner": "ml",
        "targets": ["argo:8082"],
        "observe": {"namespace": "argocd", "carries": {"fraud": {"model": "fraud", "label": "version"}}},
    }
    roles = {
        namespace: one["rules"]
        for (kind, namespace, name), one in workloads(document).items()
        if kind == "Role" and name == "midwatch-loop.test"
    }
    assert roles == {
        "training": [
            {"apiGroups": ["tekton.dev"], "resources": ["pipelineruns"], "verbs": ["create", "get", "list"]},
            {"apiGroups": ["tekton.dev"], "resources": ["taskruns"], "verbs": ["get", "list"]},
        ],
        "ml": [{"apiGroups": ["argoproj.io"], "resources": ["rollouts"], "verbs": ["get"], "resourceNames": ["fraud"]}],
        "argocd": [{"apiGroups": ["argoproj.io"], "resources": ["applications"], "verbs": ["list"]}],
    }


def test_a_loop_whose_webhook_runs_any_pipeline_reads_runs_and_makes_none() -> None:
    document = whole_document()
    document["models"][0]["drift"]["retrain"] = {"webhook": {"url_file": "u", "secret_file": "s"}}
    del document["systems"]["tekton"]["observe"]["namespaces"]
    found = workloads(document)
    (role,) = [
        one for (kind, _, name), one in found.items() if kind == "ClusterRole" and name.startswith("midwatch-loop")
    ]
    assert role["rules"] == [
        {"apiGroups": ["tekton.dev"], "resources": [resource], "verbs": ["get", "list"]}
        for resource in ("pipelineruns", "taskruns")
    ]
    assert not [name for kind, _, name in found if kind == "ValidatingAdmissionPolicy" and "loop" in name]
