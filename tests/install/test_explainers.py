"""What explains a model in a cluster: which pod, with which words and Secrets, reached by whom, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from midwatch.app import prometheus
from midwatch.app.workloads import render as render_workloads
from midwatch.errors import InvalidInputError
from midwatch.spec import explainer
from midwatch.spec.model import Platform
from monitors.explainer import cli, models
from tests.conftest import platform_document
from tests.install.programs import NAMESPACE, Object, objects, render, template

IMAGE = "registry.example.com/fraud-explainer:7"
OF_FILE = {
    "image": IMAGE,
    "version": "v7",
    "source": "xgboost:/models/fraud.json",
    "background": "/run/background/rows.json",
}
OF_SERVER = OF_FILE | {
    "source": "v2:http://fraud.serving.svc/v2/models/fraud/infer",
    "model_token_secret": "fraud-token",
}
TOKEN_FILE = "/etc/prometheus/secrets/midwatch-metrics/token"


def document(own: Object, **system: Any) -> Object:
    made = platform_document()
    made["models"][0]["explainer"] = own
    made["kubernetes"] = {"secrets": {"rows": "/run/background", "hook": "/run/secrets/hook"}}
    use = {"owner": "ml", "targets": ["midwatch-explainer-fraud.midwatch:9580"], "token_file": TOKEN_FILE}
    made["systems"] = {"explainer": use | system}
    return made


def rendered(own: Object) -> dict[tuple[str, str, str], Object]:
    made = document(own)
    texts = render_workloads.render_objects(Platform.model_validate(made), yaml.safe_dump(made))
    return objects(*texts.values())


def pod_of(found: dict[tuple[str, str, str], Object]) -> Object:
    spec: Object = found["Deployment", NAMESPACE, "midwatch-explainer-fraud"]["spec"]["template"]["spec"]
    return spec


def understood(words: list[str]) -> dict[str, Any]:
    """What the command makes of its options."""
    app = typer.Typer()
    app.command()(cli.serve)
    command: Any = typer.main.get_command(app)
    taken: dict[str, Any] = command.make_context("serve", words).params
    return taken


@pytest.mark.parametrize("own", [OF_FILE, OF_SERVER], ids=["file", "server"])
def test_the_command_takes_what_its_pod_is_started_with(own: Object) -> None:
    (container,) = pod_of(rendered(own | {"version": "-7", "output": "-1", "threads": 2}))["containers"]
    program, *words = container["command"]
    assert (program, words[:2], container["image"]) == ("midwatch", ["explain", "serve"], IMAGE)
    taken = understood(words[2:])
    assert (taken["model"], taken["version"], taken["output"]) == ("fraud", "-7", "-1")
    assert (taken["source"], taken["threads"]) == (own["source"], 2)
    assert (taken["listen"], container["ports"][0]["containerPort"]) == ("0.0.0.0:9580", 9580)
    assert not taken["insecure"]
    folders = {one["mountPath"] for one in container["volumeMounts"]}
    files = [taken[name] for name in ("background", "token_file", "metrics_token_file", "model_token_file")]
    assert {str(Path(file).parent) for file in files if file} <= folders
    assert (taken["model_token_file"] is not None) == (own is OF_SERVER)


def test_the_pod_has_the_least_that_it_needs_and_nothing_of_the_platforms() -> None:
    found = rendered(OF_SERVER)
    pod = pod_of(found)
    assert not pod["automountServiceAccountToken"]
    assert {kind for kind, _, _ in found} & {"Role", "RoleBinding", "ClusterRole"} == set()
    secrets = {one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
    assert secrets == {"midwatch-token", "midwatch-metrics", "fraud-token", "rows"}, "the other Secret is not its own"
    (container,) = pod["containers"]
    assert [one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")] == ["/tmp"]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert ("ServiceAccount", NAMESPACE, pod["serviceAccountName"]) in found


@pytest.mark.parametrize(("own", "egress"), [(OF_FILE, []), (OF_SERVER, [{}])], ids=["file", "server"])
def test_it_is_reached_at_its_port_and_reaches_a_server_alone_that_it_asks(own: Object, egress: Any) -> None:
    found = rendered(own | {"port": 9700})
    policy = found["NetworkPolicy", NAMESPACE, "midwatch-explainer-fraud"]["spec"]
    assert policy["egress"] == egress
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": 9700, "protocol": "TCP"}]]
    labels = found["Deployment", NAMESPACE, "midwatch-explainer-fraud"]["spec"]["template"]["metadata"]["labels"]
    service = found["Service", NAMESPACE, "midwatch-explainer-fraud"]["spec"]
    for selector in (policy["podSelector"]["matchLabels"], service["selector"]):
        assert selector.items() <= labels.items()
    assert service["ports"][0]["port"] == 9700


def test_prometheus_scrapes_the_service_as_the_system_whose_rules_it_has() -> None:
    texts = prometheus.render_objects(Platform.model_validate(document(OF_FILE)))
    (scrape,) = objects(texts["kubernetes/scrape-explainer.yaml"]).values()
    assert scrape["spec"]["jobName"] == "explainer"
    assert scrape["spec"]["staticConfigs"] == [{"targets": ["midwatch-explainer-fraud.midwatch:9580"]}]
    assert scrape["spec"]["authorization"]["credentials"] == {"name": "midwatch-metrics", "key": "token"}


def test_the_chart_leaves_an_explainer_and_the_stream_their_own_images(tmp_path: Path) -> None:
    made = document(OF_FILE)
    made["stream"] = {"kafka": {"servers": ["kafka:9092"], "topics": ["predictions"]}}
    made["kubernetes"]["stream"] = {"image": "registry.example.com/midwatch-spark:1"}
    values = render(made, tmp_path, "helm") / "helm/values.yaml"
    found = objects(template(values, "--set", "image=mirror.example.com/midwatch:1"))
    images = {
        name: one["spec"]["template"]["spec"]["containers"][0]["image"]
        for (kind, _, name), one in found.items()
        if kind in ("Deployment", "StatefulSet")
    }
    assert images == {
        "midwatch-exporter": "mirror.example.com/midwatch:1",
        "midwatch-explainer-fraud": IMAGE,
        "midwatch-stream": "registry.example.com/midwatch-spark:1",
    }
    without = objects(template(values, "--set", "parts.workloads=false"))
    assert not [name for kind, _, name in without if kind == "Deployment"]


def test_without_the_section_nothing_explains() -> None:
    made = document(OF_FILE)
    del made["models"][0]["explainer"]
    texts = render_workloads.render_objects(Platform.model_validate(made), "")
    assert "kubernetes/plane-explainers.yaml" not in texts
    assert "explainer" not in texts["kubernetes/plane-network.yaml"]


def test_kinds_of_models_are_those_of_the_command() -> None:
    assert {explainer.OF_FUNCTIONS, *explainer.OF_FILES, *explainer.OF_SERVERS} == set(models.KINDS)


def broken(change: str) -> Object:
    made = document(OF_FILE)
    own = made["models"][0]["explainer"] = dict(OF_FILE)
    if change == "no cluster":
        del made["kubernetes"]
    elif change == "no system":
        del made["systems"]
    elif change == "other target":
        made["systems"]["explainer"]["targets"] = ["midwatch-explainer-fraud.other:9580"]
    elif change == "other port":
        own["port"] = 9700
    elif change == "no token":
        del made["systems"]["explainer"]["token_file"]
    elif change == "long name":
        made["models"][0]["name"] = "f" * 45
    elif change == "token for nobody":
        own["model_token_secret"] = "fraud-token"
    elif change == "loopback":
        own["source"] = "v1:http://localhost:8080/v1/models/fraud:predict"
    else:
        own["background" if change.startswith("/") else "source"] = change
    return made


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("no cluster", "this file has no kubernetes section"),
        ("no system", "write midwatch-explainer-fraud.midwatch:9580 under systems.explainer.targets"),
        ("other target", "nobody scrapes the explainer of fraud"),
        ("other port", "write midwatch-explainer-fraud.midwatch:9700"),
        ("no token", f"write token_file: {TOKEN_FILE}"),
        ("long name", "longer than 63 characters"),
        ("token for nobody", "no server is asked for xgboost:/models/fraud.json"),
        ("loopback", "the pod itself would be asked"),
        ("xgboost:models/fraud.json", "the path of a file in the container"),
        ("pickle:/models/fraud.pkl", "is not KIND:WHERE"),
        ("callable:fraud", "callable:MODULE:FUNCTION"),
        ("v1:fraud.serving", "is not an address"),
        ("/models/rows.xlsx", "a .parquet, .csv, .json or .jsonl file"),
    ],
)
def test_what_an_explainer_would_lack_is_said_with_its_place(load_text: Any, change: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        load_text(yaml.safe_dump(broken(change), sort_keys=False))
    assert said in str(raised.value)
    assert "platform.yaml:" in str(raised.value)
