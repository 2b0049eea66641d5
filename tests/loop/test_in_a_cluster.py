"""An episode through a cluster: a real API server, the controllers of Tekton and Argo Rollouts, a real EventListener.

No kubelet runs, so what it would say is said here: how the container of each of Tekton's pods ended, and that pods of a
Rollout are available. Prometheus, the registry and the gate are stand-ins, too: `Outside`. The traffic that it tells of
follows the Rollout's own status. Everything between is what runs in a cluster: the webhook and its answer, labels, runs
and their tasks, releases and their analyses, and the loop that follows them.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch import kubernetes, metrics, modules
from midwatch.app.render import Target, rendered_files
from midwatch.prometheus import Line, Sample
from monitors.loop import owners
from monitors.loop.asking import Asker
from monitors.loop.episode import Episode, Outcome, State, Step
from monitors.loop.episode_log import EpisodeLog
from monitors.loop.follower import Follower
from monitors.loop.owner import Place
from monitors.loop.owners.tekton import EVENT, MLFLOW_RUN
from monitors.promotion import tekton as task_of_tekton
from tests.canary.test_rollouts_controller import ROLLOUTS, controller_of_rollouts, let_pods_run, rollout
from tests.chaos import cluster
from tests.conftest import free_port, midwatch_here, wait_for
from tests.loop import parts, tekton
from tests.loop.tekton import Ended, Kubelet
from tests.promotion.conftest import SmallMlflow, judged, loaded, mlflow, written  # noqa: F401 - mlflow is a fixture

TASKS = ("validate-data", "train", "evaluate", "security-scan", "bias-check")
SECONDS = 150.0
WEEK = 8 * 86400.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an EventListener's sink, beside an API server with Tekton's and Argo Rollouts' controllers."""
    for program in (tekton.CONTROLLER, tekton.SINK, "rollouts-controller"):
        cluster.controller(program)
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        stack.enter_context(cluster.running(folder))
        config = folder / f"{cluster.ADMIN}.kubeconfig"
        stack.enter_context(cluster.connected(config))
        cluster.create("/api/v1/namespaces", {"metadata": {"name": cluster.NAMESPACE}})
        stack.enter_context(tekton.controller(folder, config))
        stack.enter_context(controller_of_rollouts(folder, config))
        tekton.define_triggers(folder)
        tekton.create_listener("midwatch", {"generateName": "retrain-"})
        tekton.create_listener("broken", {"name": "No_Name"})
        cluster.create(f"/apis/tekton.dev/v1/namespaces/{tekton.NAMESPACE}/pipelines", pipeline())
        yield stack.enter_context(tekton.sink(folder, config, "midwatch"))


def pipeline() -> dict[str, Any]:
    """A training whose registration is left out unless the evaluation found the model better."""

    def task(name: str, *after: str, results: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
        steps = [{"name": "s", "image": "registry.invalid/train:1", "command": ["do"]}]
        spec = {"results": [{"name": one} for one in results], "steps": steps}
        return {"name": name, "taskSpec": spec, "runAfter": list(after), **more}

    is_better = [{"input": "$(tasks.evaluate.results.better)", "operator": "in", "values": ["yes"]}]
    tasks = [
        task("validate-data"),
        task("train", "validate-data", results=("run",)),
        task("evaluate", "train", results=("better",)),
        task("security-scan", "train"),
        task("bias-check", "train"),
        task("register", "evaluate", "security-scan", "bias-check", when=is_better),
    ]
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": {"name": "train"},
        "spec": {
            "params": [{"name": "model", "default": ""}, {"name": "episode", "default": ""}],
            "results": [{"name": MLFLOW_RUN, "value": "$(tasks.train.results.run)"}],
            "tasks": tasks,
        },
    }


class Outside(parts.Judges):
    """Prometheus, the registry and the gate, which none of the controllers knows more of than an address."""

    def __init__(self) -> None:
        super().__init__(holding={"v3": 2}, detected={"v3": time.time()})
        self.champion, self.verdict = "3", ""
        self.versions = [self.version("3", time.time() - 86400, "t3")]
        self.first_request: float | None = None
        self.is_judged = False
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.respond(outside.answer(self.path))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.respond(outside.answer(self.path))

            def respond(self, document: Any) -> None:
                content = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @staticmethod
    def version(number: str, created: float, run: str) -> dict[str, Any]:
        return {"version": number, "creation_timestamp": int(created * 1000), "run_id": run, "tags": []}

    def answer(self, path: str) -> Any:
        """MLflow's registry, and the gate as an analysis asks it."""
        if "registered-models/get" in path:
            return {"registered_model": {"aliases": [{"alias": "champion", "version": self.champion}]}}
        if "model-versions/search" in path:
            return {"model_versions": self.versions}
        if "runs/get" in path:
            return {"run": {"info": {"run_id": "t4", "status": "FINISHED"}, "data": {}}}
        value = {"pass": "1", "fail": "0"}[self.verdict]
        self.is_judged = True  # by the analysis that asks, before its controller acts on the answer
        return {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, value]}]}}

    # Prometheus ------------------------------------------------------------------------------------------------------

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        is_drift = str(expr).startswith("ml_drift")
        return super().query(expr, at=at) if is_drift else []

    def value(self, expr: object, *, at: float | None = None) -> float | None:
        if "rate(" not in str(expr):
            return 0.0
        return 10.0 * (self.share() if '"v4"' in str(expr) else 1.0)

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        self.share()
        if metrics.CANARY_VERDICT.name in str(expr):
            labels = {"baseline": "v3", "canary": "v4", "verdict": self.verdict}
            return [Line(labels=labels, points=[(time.time(), 1.0)])] if self.is_judged else []
        return [Line(labels={}, points=[(self.first_request, 1.0)])] if self.first_request else []

    def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
        """Two calm windows of the new version, once the clock of the loop is past them."""
        ends = [start + 70.0, start + 130.0]
        is_end = str(selector).startswith(metrics.DRIFT_WINDOW_END.name)
        points = [(at, at if is_end else 0.0) for at in ends if at < end]
        return [Line(labels={}, points=points)] if points else []

    def share(self) -> float:
        """Share of v4 by the status of the Rollout: nothing before its pods, its weight, or everything."""
        found = kubernetes.find(f"{ROLLOUTS}/fraud")
        if found is None:
            return 0.0
        status = found.get("status", {})
        is_new = found["spec"]["template"]["metadata"]["labels"]["version"] == "v4"
        is_seen = status.get("observedGeneration") == str(found["metadata"]["generation"])
        if not is_new or not is_seen or status.get("abort") or not status.get("updatedReplicas"):
            return 0.0
        self.first_request = self.first_request or time.time()
        return 1.0 if status.get("stableRS") == status.get("currentPodHash") else 0.2


class Followed:
    """The loop of fraud, as `midwatch loop serve` has it, and the pods that it leads to."""

    def __init__(self, folder: Path, target: dict[str, Any], url: str, work: dict[str, tekton.Work]) -> None:
        self.outside = Outside()
        written = parts.document(
            target,
            systems={
                "mlflow": {
                    "owner": "ml",
                    "targets": ["mlflow:5000"],
                    "observe": {"url": self.outside.url, "served_as": "v{version}"},
                },
                "tekton": {
                    "owner": "ml",
                    "targets": ["tekton:9090"],
                    "observe": {"namespaces": [tekton.NAMESPACE], "pipelines": {}},
                },
            },
        )
        written["models"][0]["canary"] = {
            "criteria": [{"metric": "errors", "negligible": "1%"}],
            "rollout": {"name": "fraud", "namespace": cluster.NAMESPACE},
        }
        self.platform = parts.platform(folder, written, url)
        (folder / "url").write_text(url)
        model = self.platform.models[0]
        where = Place(platform=self.platform, model=model, client=self.outside)  # type: ignore[arg-type]
        self.log = EpisodeLog(folder)
        assert model.drift and model.drift.retrain
        asker = Asker(self.platform, model, model.drift.retrain, folder, self.log)
        self.owners = owners.of_model(where)
        self.follower = Follower(where, self.owners, self.log, asker)
        self.kubelet = Kubelet({"train": lambda _: Ended(results={"run": "t4"}), "register": self.register, **work})

    def register(self, _: Any) -> Ended:
        """What the container would do: register the version that the run made."""
        self.outside.versions.append(self.outside.version("4", time.time(), "t4"))
        return Ended()

    @property
    def episode(self) -> Episode:
        return self.log.of("fraud")[-1]

    def until(self, is_so: Callable[[Episode], bool], ahead: float = 0.0) -> Episode:
        """Look, and run what a kubelet would, until something is so; `ahead` is how far the loop's clock has gone."""
        deadline = time.monotonic() + SECONDS
        while True:
            self.follower.look(time.time() + ahead)
            assert self.follower.view.problems == {}
            if is_so(self.episode):
                return self.episode
            assert time.monotonic() < deadline, [(one.step, one.result, one.facts) for one in self.episode.steps]
            self.kubelet.step()
            let_pods_run()
            time.sleep(0.2)


@pytest.fixture
def released(place: str) -> Iterator[None]:
    """A Rollout of v3, which waits for an analysis once a fifth of the traffic is the new version's."""
    assert place
    yield
    kubernetes.request("DELETE", f"{ROLLOUTS}/fraud")
    kubernetes.request("DELETE", f"{ROLLOUTS.rpartition('/')[0]}/analysistemplates/gate")


def release(gate: str) -> None:
    provider = {"prometheus": {"address": gate, "query": "canary"}}
    metric = {"name": "gate", "count": 1, "failureLimit": 0, "successCondition": "result[0] == 1", "provider": provider}
    kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate"}
    template = {**kind, "metadata": {"name": "gate"}, "spec": {"metrics": [metric]}}
    cluster.create(f"{ROLLOUTS.rpartition('/')[0]}/analysistemplates", template)
    first = rollout("fraud", "gate")
    first["spec"]["template"]["metadata"]["labels"]["version"] = "v3"
    cluster.create(ROLLOUTS, first)
    cluster.wait_until(lambda: let_pods_run() or phase() == "Healthy", SECONDS)


def phase() -> str:
    return str(kubernetes.request("GET", f"{ROLLOUTS}/fraud").get("status", {}).get("phase"))


def deploy() -> None:
    """What Argo CD would do once Git has the new version."""
    labels = {"spec": {"template": {"metadata": {"labels": {"version": "v4"}}}}}
    kubernetes.request("PATCH", f"{ROLLOUTS}/fraud", body=labels)


@pytest.mark.usefixtures("released")
def test_an_episode_goes_from_drift_to_a_better_version_in_a_cluster(place: str, tmp_path: Path) -> None:
    work = {"evaluate": lambda _: Ended(results={"better": "yes"})}
    followed = Followed(tmp_path, parts.webhook(), place, work)
    followed.outside.verdict = "pass"
    release(followed.outside.url)
    registered = followed.until(lambda episode: episode.is_done(Step.REGISTERED))
    run = tekton.run_of(f"{EVENT}={registered.request}")
    assert run is not None and registered.request
    assert registered.run == f"{tekton.NAMESPACE}/{run['metadata']['name']}"
    deploy()
    served = followed.until(lambda episode: episode.is_done(Step.ALL_TRAFFIC))
    assert (phase(), served.is_done(Step.CANARY_JUDGED)) == ("Healthy", True)
    followed.outside.champion = "4"
    followed.until(lambda episode: episode.is_done(Step.PROMOTED))
    followed.outside.holding = {"v3": 0, "v4": 0}
    ended = followed.until(lambda episode: episode.outcome is not Outcome.OPEN, ahead=300.0)
    assert (ended.outcome, ended.cause) == (Outcome.BETTER, "drift_gone")
    states = ended.states(followed.owners.unobserved)
    assert {step: state for step, state in states.items() if state is not State.DONE} == {Step.ROLLED_BACK: State.AHEAD}
    seen = {(one.step, one.source) for one in ended.steps}
    by_tekton = (Step.RUN_STARTED, Step.TRAINED, Step.DATA_VALIDATION, Step.EVALUATION, Step.BIAS_CHECK)
    assert {(step, "tekton") for step in by_tekton} | {(Step.DEPLOYED, "argo_rollouts")} <= seen
    times = ended.times()
    known = [at for at in times if at is not None]
    # Tekton writes whole seconds.
    assert len(known) == len(times) and all(later > at - 1.0 for at, later in itertools.pairwise(known))


@pytest.mark.usefixtures("released")
def test_a_canary_that_fails_is_rolled_back_by_its_controller(place: str, tmp_path: Path) -> None:
    work = {"evaluate": lambda _: Ended(results={"better": "yes"})}
    followed = Followed(tmp_path, parts.webhook(), place, work)
    followed.outside.verdict = "fail"
    release(followed.outside.url)
    followed.until(lambda episode: episode.is_done(Step.REGISTERED))
    deploy()
    ended = followed.until(lambda episode: episode.outcome is not Outcome.OPEN)
    assert (ended.outcome, ended.cause, phase()) == (Outcome.WORSE, "canary_judged", "Degraded")
    assert "argo_rollouts" in {one.source for one in ended.steps if one.step is Step.ROLLED_BACK}


def test_a_run_that_is_completed_without_its_registration_is_no_version(place: str, tmp_path: Path) -> None:
    """Tekton says `Completed`, which is a success that skipped a task: the version is still waited for."""
    work = {"evaluate": lambda _: Ended(results={"better": "no"})}
    followed = Followed(tmp_path, parts.webhook(), place, work)
    found = followed.until(lambda episode: facts_of_the_run(episode).get("run", "running") != "running")
    run = tekton.run_of(f"{EVENT}={found.request}")
    assert run is not None
    assert (tekton.succeeded(run)["status"], tekton.succeeded(run)["reason"]) == ("True", "Completed")
    assert facts_of_the_run(found) | {"ended": ""} == {
        "run": "skipped",
        "ended": "",
        "skipped": "register",
        "mlflow_run": "t4",
    }
    assert found.waiting_for(followed.owners.unobserved) is Step.REGISTERED
    ended = followed.until(lambda episode: episode.outcome is not Outcome.OPEN, ahead=WEEK)
    assert (ended.outcome, ended.cause) == (Outcome.ABANDONED, "registered")


def facts_of_the_run(episode: Episode) -> dict[str, str]:
    trained = episode.last(Step.TRAINED)
    return trained.facts if trained else {}


def test_a_training_that_fails_ends_the_episode_there(place: str, tmp_path: Path) -> None:
    followed = Followed(tmp_path, parts.webhook(), place, {"train": lambda _: Ended(exit_code=1)})
    ended = followed.until(lambda episode: episode.outcome is not Outcome.OPEN)
    assert (ended.outcome, ended.cause) == (Outcome.FAILED, "trained")


def test_a_pipeline_run_of_ours_is_created_once_however_often_it_is_asked_for(place: str, tmp_path: Path) -> None:
    assert place
    work = {"evaluate": lambda _: Ended(results={"better": "yes"})}
    followed = Followed(tmp_path, parts.pipeline_run(), "http://127.0.0.1:1", work)
    followed.follower.look(time.time())
    again = Followed(tmp_path, parts.pipeline_run(), "http://127.0.0.1:1", work)  # its process ended, and began again
    again.outside.detected = followed.outside.detected
    registered = again.until(lambda episode: episode.is_done(Step.REGISTERED))
    runs = kubernetes.request("GET", tekton.RUNS, query={"labelSelector": f"midwatch.dev/episode={registered.id}"})
    assert [one["metadata"]["name"] for one in runs["items"]] == [f"retrain-fraud-{registered.id}"]
    assert registered.run == f"{tekton.NAMESPACE}/retrain-fraud-{registered.id}"


def test_an_answer_202_from_which_nothing_comes_is_no_run(place: str, tmp_path: Path, broken_sink: str) -> None:
    """A template that cannot be created: the sink has answered before it tries."""
    assert place
    followed = Followed(tmp_path, parts.webhook(), broken_sink, {})
    followed.follower.look(time.time())
    assert followed.episode.is_done(Step.ASKED) and followed.episode.request
    ended = followed.until(lambda episode: episode.outcome is not Outcome.OPEN, ahead=WEEK)
    assert (ended.outcome, ended.cause) == (Outcome.ABANDONED, "run_started")


@pytest.fixture
def broken_sink(place: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the sink of an EventListener whose template is wrong."""
    assert place
    folder = tmp_path_factory.mktemp("sink")
    with tekton.sink(folder, Path(os.environ["KUBECONFIG"]), "broken") as url:
        yield url


# The Task that promotes ----------------------------------------------------------------------------------------------


@pytest.fixture
def gate_url(mlflow: SmallMlflow, tmp_path: Path) -> Iterator[str]:  # noqa: F811
    """A gate that promotes in a small registry, with a token; its files are in the test's folder."""
    port = free_port()
    (tmp_path / "token").write_text("t0ken")
    url = f"http://127.0.0.1:{port}"
    file = written(tmp_path, mlflow.url, gate={"url": url, "token_secret": {"name": "gate-token", "key": "token"}})
    words = ["canary", "gate", "-f", str(file), "--audit", str(tmp_path / "audit.jsonl")]
    words += ["--listen", f"127.0.0.1:{port}", "--token-file", str(tmp_path / "token")]
    process = subprocess.Popen(modules.command("midwatch", *words), stderr=subprocess.DEVNULL)
    try:
        wait_for(f"{url}/healthz", 60)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def test_the_rendered_task_promotes_through_the_gate_and_fails_with_what_lacks(
    place: str,
    gate_url: str,
    mlflow: SmallMlflow,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Tekton fills the Task in; what the pod's container would run is run here, and its exit code told to Tekton."""
    assert place and gate_url
    platform = loaded(tmp_path / "platform.yaml")
    task = yaml.safe_load(rendered_files(platform, Target.KUBERNETES)[task_of_tekton.PATH])
    cluster.create(f"/apis/tekton.dev/v1/namespaces/{tekton.NAMESPACE}/tasks", task)
    said: list[str] = []

    def promote(task_run: dict[str, Any]) -> Ended:
        selector = f"tekton.dev/taskRun={task_run['metadata']['name']}"
        (pod,) = kubernetes.request("GET", tekton.PODS, query={"labelSelector": selector})["items"]
        (container,) = pod["spec"]["containers"]
        at = container["args"].index("--")
        entrypoint, words = container["args"][:at], container["args"][at + 1 :]
        assert entrypoint[-2:] == ["-entrypoint", "midwatch"]
        (mounted,) = (one for one in container["volumeMounts"] if one["name"] == "token")
        done = midwatch_here(*(word.replace(mounted["mountPath"], str(tmp_path)) for word in words))
        said.append(done.stdout + done.stderr)
        return Ended(exit_code=done.returncode)

    kubelet = Kubelet({"promote": promote})
    refused = tekton.wait_for_end(kubelet, promotion("refused"))
    assert (tekton.succeeded(refused)["status"], json.loads(said[0])["lacking"]) == ("False", ["verdict"]), said
    assert mlflow.aliases == {"champion": "1"}
    judged(tmp_path / "audit.jsonl", at=time.time())
    done = tekton.wait_for_end(kubelet, promotion("done"))
    assert (tekton.succeeded(done)["status"], mlflow.aliases) == ("True", {"champion": "2"}), said
    assert mlflow.versions["2"]["tags"]["midwatch.promoted_by"] == f"tekton {tekton.NAMESPACE}/done-promote"


def promotion(name: str) -> str:
    """Name of a PipelineRun whose only task is the rendered one, as the last of a pipeline's would be."""
    params = [{"name": "model", "value": "fraud"}, {"name": "version", "value": "2"}]
    only = {"name": "promote", "taskRef": {"name": task_of_tekton.NAME}, "params": params}
    run = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": name}}
    cluster.create(tekton.RUNS, {**run, "spec": {"pipelineSpec": {"tasks": [only]}}})
    return name
