"""What model servers publish of themselves: from our meaning (requests, failures, duration) to their metrics.

No two servers agree, so a profile is a table; `server_metrics` says what each metric is, and from where we know it.
"""

from __future__ import annotations

from dataclasses import dataclass

from midwatch import metrics, promql
from midwatch.metrics import Metric
from midwatch.promql import Expr, Matcher
from midwatch.server_metrics import (
    KNATIVE_REQUESTS,
    KSERVE_PREDICT,
    SELDON_DURATION,
    SELDON_REQUESTS,
    TRITON_FAILURE,
    TRITON_SUCCESS,
    VLLM_DURATION,
    VLLM_REQUESTS,
)
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


def _select(metric: Metric, **labels: str | Matcher) -> str:
    return str(promql.select(metric, "", **labels))


def _histogram(metric: Metric, model_label: str) -> str:
    """Selector of a histogram without the suffix of a part."""
    return f"{metric.name}{{{promql.matcher(model_label, '{model}')}}}"


PROFILES = {
    "midwatch": Profile(
        requests=(_select(metrics.REQUESTS, model="{model}"),),
        failures=(_select(metrics.REQUESTS, model="{model}", outcome=promql.not_equal("ok")),),
        duration=_histogram(metrics.REQUEST_DURATION, "model"),
    ),
    # Knative's queue-proxy sees every request; the Python server's histogram has only those that were predicted.
    "kserve": Profile(
        requests=(_select(KNATIVE_REQUESTS, configuration_name="{model}-predictor"),),
        failures=(_select(KNATIVE_REQUESTS, configuration_name="{model}-predictor", response_code_class="5xx"),),
        duration=_histogram(KSERVE_PREDICT, "model_name"),
    ),
    # A failed request is counted in failure only; failure has a label `reason` since 24.06.
    "triton": Profile(
        requests=(_select(TRITON_SUCCESS, model="{model}"), _select(TRITON_FAILURE, model="{model}")),
        failures=(_select(TRITON_FAILURE, model="{model}"),),
    ),
    # Its name notwithstanding, request_success counts every request that finished, also those that were aborted.
    "vllm": Profile(
        requests=(_select(VLLM_REQUESTS, model_name="{model}"),),
        failures=(_select(VLLM_REQUESTS, model_name="{model}", finished_reason=promql.matches("abort|error")),),
        duration=_histogram(VLLM_DURATION, "model_name"),
    ),
    "seldon": Profile(
        requests=(_select(SELDON_REQUESTS, model="{model}"),),
        failures=(_select(SELDON_REQUESTS, model="{model}", code=promql.Matcher("!~", "OK|200")),),
        duration=_histogram(SELDON_DURATION, "model"),
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
    profile = PROFILES[model.serving]
    return Profile(
        requests=tuple(text.replace("{model}", name) for text in profile.requests),
        failures=tuple(text.replace("{model}", name) for text in profile.failures),
        duration=profile.duration.replace("{model}", name) if profile.duration else None,
        unit=profile.unit,
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
