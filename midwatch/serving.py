"""What model servers publish of themselves: from our meaning (requests, failures, duration) to their metrics.

No two servers agree, so a profile is a table. Sources: Triton's metrics guide; vLLM's design document on metrics;
Seldon Core 2's operational metrics; Knative's service metrics (KServe's serverless mode) and KServe's Python server.
"""

from __future__ import annotations

from dataclasses import dataclass

from midwatch import metrics, promql
from midwatch.promql import Expr
from midwatch.spec.model import Model

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """PromQL selectors of counters, summed; `{model}` is the model's name at its server.

    `duration` is a histogram's selector without `_bucket`, whose bounds are in `unit` seconds. Empty failures mean
    that the server does not count them.
    """

    requests: tuple[str, ...]
    failures: tuple[str, ...] = ()
    duration: str | None = None
    unit: float = 1.0


PROFILES = {
    "midwatch": Profile(
        requests=(str(promql.select(metrics.REQUESTS, model="{model}")),),
        failures=(str(promql.select(metrics.REQUESTS, model="{model}", outcome=promql.not_equal("ok"))),),
        duration=metrics.REQUEST_DURATION.name + '{model="{model}"}',
    ),
    # Knative's queue-proxy sees every request; the Python server's histogram has only those that were predicted.
    "kserve": Profile(
        requests=('revision_app_request_count{configuration_name="{model}-predictor"}',),
        failures=('revision_app_request_count{configuration_name="{model}-predictor", response_code_class="5xx"}',),
        duration='request_predict_seconds{model_name="{model}"}',
    ),
    # A failed request is counted in failure only; failure has a label `reason` since 24.06.
    "triton": Profile(
        requests=('nv_inference_request_success{model="{model}"}', 'nv_inference_request_failure{model="{model}"}'),
        failures=('nv_inference_request_failure{model="{model}"}',),
    ),
    # Its name notwithstanding, request_success counts every request that finished, also those that were aborted.
    "vllm": Profile(
        requests=('vllm:request_success_total{model_name="{model}"}',),
        failures=('vllm:request_success_total{model_name="{model}", finished_reason=~"abort|error"}',),
        duration='vllm:e2e_request_latency_seconds{model_name="{model}"}',
    ),
    "seldon": Profile(
        requests=('seldon_model_infer_total{model="{model}"}',),
        failures=('seldon_model_infer_total{model="{model}", code!~"OK|200"}',),
        duration='seldon_model_infer_api_seconds{model="{model}"}',
    ),
}


def profile_of(model: Model) -> Profile:
    """A model's profile, its name filled in."""
    own = model.serving_metrics
    if own is not None:
        return Profile(
            requests=(own.requests,),
            failures=(own.failures,) if own.failures else (),
            duration=own.duration,
            unit=_SECONDS[own.duration_unit],
        )
    name = (model.served_as or model.name).replace("\\", "\\\\").replace('"', '\\"')
    found = PROFILES[model.serving]
    return Profile(
        requests=tuple(text.replace("{model}", name) for text in found.requests),
        failures=tuple(text.replace("{model}", name) for text in found.failures),
        duration=found.duration.replace("{model}", name) if found.duration else None,
        unit=found.unit,
    )


def selector(text: str, suffix: str = "", **labels: promql.Matcher) -> Expr:
    """Selector with a suffix to its name and more matchers."""
    name, brace, inner = text.partition("{")
    have = inner.rpartition("}")[0].strip() if brace else ""
    more = [promql.matcher(label, value) for label, value in labels.items()]
    matchers = ", ".join([*([have.rstrip(", ")] if have else []), *more])
    return Expr(f"{name.strip()}{suffix}" + (f"{{{matchers}}}" if matchers else ""))


def bucket(profile: Profile, threshold: float) -> Expr:
    """Counter of the requests within the threshold, in seconds.

    A whole bound is written `1` by some servers and `1.0` by others, and Prometheus 2 keeps what they write.
    """
    if profile.duration is None:
        raise promql.ExpressionError("the model server publishes no histogram of its latency")
    bound = threshold / profile.unit
    text = f"{bound:.12g}"
    le = promql.Matcher("=", text) if "." in text else promql.matches(f"{text}([.]0+)?")
    return selector(profile.duration, "_bucket", le=le)
