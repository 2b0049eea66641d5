"""Canaries by what model servers publish of themselves: the text of each server, through a real Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

from midwatch.prometheus import Client
from midwatch.spec import canary as canary_section
from midwatch.spec.model import Platform
from monitors.canary import ask, judge
from monitors.canary.question import Question
from tests.canary.arms import START, STEP, Past, prometheus_with

SIZE = 60
END = START + SIZE * STEP

TEXTS = {
    "kserve": """\
# HELP revision_app_request_count The number of requests that are routed to user-container
# TYPE revision_app_request_count counter
revision_app_request_count{configuration_name="fraud-predictor",container_name="queue-proxy",namespace_name="ml",\
pod_name="fraud-predictor-00002-deployment-7d9",response_code="200",response_code_class="2xx",\
revision_name="fraud-predictor-00002",service_name="fraud-predictor"} 594
revision_app_request_count{configuration_name="fraud-predictor",container_name="queue-proxy",namespace_name="ml",\
pod_name="fraud-predictor-00002-deployment-7d9",response_code="503",response_code_class="5xx",\
revision_name="fraud-predictor-00002",service_name="fraud-predictor"} 6
# HELP request_predict_seconds predict request latency
# TYPE request_predict_seconds histogram
request_predict_seconds_bucket{le="0.025",model_name="fraud"} 300.0
request_predict_seconds_bucket{le="0.05",model_name="fraud"} 588.0
request_predict_seconds_bucket{le="0.1",model_name="fraud"} 594.0
request_predict_seconds_bucket{le="+Inf",model_name="fraud"} 600.0
request_predict_seconds_count{model_name="fraud"} 600.0
request_predict_seconds_sum{model_name="fraud"} 18.5
# TYPE request_predict_seconds_created gauge
request_predict_seconds_created{model_name="fraud"} 1.76e+09
""",
    "triton": """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="fraud",version="1"} 594
# HELP nv_inference_request_failure Number of failed inference requests, all batch sizes
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{model="fraud",reason="BACKEND",version="1"} 6
nv_inference_request_failure{model="fraud",reason="CANCELED",version="1"} 0
# HELP nv_inference_request_duration_us Cumulative inference request duration in microseconds (includes cached requests)
# TYPE nv_inference_request_duration_us counter
nv_inference_request_duration_us{model="fraud",version="1"} 204931
""",
    "vllm": """\
# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="fraud"} 500.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="fraud"} 94.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="fraud"} 6.0
# HELP vllm:e2e_request_latency_seconds Histogram of e2e request latency in seconds.
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{engine="0",le="0.3",model_name="fraud"} 300.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="1.0",model_name="fraud"} 588.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="2.5",model_name="fraud"} 594.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf",model_name="fraud"} 600.0
vllm:e2e_request_latency_seconds_count{engine="0",model_name="fraud"} 600.0
""",
    "seldon": """\
# HELP seldon_model_infer_total A count of server inference calls
# TYPE seldon_model_infer_total counter
seldon_model_infer_total{code="OK",method_type="grpc",model="fraud",model_internal="fraud_1",server="mlserver",\
server_replica="0"} 594
seldon_model_infer_total{code="Unavailable",method_type="grpc",model="fraud",model_internal="fraud_1",\
server="mlserver",server_replica="0"} 6
# HELP seldon_model_infer_api_seconds A histogram of latencies for ML inference requests
# TYPE seldon_model_infer_api_seconds histogram
seldon_model_infer_api_seconds_bucket{code="OK",method_type="grpc",model="fraud",le="0.025"} 300
seldon_model_infer_api_seconds_bucket{code="OK",method_type="grpc",model="fraud",le="0.05"} 588
seldon_model_infer_api_seconds_bucket{code="OK",method_type="grpc",model="fraud",le="0.1"} 594
seldon_model_infer_api_seconds_bucket{code="OK",method_type="grpc",model="fraud",le="+Inf"} 600
""",
    "custom": """\
# TYPE http_requests_total counter
http_requests_total{app="scoring",code="200"} 594
http_requests_total{app="scoring",code="500"} 6
http_requests_total{app="other",code="500"} 600
# TYPE http_request_duration_milliseconds histogram
http_request_duration_milliseconds_bucket{app="scoring",le="25"} 300
http_request_duration_milliseconds_bucket{app="scoring",le="50"} 588
http_request_duration_milliseconds_bucket{app="scoring",le="100"} 594
http_request_duration_milliseconds_bucket{app="scoring",le="+Inf"} 600
""",
}
"""What a server adds to its counters in an interval, as it shows them: 1% fail, 2% are slower than the second bound."""

SAMPLE, LABEL = re.compile(r"([\w:]+)\{(.*)\} (\S+)"), re.compile(r'(\w+)="([^"]*)"')
FAILED = {"503", "BACKEND", "abort", "Unavailable", "500"}
"""Values of labels that say so."""
OWN = {
    "requests": 'http_requests_total{app="scoring"}',
    "failures": 'http_requests_total{app="scoring", code=~"5.."}',
    "duration": 'http_request_duration_milliseconds{app="scoring"}',
    "duration_unit": "ms",
}


def add_server(past: Past, text: str, arm: str, *, failures: float = 1.0, slow: float = 1.0) -> None:
    """Counters of one version's pod under its target labels; so many times the failures, and the slow requests."""
    for number, line in enumerate(text.splitlines()):
        if line.startswith("#") or "_created" in line:
            continue
        name, told, value = SAMPLE.fullmatch(line).groups()  # type: ignore[union-attr]
        labels = {**dict(LABEL.findall(told)), "version": arm, "instance": f"{arm}:8080"}
        if "le" in labels:
            # All buckets of an interval are drawn alike: they stay cumulative. Half of the requests are never slow.
            beyond = 600 - float(value)
            within = 600 - (beyond * slow if beyond < 300 else beyond)
            grown = np.random.default_rng(len(arm)).poisson(6000, SIZE) / 6000 * within
        else:
            times = failures if FAILED & set(labels.values()) else 1.0
            grown = np.random.default_rng(len(arm) + number).poisson(float(value) * times, SIZE)
        past.grow(name, np.rint(grown).astype(int), begin=1000, **labels)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    past = Past(END + 12)
    for server, text in TEXTS.items():
        for arm, how in (("old", {}), ("same", {}), ("failing", {"failures": 6.0}), ("slow", {"slow": 6.0})):
            add_server(past, text.replace("fraud", f"fraud-{server}"), f"{server}-{arm}", **how)
    with prometheus_with(past, tmp_path_factory.mktemp("servers")) as url:
        yield Client(url, timeout=30)


def platform(make_platform, server: str) -> Platform:
    criteria: list[dict] = [{"metric": "errors", "negligible": "0.5%", "unacceptable_ratio": 3}]
    if server != "triton":
        criteria.append({"metric": "latency", "negligible": "1%", "unacceptable_ratio": 3})
    model = {
        "name": f"fraud-{server}",
        "owner": "ml",
        "task": "classification",
        "serving": server,
        "canary": {"source": "servers", "criteria": criteria},
    }
    return make_platform(models=[model | ({"serving_metrics": OWN} if server == "custom" else {})])


def judged(client: Client, loaded: Platform, server: str, arm: str) -> judge.Judgement:
    model = f"fraud-{server}"
    section, interval = ask.settings_of(loaded, model)
    question = Question(
        model=model,
        baseline=f"{server}-old",
        canary=f"{server}-{arm}",
        start=START,
        end=END,
        served=ask.served_by(loaded, model),
    )
    return ask.ask(client, question, section, interval=interval)[1]


@pytest.mark.parametrize("server", TEXTS)
def test_a_canary_is_judged_by_its_servers_own_metrics(prometheus: Client, make_platform, server: str) -> None:
    loaded = platform(make_platform, server)
    said = {arm: judged(prometheus, loaded, server, arm) for arm in ("same", "failing", "slow")}
    blamed = {arm: [one.name for one in each.findings if one.verdict == "fail"] for arm, each in said.items()}
    reasons = {arm: each.reason for arm, each in said.items()}
    assert (said["same"].verdict, blamed["failing"]) == ("pass", ["errors"]), reasons
    assert blamed["slow"] == ([] if server == "triton" else ["latency"]), reasons
    if server not in ("triton", "vllm"):
        assert "latency > 0.05 s" in said["slow"].reason


def test_a_server_whose_requests_all_fail_has_traffic(make_platform) -> None:
    past = Past(END + 12)
    text = TEXTS["triton"].replace("fraud", "fraud-triton")
    add_server(past, text, "triton-old")
    broken = "\n".join(line for line in text.splitlines() if "success" not in line) + "\n"
    add_server(past, broken, "triton-failing", failures=100.0)
    loaded = platform(make_platform, "triton")
    assert judged(past, loaded, "triton", "failing").verdict == "fail"


@pytest.mark.parametrize(
    ("serving", "criterion", "told"),
    [
        ({"serving": "triton"}, "latency", "publishes no histogram of its latency; name one in histogram"),
        ({"serving": "custom", "serving_metrics": {"requests": "a_total"}}, "errors", "has no failures; add them"),
        ({"serving": "custom", "serving_metrics": {"requests": "a_total"}}, "latency", "publishes no histogram"),
    ],
    ids=["no histogram", "no failures", "no histogram of one's own"],
)
def test_what_a_server_does_not_publish_is_said_when_the_file_is_read(
    make_platform, serving: dict, criterion: str, told: str
) -> None:
    canary = {"source": "servers", "criteria": [{"metric": criterion}]}
    model = {"name": "fraud", "owner": "ml", "task": "classification", "canary": canary, **serving}
    (found,) = canary_section.check(make_platform(models=[model]))
    assert told in "; ".join(map(str, found[1:]))
