"""Metrics of model servers that profiles in `serving` read; the servers publish them, not Midwatch.

Sources: Triton's metrics guide; vLLM's design document on metrics and its loggers; Seldon Core 2's operational metrics;
Knative Serving's queue-proxy before 1.19 (KServe's serverless mode); KServe's Python server. Names that vLLM has given
up are here too, since servers of several versions run at once.
"""

from __future__ import annotations

from midwatch.metrics import Kind, Metric, listed

PYTHON_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds; what Prometheus' Python client takes when nothing is said."""
GO_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; what Prometheus' Go client takes when nothing is said."""


CATALOGUE: dict[str, Metric] = {}
"""Every one by the name a query uses."""


def _metric(kind: Kind, name: str, text: str, *labels: str, buckets: tuple[float, ...] = ()) -> Metric:
    return listed(Metric(name=name, kind=kind, help=text, labels=labels, buckets=buckets), CATALOGUE)


KNATIVE_REQUESTS = _metric(
    Kind.COUNTER,
    "revision_app_request_count",
    "Requests that a revision's queue-proxy routed to its container.",
    "namespace_name",
    "service_name",
    "configuration_name",
    "revision_name",
    "pod_name",
    "container_name",
    "response_code",
    "response_code_class",
)
KSERVE_PREDICT = _metric(
    Kind.HISTOGRAM, "request_predict_seconds", "Time of predictions.", "model_name", buckets=PYTHON_BUCKETS
)

TRITON_SUCCESS = _metric(
    Kind.COUNTER, "nv_inference_request_success", "Requests that were answered.", "model", "version", "gpu_uuid"
)
TRITON_FAILURE = _metric(
    Kind.COUNTER,
    "nv_inference_request_failure",
    "Requests that failed; `reason` since 24.06.",
    "model",
    "version",
    "gpu_uuid",
    "reason",
)
TRITON_DURATION = _metric(
    Kind.COUNTER,
    "nv_inference_request_duration_us",
    "Sum of the times to handle a request, in microseconds.",
    "model",
    "version",
    "gpu_uuid",
)

VLLM_REQUESTS = _metric(
    Kind.COUNTER,
    "vllm:request_success_total",
    "Requests that finished, whatever the reason.",
    "model_name",
    "engine",
    "finished_reason",
)
VLLM_DURATION = _metric(
    Kind.HISTOGRAM,
    "vllm:e2e_request_latency_seconds",
    "Time from a request's arrival to its last token.",
    "model_name",
    "engine",
    buckets=(
        *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
        *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),  # newer versions only
    ),
)
VLLM_FIRST_TOKEN = _metric(
    Kind.HISTOGRAM,
    "vllm:time_to_first_token_seconds",
    "Time from a request's arrival to its first token.",
    "model_name",
    "engine",
    buckets=(
        *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
        *(20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),  # newer versions only
    ),
)
_TOKEN_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
    *(5.0, 7.5, 10.0, 20.0, 40.0, 80.0),  # newer versions only
)
VLLM_INTER_TOKEN = _metric(
    Kind.HISTOGRAM,
    "vllm:inter_token_latency_seconds",
    "Time between two tokens of an answer.",
    "model_name",
    "engine",
    buckets=_TOKEN_BUCKETS,
)
VLLM_PER_TOKEN = _metric(
    Kind.HISTOGRAM,
    "vllm:time_per_output_token_seconds",
    "The former name of the time between two tokens.",
    "model_name",
    "engine",
    buckets=_TOKEN_BUCKETS,
)
VLLM_WAITING = _metric(
    Kind.GAUGE, "vllm:num_requests_waiting", "Requests that wait for their turn.", "model_name", "engine"
)
VLLM_RUNNING = _metric(Kind.GAUGE, "vllm:num_requests_running", "Requests that are worked on.", "model_name", "engine")
VLLM_CACHE = _metric(
    Kind.GAUGE, "vllm:kv_cache_usage_perc", "Share of the key-value cache in use, 0 to 1.", "model_name", "engine"
)
VLLM_GPU_CACHE = _metric(
    Kind.GAUGE, "vllm:gpu_cache_usage_perc", "The former name of the share of the cache.", "model_name", "engine"
)
VLLM_CACHE_QUERIES = _metric(
    Kind.COUNTER, "vllm:prefix_cache_queries_total", "Tokens looked up in the prefix cache.", "model_name", "engine"
)
VLLM_CACHE_HITS = _metric(
    Kind.COUNTER, "vllm:prefix_cache_hits_total", "Tokens found in the prefix cache.", "model_name", "engine"
)
VLLM_INPUT_TOKENS = _metric(Kind.COUNTER, "vllm:prompt_tokens_total", "Tokens of prompts.", "model_name", "engine")
VLLM_OUTPUT_TOKENS = _metric(Kind.COUNTER, "vllm:generation_tokens_total", "Tokens of answers.", "model_name", "engine")

SELDON_REQUESTS = _metric(
    Kind.COUNTER,
    "seldon_model_infer_total",
    "Requests to a model.",
    "server",
    "server_replica",
    "pipeline",
    "model",
    "model_internal",
    "method_type",
    "code",
)
SELDON_DURATION = _metric(
    Kind.HISTOGRAM,
    "seldon_model_infer_api_seconds",
    "Time to answer a request to a model.",
    "server",
    "server_replica",
    "model",
    "model_internal",
    "method_type",
    "code",
    buckets=GO_BUCKETS,
)
