"""What is rendered for a stream: its driver in a cluster, its scrape, its alerts; and no exporter where none is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.rules import shipped
from dashboards import render as dashboards
from exporters.stream import executor
from midwatch import jobs, metrics, yamlfile
from midwatch.app.workloads import render
from midwatch.errors import InvalidInputError, MidwatchError
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


def platform(folder: Path, text: str, before: str = PLATFORM) -> model.Platform:
    path = folder / "platform.yaml"
    path.write_text(before + text)
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


EXECUTORS = """
kubernetes:
  secrets: {trust: /etc/trust}
  stream: {executors: {checkpoint: "s3a://bucket/stream", settings: {spark.hadoop.fs.s3a.endpoint: "http://s3:9000"}}}
"""


def with_executors(folder: Path) -> tuple[model.Platform, dict[str, Any]]:
    """A platform whose stream has executors, and what is rendered of it by kind and name."""
    given = platform(folder, STREAM + EXECUTORS, PLATFORM.replace("kubernetes: {}\n", ""))
    files = render.render_objects(given, "")
    found = [*yamlfile.load_all(files["kubernetes/plane-stream.yaml"])]
    found += yamlfile.load_all(files["kubernetes/plane-network.yaml"])
    return given, {f"{one['kind']}/{one['metadata']['name']}": one for one in found}


def spark_settings(objects: dict[str, Any]) -> dict[str, str]:
    lines = objects["ConfigMap/midwatch-stream-spark"]["data"]["spark-defaults.conf"].splitlines()
    return dict(line.split(" ", 1) for line in lines)


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted: dict[str, str] = selector["podSelector"]["matchLabels"]
    return wanted.items() <= labels.items()


def test_executors_and_their_driver_reach_each_other_on_the_ports_of_sparks_settings(tmp_path: Path) -> None:
    _, objects = with_executors(tmp_path)
    settings = spark_settings(objects)
    executor = yaml.safe_load(objects["ConfigMap/midwatch-stream-spark"]["data"]["executor.yaml"])
    driver = objects["StatefulSet/midwatch-stream"]["spec"]["template"]
    labels = {"driver": driver["metadata"]["labels"], "executor": executor["metadata"]["labels"]}
    policies = [one["spec"] for name, one in objects.items() if name.startswith("NetworkPolicy/")]

    def ports(source: str, target: str) -> set[int]:
        rules = [rule for one in policies if selects(one, labels[target]) for rule in one.get("ingress", ())]
        told = [rule for rule in rules if any(selects(peer, labels[source]) for peer in rule.get("from", ()))]
        return {port["port"] for rule in told for port in rule["ports"]}

    blocks = int(settings["spark.blockManager.port"])
    wanted = {int(settings["spark.driver.port"]), int(settings["spark.driver.blockManager.port"])}
    assert ports("executor", "driver") == wanted
    assert ports("driver", "executor") == ports("executor", "executor") == {blocks}
    assert settings["spark.port.maxRetries"] == "0"
    for part in labels.values():  # out to each other, to the API server, the brokers and the checkpoint's store
        assert any({} in one.get("egress", ()) for one in policies if selects(one, part))
    assert any(one.keys() == {"podSelector", "policyTypes"} and selects(one, labels["executor"]) for one in policies)


def test_executors_find_their_driver_by_the_name_that_its_headless_service_gives(tmp_path: Path) -> None:
    given, objects = with_executors(tmp_path)
    host = spark_settings(objects)["spark.driver.host"]
    workload, service = (
        objects["StatefulSet/midwatch-stream"]["spec"],
        objects["Service/midwatch-stream-members"]["spec"],
    )
    assert given.kubernetes is not None
    assert host == f"midwatch-stream-0.{workload['serviceName']}.{given.kubernetes.namespace}.svc"
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    executor = yaml.safe_load(objects["ConfigMap/midwatch-stream-spark"]["data"]["executor.yaml"])
    assert service["selector"].items() <= workload["template"]["metadata"]["labels"].items()
    assert not service["selector"].items() <= executor["metadata"]["labels"].items()


def test_the_driver_may_make_pods_and_has_its_settings_and_executors_have_no_right_and_no_token(tmp_path: Path) -> None:
    _, objects = with_executors(tmp_path)
    (rule,) = objects["Role/midwatch-stream"]["rules"]
    assert rule["resources"] == ["pods"] and {"create", "delete", "get", "list", "watch"} <= set(rule["verbs"])
    (subject,) = objects["RoleBinding/midwatch-stream"]["subjects"]
    driver = objects["StatefulSet/midwatch-stream"]["spec"]["template"]["spec"]
    assert (subject["name"], driver["automountServiceAccountToken"]) == (driver["serviceAccountName"], True)
    (container,) = driver["containers"]
    folder = container["env"][0]["value"]
    assert folder in [one["mountPath"] for one in container["volumeMounts"]]
    words = container["command"]
    assert words[words.index("--checkpoint") + 1] == "s3a://bucket/stream"
    settings = spark_settings(objects)
    assert settings["spark.kubernetes.executor.podTemplateFile"].startswith(folder)
    assert settings["spark.hadoop.fs.s3a.endpoint"] == "http://s3:9000"
    executor = yaml.safe_load(objects["ConfigMap/midwatch-stream-spark"]["data"]["executor.yaml"])["spec"]
    assert executor["automountServiceAccountToken"] is False
    assert f"ServiceAccount/{executor['serviceAccountName']}" in objects
    assert [one["mountPath"] for one in executor["containers"][0]["volumeMounts"]] == ["/tmp", "/etc/trust"]


@pytest.mark.parametrize(
    ("executors", "said"),
    [
        ("{checkpoint: /data/checkpoint}", "checkpoint"),
        ('{checkpoint: "file:///data"}', "checkpoint"),
        ('{checkpoint: "s3a://b/c", settings: {spark.driver.port: "1"}}', "spark.driver.port"),
        ('{checkpoint: "s3a://b/c", settings: {"spark.x": "a\\nspark.master local"}}', "on one line"),
    ],
)
def test_executors_that_could_not_work_are_a_problem_with_its_line(tmp_path: Path, executors: str, said: str) -> None:
    text = f"kubernetes:\n  stream: {{executors: {executors}}}\n"
    with pytest.raises(InvalidInputError, match=f"platform.yaml:\\d+: kubernetes.*{said}"):
        platform(tmp_path, STREAM + text, PLATFORM.replace("kubernetes: {}\n", ""))


def test_a_folder_of_the_drivers_machine_is_none_of_the_executors(tmp_path: Path) -> None:
    text = STREAM + "  folders: [{path: events}]\n" + EXECUTORS
    with pytest.raises(InvalidInputError, match="executors have no events"):
        platform(tmp_path, text, PLATFORM.replace("kubernetes: {}\n", ""))


IN_A_POD = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@driver:7078",
    "SPARK_EXECUTOR_ID": "3",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "2048m",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.7",
    "SPARK_EXECUTOR_POD_NAME": "stream-exec-3",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "JAVA_HOME": "/java",
}


def test_an_executor_is_the_java_that_spark_describes_in_its_pod() -> None:
    options = {f"SPARK_JAVA_OPT_{number}": f"-Dn={number}" for number in range(11)}
    java, *words = executor.command(IN_A_POD | options, Path("/spark"))
    assert java == "/java/bin/java"
    assert words[:11] == [f"-Dn={number}" for number in range(11)]
    assert words[words.index("--driver-url") + 1] == IN_A_POD["SPARK_DRIVER_URL"]
    assert words[words.index("--hostname") + 1] == "10.0.0.7"
    assert "/spark/jars/*" in words[words.index("-cp") + 1]


def test_an_executor_outside_such_a_pod_says_what_is_missing() -> None:
    with pytest.raises(MidwatchError, match="no \\$SPARK_DRIVER_URL"):
        executor.command(
            {name: value for name, value in IN_A_POD.items() if name != "SPARK_DRIVER_URL"}, Path("/spark")
        )


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
