"""Episodes, and one trigger in each: to a real HTTP receiver, and to a stand-in for the Kubernetes API."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import yaml

from midwatch import evidence, kubernetes
from midwatch.spec import drift as drift_spec
from midwatch.spec import load, model
from monitors.drift import episodes, retraining, trigger
from monitors.drift.episodes import Trigger
from monitors.drift.verdict import Finding, Judgement, Result, Verdict
from tests.conftest import free_port

SECRET = b"a secret of some length"
D, S, I = Verdict.DRIFT, Verdict.STABLE, Verdict.INCONCLUSIVE  # noqa: E741


def said(verdict: Verdict) -> Judgement:
    result = Result(statistic=1.0, p_value=1e-9, effect=1.0, reference_size=9, window_size=9)
    finding = Finding(feature="x", method="ks", result=result, floor=0.1, votes=verdict is D)
    return Judgement(verdict=verdict, reason="why", samples=9, quorum=1, alpha=0.01, findings=(finding,))


@pytest.fixture
def platform(tmp_path: Path, make_document, receiver) -> model.Platform:
    (tmp_path / "url").write_text(receiver.url + "/hook\n")
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    return platform_with(tmp_path, make_document, {"webhook": {"url_file": "url", "secret_file": "secret"}})


def platform_with(tmp_path: Path, make_document, target: dict) -> model.Platform:
    document = make_document()
    document["models"][0]["drift"] = {
        "reference": "r.npz",
        "features": {"x": "numeric"},
        "retrain": {"after": "2 windows", "cooldown": "1h"} | target,
    }
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return load.load_platform(file)


class Plane:
    """A retraining whose state is kept as a process would keep it."""

    def __init__(self, platform: model.Platform, folder: Path, saved: bytes | None = None) -> None:
        self.kept = saved or msgspec.json.encode(retraining.Saved())
        self.now = 1000.0
        self.folder = folder
        restored = msgspec.json.decode(self.kept, type=retraining.Saved)
        self.retraining = retraining.Retraining(platform, folder, folder, restored)

    def keep(self) -> None:
        self.kept = msgspec.json.encode(self.retraining.saved())

    def windows(self, *verdicts: Verdict, version: str = "v1") -> None:
        for verdict in verdicts:
            self.now += 60
            self.retraining.observe("fraud", version, said(verdict), start=self.now - 60.0, end=self.now)
        self.keep()

    def run(self, seconds: float = 0.0) -> None:
        """Let attempts be made and answered, until nothing is under way or is not due yet."""
        self.now += seconds
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.retraining.step(self.now, self.keep)
            if all(one.trigger is not Trigger.SENDING for one in self.retraining._episodes):
                return
            time.sleep(0.005)
        raise TimeoutError

    def audit(self) -> list[str]:
        """Steps of the record, which is whole."""
        assert evidence.verify(self.folder / "audit.jsonl").problems == ()
        return [step.kind for step in evidence.read(self.folder / "audit.jsonl")]

    def value(self, name: str, **labels: str) -> float | None:
        found = [number for metric, where, number in self.retraining.samples() if metric == name and where == labels]
        return found[0] if found else None


def test_an_episode_outlives_one_calm_window_and_ends_with_two(platform, tmp_path) -> None:
    plane = Plane(platform, tmp_path)
    plane.windows(D, S, I, D, S)
    assert plane.value("ml_drift_episode", model="fraud", version="v1") == 1
    plane.windows(I, S)
    assert plane.value("ml_drift_episode", model="fraud", version="v1") == 0
    plane.windows(S, D)
    assert plane.value("ml_drift_episodes_total", model="fraud", version="v1") == 2
    assert plane.audit() == ["began", "due", "ended", "withdrawn", "began"]


def test_one_signed_trigger_per_episode_says_what_drifted(platform, tmp_path, receiver) -> None:
    plane = Plane(platform, tmp_path)
    plane.windows(D)
    plane.run()
    assert receiver.requests == []
    plane.windows(D, D, D)
    for _ in range(3):
        plane.run(3700)
        plane.windows(D)
    ((path, headers, body),) = receiver.requests
    assert path == "/hook"
    assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    document = json.loads(body)
    assert set(document) - {"event"} == set(drift_spec.EPISODE_FIELDS)
    assert document["episode"] == headers["Idempotency-Key"]
    assert (document["model"], document["features"], document["reason"]) == ("fraud", "x", "why")
    assert plane.value("midwatch_retrain_triggers_total", model="fraud", result="sent") == 1
    assert plane.audit() == ["began", "due", "attempt", "sent"]


def test_a_second_episode_within_the_cooldown_waits_for_its_end(platform, tmp_path, receiver) -> None:
    plane = Plane(platform, tmp_path)
    plane.windows(D, D)
    plane.run()
    plane.windows(D, D, version="v2")
    plane.run()
    assert len(receiver.requests) == 1
    plane.now += 3600
    plane.windows(D, version="v2")
    plane.run()
    assert [json.loads(body)["version"] for _, _, body in receiver.requests] == ["v1", "v2"]


def test_answers_that_refuse_for_now_are_tried_again_and_only_so_often(platform, tmp_path, receiver) -> None:
    plane = Plane(platform, tmp_path)
    receiver.statuses = [503, 429, 200]
    plane.windows(D, D)
    plane.run()
    plane.run()
    assert len(receiver.requests) == 1  # not before the backoff is over
    plane.run(10)
    plane.run(20)
    assert plane.audit()[-1] == "sent"
    assert len({headers["Idempotency-Key"] for _, headers, _ in receiver.requests}) == 1
    receiver.statuses = [503]
    plane.now += 3600
    plane.windows(S, S, D, D)
    for _ in range(20):
        plane.run(400)
    assert plane.audit()[-1] == "failed"
    assert len(receiver.requests) == 3 + retraining.ATTEMPTS
    assert plane.value("midwatch_retrain_triggers_total", model="fraud", result="failed") == 1


@pytest.mark.parametrize(
    ("status", "expected"), [(400, "failed"), (302, "failed"), (0, "unknown"), (502, "unknown"), (504, "unknown")]
)
def test_answers_that_settle_it_are_not_tried_again(platform, tmp_path, receiver, status, expected) -> None:
    receiver.statuses = [status]
    plane = Plane(platform, tmp_path)
    plane.windows(D, D)
    for _ in range(3):
        plane.run(400)
    assert plane.audit()[-1] == expected
    assert len(receiver.requests) == 1


def test_an_attempt_that_fails_as_nobody_thought_of_is_not_under_way_for_ever(
    platform, tmp_path, receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> trigger.Outcome:
        raise ZeroDivisionError

    monkeypatch.setattr(trigger, "send", broken)
    plane = Plane(platform, tmp_path)
    plane.windows(D, D)
    plane.run()
    assert plane.audit() == ["began", "due", "attempt", "unknown"]


def test_without_a_receiver_or_secret_it_is_tried_again(platform, tmp_path, receiver) -> None:
    (tmp_path / "url").write_text(f"http://127.0.0.1:{free_port()}/")
    plane = Plane(platform, tmp_path)
    plane.windows(D, D)
    plane.run()
    (tmp_path / "url").write_text("no address")
    plane.run(10)
    (tmp_path / "url").write_text(receiver.url)
    (tmp_path / "secret").rename(tmp_path / "away")
    plane.run(20)
    assert plane.audit() == ["began", "due", *["attempt", "retry"] * 3]
    (tmp_path / "away").rename(tmp_path / "secret")
    plane.run(40)
    assert plane.audit()[-1] == "sent"


def test_a_trigger_not_sent_when_drift_ends_is_withdrawn(platform, tmp_path, receiver) -> None:
    receiver.statuses = [503]
    plane = Plane(platform, tmp_path)
    plane.windows(D, D)
    plane.run()
    plane.windows(S, S)
    plane.run(3600)
    assert plane.audit()[-2:] == ["ended", "withdrawn"]
    assert len(receiver.requests) == 1


def test_a_process_that_dies_while_sending_never_sends_twice(platform, tmp_path, receiver) -> None:
    plane = Plane(platform, tmp_path)
    plane.windows(D, D)
    plane.retraining.step(plane.now, plane.keep)  # killed before the answer is taken in
    again = Plane(platform, tmp_path, plane.kept)
    again.windows(D, D)
    again.run(400)
    assert len(receiver.requests) <= 1
    assert again.audit().count("attempt") == 1
    assert again.audit()[-1] == "unknown"
    settled = Plane(platform, tmp_path, plane.kept)  # killed once more, before that was kept
    settled.run(400)
    assert settled.audit().count("unknown") == 1
    assert settled.value("midwatch_retrain_triggers_total", model="fraud", result="unknown") == 0


def test_a_restart_between_attempts_goes_on_with_them(platform, tmp_path, receiver) -> None:
    receiver.statuses = [503, 200]
    plane = Plane(platform, tmp_path)
    plane.windows(D, D)
    plane.run()
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(b'{"torn')
    again = Plane(platform, tmp_path, plane.kept)
    again.now = plane.now
    again.run(10)
    assert len(receiver.requests) == 2
    assert again.audit()[-1] == "sent"


@pytest.fixture
def cluster(receiver, tmp_path, monkeypatch) -> SimpleNamespace:
    """Stands in for a kube-apiserver: takes what is created, and refuses as it is told."""
    name = {"name": "c"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [name | {"cluster": {"server": receiver.url}}],
        "users": [name | {"user": {"token": "t"}}],
        "contexts": [name | {"context": {"cluster": "c", "user": "c"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    kubernetes._client.cache_clear()
    receiver.statuses = [201]
    yield receiver
    kubernetes._client.cache_clear()


@pytest.mark.parametrize(
    ("statuses", "events"),
    [
        ([201], ["attempt", "sent"]),
        ([409], ["attempt", "sent"]),
        ([500, 409], ["attempt", "retry", "attempt", "sent"]),
        ([0, 409], ["attempt", "retry", "attempt", "sent"]),
        ([403], ["attempt", "failed"]),
    ],
)
def test_a_pipeline_run_is_created_once(cluster, tmp_path, make_document, statuses, events) -> None:
    cluster.statuses = statuses
    target = {"namespace": "training", "pipeline": "train", "service_account": "trainer", "params": {"m": "{model}!"}}
    plane = Plane(platform_with(tmp_path, make_document, {"pipeline_run": target}), tmp_path)
    plane.windows(D, D)
    plane.run()
    plane.run(10)
    assert plane.audit() == ["began", "due", *events]
    path, _, body = cluster.requests[-1]
    assert path.startswith("/apis/tekton.dev/v1/namespaces/training/pipelineruns")
    run = json.loads(body)
    assert re.fullmatch("retrain-fraud-[0-9a-f]{16}", run["metadata"]["name"])
    assert run["spec"]["params"] == [{"name": "m", "value": "fraud!"}]
    assert run["spec"]["taskRunTemplate"] == {"serviceAccountName": "trainer"}
    assert len({json.loads(sent)["metadata"]["name"] for _, _, sent in cluster.requests}) == 1


def test_a_pipeline_run_whose_sender_died_is_tried_again(cluster, tmp_path, make_document) -> None:
    platform = platform_with(tmp_path, make_document, {"pipeline_run": {"namespace": "t", "pipeline": "train"}})
    plane = Plane(platform, tmp_path)
    plane.windows(D, D)
    plane.retraining.step(plane.now, plane.keep)
    cluster.statuses = [409]
    again = Plane(platform, tmp_path, plane.kept)
    again.now = plane.now
    again.run()
    assert again.audit()[-1] == "sent"


def test_without_a_cluster_it_is_tried_again(tmp_path, make_document, monkeypatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))
    kubernetes._client.cache_clear()
    target = {"pipeline_run": {"namespace": "t", "pipeline": "train"}}
    plane = Plane(platform_with(tmp_path, make_document, target), tmp_path)
    plane.windows(D, D)
    plane.run()
    assert plane.audit()[-1] == "retry"


@pytest.mark.parametrize(
    ("retrain", "message"),
    [
        ({}, "needs exactly one of webhook and pipeline_run"),
        (
            {"pipeline_run": {"namespace": "t", "pipeline": "p", "params": {"a": "{modell}"}}},
            r"params.a has \{modell\}",
        ),
        ({"pipeline_run": {"namespace": "t", "pipeline": "p"}, "after": "0 windows"}, "after"),
    ],
)
def test_what_cannot_be_triggered_is_refused_in_the_platform_file(tmp_path, make_document, retrain, message) -> None:
    with pytest.raises(load.InvalidInputError, match=message):
        platform_with(tmp_path, make_document, retrain)


def test_the_documented_binding_binds_what_a_trigger_has() -> None:
    text = (Path(__file__).parents[2] / "docs" / "retraining.md").read_text()
    (manifest,) = [block for block in re.findall("```yaml\n(.*?)```", text, re.S) if "EventListener" in block]
    _, binding = yaml.safe_load_all(manifest)
    bound = {re.fullmatch(r"\$\(body\.(\w+)\)", one["value"]).group(1) for one in binding["spec"]["params"]}
    assert bound <= set(episodes.document("p", episodes.Episode("m", "v", 0.0)))


def test_the_signature_is_that_of_rfc_2104_over_the_exact_bytes() -> None:
    # The example of GitHub's documentation on validating webhook deliveries.
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert trigger.signature(b"It's a Secret to Everybody", b"Hello, World!") == expected


def test_two_models_whose_names_are_cut_alike_have_runs_of_their_own() -> None:
    run = drift_spec.PipelineRun.model_validate({"namespace": "training", "pipeline": "train"})
    long = "a-model-whose-name-is-longer-than-forty-characters"
    made = [
        trigger.manifest(run, {"model": f"{long}-{number}", "episode": "e", "reason": "drift"})["metadata"]["name"]
        for number in (1, 2)
    ]
    assert made[0] != made[1]
    assert {len(name) for name in made} == {len("retrain-") + trigger.MOST_OF_NAME + len("-e")}


def test_with_a_loop_nothing_is_triggered_here_and_the_loop_learns_when_it_began(
    tmp_path, make_document, receiver
) -> None:
    document = make_document(loop={})
    target = {"webhook": {"url_file": "url", "secret_file": "secret"}}
    (tmp_path / "url").write_text(receiver.url)
    (tmp_path / "secret").write_bytes(SECRET)
    document["models"][0]["drift"] = {
        "reference": "r.npz",
        "features": {"x": "numeric"},
        "retrain": {"after": "2 windows"} | target,
    }
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    plane = Plane(load.load_platform(tmp_path / "platform.yaml"), tmp_path)
    plane.windows(S, D, D, D)
    plane.run(3700)
    where = {"model": "fraud", "version": "v1"}
    assert receiver.requests == []
    assert plane.value("ml_drift_episode_onset_timestamp_seconds", **where) == 1060.0
    assert plane.value("ml_drift_episode_detected_timestamp_seconds", **where) == 1120.0
    assert plane.value("ml_drift_episode_windows", **where) == 3
    assert plane.value("midwatch_retrain_triggers_total", model="fraud", result="sent") is None
    plane.windows(S, S)
    assert plane.value("ml_drift_episode_windows", **where) is None


def test_the_id_in_an_answer_is_kept_and_the_trace_is_sent_on(platform, tmp_path, receiver) -> None:
    retrain = platform.models[0].drift.retrain
    said = {"episode": "e", "model": "fraud", "reason": "why"}
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    assert trigger.send(retrain, tmp_path, said, parent).request == "7"  # the receiver answers as Tekton does
    assert receiver.requests[0][1]["traceparent"] == parent
    run = drift_spec.PipelineRun(namespace="training", pipeline="train")
    made = trigger.manifest(run, said, parent)["metadata"]
    assert made["annotations"]["tekton.dev/deliveryTraceparent"] == parent
    assert made["name"] == trigger.run_name("fraud", "e")
