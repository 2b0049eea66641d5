"""The rendered template and the real controller of Argo Rollouts: what each answer of the gate makes of an analysis.

All analyses run at once, in one controller and one API server. The controller waits ten seconds after an error; the
rest is shortened by the platform file.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from midwatch import kubernetes
from midwatch.app import live
from midwatch.errors import Problem
from midwatch.spec.model import Platform
from monitors.canary import argo
from monitors.canary.times import moment
from tests.canary.arms import Past, prometheus_with
from tests.canary.test_fetch import END, START, calm
from tests.canary.test_gate import document_of, gate
from tests.chaos import cluster
from tests.conftest import free_port, platform_document

TOKEN = "s3cret"
DEADLINE = "3s"
"""More than the usual 0.8 s: a busy machine is not to make a decided canary undecided."""
GROUP = f"/apis/argoproj.io/v1alpha1/namespaces/{cluster.NAMESPACE}"
STRICT = {"fieldValidation": "Strict"}
RUNS = f"{GROUP}/analysisruns"
SECONDS = 300.0
"""More than the longest analysis takes, which is one whose gate hangs: 58 s."""
pytestmark = pytest.mark.timeout(2 * SECONDS)

NO_GATE = {
    "html": (200, b"<!doctype html><title>Sign in</title>"),
    "empty": (200, b""),
    "no-content": (204, b""),
    "null": (200, b"null"),
    "array": (200, b'[{"verdict": "pass"}]'),
    "json-text": (200, b'"pass"'),
    "text": (200, b"pass"),
    "verdict-of-the-other-api": (200, b'{"verdict": "pass", "reason": "", "evidence": {}}'),
    "data-null": (200, b'{"status": "success", "data": null}'),
    "401": (401, b'{"error": "a bearer token is needed"}'),
    "404": (404, b'{"error": "not here"}'),
    "503": (503, b'{"error": "too many connections"}'),
    "redirect": (302, b""),
}
"""Answers of what stands in the gate's place, by the path that is asked."""
AWAY = "away"
"""A gate that cannot be reached for the first two questions."""
LOST = "lost"
"""A gate that answers once."""


class Stranger(BaseHTTPRequestHandler):
    """What answers in place of the gate, or before it."""

    gate: str
    asked: Counter[str] = Counter()

    def do_GET(self) -> None:
        self._answer(200, NO_GATE["html"][1])  # where the redirect leads

    def do_POST(self) -> None:
        row = self.path.split("/")[1]
        self.asked[row] += 1
        if (row == AWAY and self.asked[row] > 2) or (row == LOST and self.asked[row] == 1):
            body = self.rfile.read(int(self.headers["content-length"]))
            request = urllib.request.Request(f"{self.gate}/api/v1/query", body, dict(self.headers))
            with urllib.request.urlopen(request, timeout=60) as answer:
                self._answer(answer.status, answer.read())
        elif row in NO_GATE:
            self._answer(*NO_GATE[row])
        else:
            self.close_connection = True

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/login")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def strangers(gate_url: str) -> Iterator[str]:
    handler = type("Handler", (Stranger,), {"gate": gate_url})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def hanging() -> Iterator[str]:
    """A server that takes connections and says nothing, as a process that is stopped does."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def past_until_now(now: float) -> tuple[Past, float]:
    """Two good versions and a bad one, v3, whose past goes on beyond this test; and when they began."""
    good, bad = calm(), calm(canary_errors=0.06)
    later = now + 300 - END
    found = Past(now)
    for past, version, name in ((good, "v1", "v1"), (good, "v2", "v2"), (bad, "v2", "v3")):
        for key, points in past.series.items():
            if dict(key)["version"] == version:
                labels = tuple(sorted({**dict(key), "version": name}.items()))
                found.series[labels] = [(at + later, value) for at, value in points]
    return found, START + later


def short(url: str) -> dict[str, Any]:
    """A platform file whose gate is there, and whose analyses are as short as they can be."""
    document = document_of(platform_document, "http://127.0.0.1:1")
    document["prometheus"]["scrape_interval"] = "10s"
    document["gate"] = {"url": url, "token_secret": {"name": "gate"}, "patience": "33s", "deadline": DEADLINE}
    document["models"][0]["canary"]["limit"] = "40s"
    return document


def begin(row: str, url: str, **arguments: str) -> None:
    """Create an AnalysisRun as a Rollout does: the template's metrics, and its arguments with those of the step."""
    platform = Platform.model_validate(short(url))
    template = argo.cluster_template(platform)
    given = {"model": "fraud", "baseline": "v1", "canary": "v2", **arguments}
    args = [{**one, "value": given[one["name"]]} if one["name"] in given else one for one in template["spec"]["args"]]
    metadata = {"name": row}
    kind = {"apiVersion": template["apiVersion"], "kind": "AnalysisRun"}
    cluster.create(RUNS, {**kind, "metadata": metadata, "spec": {"metrics": template["spec"]["metrics"], "args": args}})


def begin_all(folder: Path, stack: ExitStack) -> dict[str, str]:
    """An analysis for each row; and where the gate of each Rollout is to be."""
    past, start = past_until_now(time.time())
    prometheus = stack.enter_context(prometheus_with(past, folder))
    (folder / "token").write_text(TOKEN)
    gates = {}
    for name, url in (("gate", prometheus), ("blind", "http://127.0.0.1:1")):
        (folder / name).mkdir()
        document = document_of(platform_document, url) | {"gate": {"deadline": DEADLINE}}
        running = stack.enter_context(gate(folder / name, document, "--token-file", str(folder / "token")))
        gates[name] = f"http://127.0.0.1:{running.port}"
    stranger = stack.enter_context(strangers(gates["gate"]))
    since = {"start": moment(start)}
    begin("good", gates["gate"], **since)
    begin("bad", gates["gate"], canary="v3", **since)
    begin("no-traffic", gates["gate"], canary="v9", **since)
    begin("prometheus-gone", gates["blind"], **since)
    begin("unknown-model", gates["gate"], model="fruad", **since)
    begin("same-arms", gates["gate"], canary="v1", **since)
    begin("a-prometheus", prometheus, **since)
    begin("refuses", "http://127.0.0.1:1", **since)
    begin("hangs", stack.enter_context(hanging()), **since)
    for row in (*NO_GATE, AWAY):
        begin(row, f"{stranger}/{row}", **since)
    begin(LOST, f"{stranger}/{LOST}", canary="v9", **since)
    return {"released": gates["gate"], "held": f"{stranger}/redirect"}


# Whole Rollouts ----------------------------------------------------------------------------------------------------

ROLLOUTS = f"{GROUP}/rollouts"
REPLICASETS = f"/apis/apps/v1/namespaces/{cluster.NAMESPACE}/replicasets"


def rollout(name: str, template: str, **args: str) -> dict[str, Any]:
    labels = {"app": name}
    pod = {
        "metadata": {"labels": dict(labels)},
        "spec": {"containers": [{"name": "m", "image": "registry.invalid/m:1"}]},
    }
    given = [{"name": key, "value": value} for key, value in args.items()]
    analysis = {"analysis": {"templates": [{"templateName": template}], "args": given}}
    strategy = {"canary": {"steps": [{"setWeight": 10}, analysis]}} if template else {"canary": {}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod, "strategy": strategy}
    kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}
    return {**kind, "metadata": {"name": name}, "spec": spec}


def post(path: str, document: dict[str, Any]) -> None:
    kubernetes.request("POST", path, body=document, query=STRICT)


def items(path: str) -> list[dict[str, Any]]:
    return list(kubernetes.request("GET", path)["items"])


def release(name: str, url: str) -> None:
    """A Rollout of v1, the rendered steps with a template of its own, and then v2."""
    document = short(url)
    fields = {"baseline": "metadata.annotations['stable']", "canary": "spec.template.metadata.labels.version"}
    document["models"][0]["canary"] |= {"rollout": {"name": name, "weights": [50], **fields}}
    platform = Platform.model_validate(document)
    template = argo.template(platform, platform.models[0])
    template["metadata"]["name"] = f"{name}-template"
    post(f"{GROUP}/analysistemplates", template)
    first = rollout(name, "")
    first["metadata"]["annotations"] = {"stable": "v1"}
    first["spec"]["template"]["metadata"]["labels"]["version"] = "v1"
    post(ROLLOUTS, first)
    (text,) = argo.rollout_steps(platform.models[0]).values()
    steps = yaml.safe_load(
        text.replace(argo.template(platform, platform.models[0])["metadata"]["name"], f"{name}-template")
    )
    apply(steps)
    cluster.wait_until(lambda: let_pods_run() or is_healthy(name), 60)
    labels = {"spec": {"template": {"metadata": {"labels": {"version": "v2"}}}}}
    kubernetes.request("PATCH", f"{ROLLOUTS}/{name}", body=labels)


def apply(steps: dict[str, Any]) -> None:
    """Server-side apply, as the head of the rendered file says."""
    path = f"{ROLLOUTS}/{steps['metadata']['name']}"
    query = {"fieldManager": "midwatch", **STRICT}
    kubernetes.request("PATCH", path, query=query, body=steps, patch="application/apply-patch+yaml")


def let_pods_run() -> None:
    """What a controller manager and a kubelet would do: every replica is there and available."""
    for one in items(REPLICASETS):
        wanted, generation = one["spec"]["replicas"], one["metadata"]["generation"]
        names = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        status = {**dict.fromkeys(names, wanted), "observedGeneration": generation}
        if any(one.get("status", {}).get(key, 0) != value for key, value in status.items()):
            path = f"{REPLICASETS}/{one['metadata']['name']}/status"
            kubernetes.request("PATCH", path, body={"status": status})


def is_healthy(name: str) -> bool:
    return kubernetes.request("GET", f"{ROLLOUTS}/{name}").get("status", {}).get("phase") == "Healthy"


def has_ended(found: dict[str, Any]) -> bool:
    """Whether a Rollout of v2 has got all traffic, or none."""
    is_new = found["spec"]["template"]["metadata"]["labels"]["version"] == "v2"
    status = found.get("status", {})
    is_seen = status.get("observedGeneration") == str(found["metadata"]["generation"])
    return is_new and is_seen and status.get("phase") in ("Healthy", "Degraded")


def test_a_release_goes_on_by_the_gates_pass_and_back_when_something_else_answers(
    ended: dict[str, dict[str, Any]],
) -> None:
    assert ended
    served = {}
    for found in items(ROLLOUTS):
        status = found["status"]
        served[found["metadata"]["name"]] = status["phase"], status["stableRS"] == status["currentPodHash"]
    assert served == {"released": ("Healthy", True), "held": ("Degraded", False)}


# One analysis for each answer --------------------------------------------------------------------------------------


@contextlib.contextmanager
def controller_of_rollouts(folder: Path, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = cluster.controller("rollouts-controller")
    cluster.define(program.parent / "crds")
    command = [str(program), f"--kubeconfig={config}", "--leader-elect=false"]
    command += [f"--metricsport={free_port()}", f"--healthzPort={free_port()}", f"--namespace={cluster.NAMESPACE}"]
    with (folder / "controller.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """Status of each analysis once all have ended."""
    cluster.controller("rollouts-controller")
    folder = tmp_path_factory.mktemp("rollouts")
    with ExitStack() as stack:
        stack.enter_context(cluster.running(folder))
        stack.enter_context(cluster.connected(config := folder / f"{cluster.ADMIN}.kubeconfig"))
        cluster.create("/api/v1/namespaces", {"metadata": {"name": cluster.NAMESPACE}})
        secret = {"metadata": {"name": "gate"}, "stringData": {"token": TOKEN}}
        cluster.create(f"/api/v1/namespaces/{cluster.NAMESPACE}/secrets", secret)
        controller = stack.enter_context(controller_of_rollouts(folder, config))
        for name, url in begin_all(folder, stack).items():
            release(name, url)
        deadline = time.monotonic() + SECONDS
        while True:
            let_pods_run()
            runs = {one["metadata"]["name"]: one.get("status", {}) for one in items(RUNS)}
            if all("completedAt" in status for status in runs.values()) and all(map(has_ended, items(ROLLOUTS))):
                break
            assert controller.poll() is None, (folder / "controller.log").read_text()[-3000:]
            assert time.monotonic() < deadline, (runs, items(ROLLOUTS))
            time.sleep(0.5)
        yield runs


@pytest.mark.parametrize(
    ("row", "phase", "measurements"),
    [
        ("good", "Successful", {"successful": 1}),
        ("bad", "Failed", {"failed": 1}),
        ("no-traffic", "Inconclusive", {"inconclusive": 4}),
        ("prometheus-gone", "Inconclusive", {"inconclusive": 4}),
        ("a-prometheus", "Inconclusive", {"inconclusive": 4}),
        ("unknown-model", "Error", {"error": 3}),
        ("same-arms", "Error", {"error": 3}),
        ("refuses", "Error", {"error": 3}),
        ("hangs", "Error", {"error": 3}),
        *((row, "Error", {"error": 3}) for row in NO_GATE),
        (AWAY, "Successful", {"successful": 1, "error": 2}),
        (LOST, "Error", {"inconclusive": 1, "error": 3}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_only_the_gates_own_pass_passes_a_canary(
    ended: dict[str, dict[str, Any]], row: str, phase: str, measurements: dict[str, int]
) -> None:
    (metric,) = ended[row]["metricResults"]
    assert ended[row]["phase"] == phase, metric
    assert {name: metric.get(name, 0) for name in measurements} == measurements
    assert phase == "Successful" or not metric.get("successful"), metric


def test_the_run_says_why(ended: dict[str, dict[str, Any]]) -> None:
    def last(row: str) -> dict[str, Any]:
        return ended[row]["metricResults"][0]["measurements"][-1]

    assert "there is no model 'fruad'" in last("unknown-model")["message"]
    assert "'v1' is both baseline and canary" in last("same-arms")["message"]
    assert "errors" in last("bad")["metadata"]["warnings"]
    assert "no answer" in last("prometheus-gone")["metadata"]["warnings"]
    assert "401" in last("401")["message"]


@pytest.mark.parametrize("deadline", ["100ms", "800ms", "5s", "30s"])
def test_a_gate_that_hangs_ends_an_analysis_within_five_minutes(deadline: str) -> None:
    document = document_of(platform_document, "http://127.0.0.1:1")
    document["gate"] = {"deadline": deadline}
    metric = argo.cluster_template(Platform.model_validate(document))["spec"]["metrics"][0]
    tries = metric["consecutiveErrorLimit"] + 1
    first = 2 * 15.0
    assert metric["initialDelay"] == "30s"
    waited = first + tries * metric["provider"]["prometheus"]["timeout"] + (tries - 1) * argo.RETRY_SECONDS
    assert 120 < waited <= 300  # it may be away for a while, and does not hold a rollout for long


# Templates and Rollouts in the cluster -----------------------------------------------------------------------------


def document_in_cluster() -> dict[str, Any]:
    document = document_of(platform_document, "http://127.0.0.1:1")
    document["models"][0]["canary"]["rollout"] = {"name": "fraud", "namespace": cluster.NAMESPACE}
    return document


def of_the_web(name: str, url: str) -> dict[str, Any]:
    """A template that a login page passes, as Midwatch wrote them once."""
    web = {"url": url, "jsonPath": "{.verdict}"}
    metric = {
        "name": "canary",
        "interval": "10s",
        "count": 3,
        "successCondition": 'result == "pass"',
        "failureCondition": 'result == "fail"',
        "consecutiveSuccessLimit": 1,
        "failureLimit": 0,
        "provider": {"web": web},
    }
    kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate"}
    return {**kind, "metadata": {"name": name}, "spec": {"metrics": [metric]}}


@pytest.fixture
def templates(ended: dict[str, dict[str, Any]]) -> Iterator[Platform]:
    """The platform, whose templates are applied."""
    assert ended
    platform = Platform.model_validate(document_in_cluster())
    paths = {"AnalysisTemplate": f"{GROUP}/analysistemplates"}
    paths["ClusterAnalysisTemplate"] = "/apis/argoproj.io/v1alpha1/clusteranalysistemplates"
    applied = argo.templates(platform)
    for one in applied:
        post(paths[one["kind"]], one)
    yield platform
    for one in applied:
        kubernetes.request("DELETE", f"{paths[one['kind']]}/{one['metadata']['name']}")


def told(platform: Platform) -> tuple[list[str], list[str]]:
    warnings: list[Problem] = []
    return sorted(map(str, live.cluster_problems(platform, warnings))), sorted(map(str, warnings))


def test_what_is_applied_as_it_is_rendered_has_no_problems(templates: Platform) -> None:
    assert told(templates) == ([], [])


def test_a_cluster_is_searched_for_templates_that_can_be_fooled_and_questions_that_are_refused(
    templates: Platform,
) -> None:
    name = argo.templates(templates)[1]["metadata"]["name"]
    arms = {"baseline": "v1", "canary": "v2"}
    changed = argo.templates(templates)[0]
    changed["spec"]["metrics"][0]["interval"] = "99s"
    path = f"/apis/argoproj.io/v1alpha1/clusteranalysistemplates/{changed['metadata']['name']}"
    kubernetes.request("PATCH", path, body={"spec": changed["spec"]})
    objects = {
        "analysistemplates": [of_the_web("old", f"{templates.gate.url}/verdict"), of_the_web("other", "http://other/")],
        "rollouts": [
            rollout("good", name, **arms),
            rollout("stranger", "other"),
            rollout("unknown", name, model="fruad", **arms),
            rollout("same", name, baseline="v1", canary="v1"),
            rollout("short", name, baseline="v1"),
            rollout("nothing", "midwatch-canary-gone", **arms),
        ],
    }
    for kind, documents in objects.items():
        for one in documents:
            post(f"{GROUP}/{kind}", one)
    problems, warnings = told(templates)
    text = "\n".join(problems)
    assert "AnalysisTemplate ml/old: spec.metrics: only web metrics decide" in text
    assert "ClusterAnalysisTemplate midwatch-canary" in text and "not what is rendered" in text
    assert "Rollout ml/unknown: spec.strategy.canary.steps[1].analysis: the gate knows no model 'fruad'" in text
    assert "Rollout ml/same: spec.strategy.canary.steps[1].analysis: baseline and canary are both 'v1'" in text
    assert "Rollout ml/short: spec.strategy.canary.steps[1].analysis: the argument canary has no value" in text
    assert "Rollout ml/nothing: spec.strategy.canary.steps[1].analysis: there is no template" in text
    assert (len(problems), "ml/good" in text, "ml/stranger" in text) == (6, False, False), text
    assert ["AnalysisTemplate ml/other" in one for one in warnings] == [True]
    for kind, documents in objects.items():
        for one in documents:
            kubernetes.request("DELETE", f"{GROUP}/{kind}/{one['metadata']['name']}")


def test_rendered_steps_are_applied_once_and_stay_when_the_owner_releases(ended: dict[str, dict[str, Any]]) -> None:
    assert ended
    files = argo.render_files(Platform.model_validate(document_in_cluster()))
    (text,) = (text for path, text in files.items() if "rollout-steps" in path)
    post(f"{GROUP}/rollouts", rollout("fraud", ""))
    path = f"{GROUP}/rollouts/fraud"
    apply(yaml.safe_load(text))
    containers = [{"name": "m", "image": "registry.invalid/m:2"}]
    released = {"spec": {"template": {"spec": {"containers": containers}}}}
    kubernetes.request("PATCH", path, query={"fieldManager": "owner"}, body=released)
    spec = kubernetes.request("GET", path)["spec"]
    assert spec["template"]["spec"]["containers"] == containers
    steps = spec["strategy"]["canary"]["steps"]
    assert [step["setWeight"] for step in steps if "setWeight" in step] == [10, 30, 60]
    kubernetes.request("DELETE", path)
