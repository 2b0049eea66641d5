"""What model servers publish of themselves: from our meaning (requests, failures, duration, tokens) to their metrics.

No two servers agree, so a profile is a table; `server_metrics` says what each metric is, and from where we know it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from midwatch import metrics, promql, server_metrics
from midwatch.metrics import Metric
from midwatch.promql import Expr, Matcher
from midwatch.spec.model import Model

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What a server of a language model publishes beside requests; empty where it publishes no such thing.

    Histograms are without `_bucket`, in seconds. Of several selectors of one thing the first that has series counts:
    the others are names of other versions. `cache` is a share from 0 to 1; `cache_hits` of `cache_queries` were found.
    """

    first_token: tuple[str, ...] = ()
    per_token: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    cache: tuple[str, ...] = ()
    cache_queries: tuple[str, ...] = ()
    cache_hits: tuple[str, ...] = ()
    input_tokens: tuple[str, ...] = ()
    output_tokens: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Profile:
    """PromQL selectors of counters, summed; `{model}` is the model's name at its server.

    `duration` is a histogram's selector without `_bucket`, whose bounds are in `unit` seconds. Empty failures mean
    that the server does not count them. `requests_otherwise` is the counter where `requests` have no series, which
    is no measure of failures. `time_spent` and `answered` are counters of the time of all requests, in units, and of
    how many they were: the histogram's, where there is one. `version_label` is the server's label of the version.
    """

    requests: tuple[str, ...]
    failures: tuple[str, ...] = ()
    requests_otherwise: str | None = None
    duration: str | None = None
    time_spent: str | None = None
    answered: str | None = None
    unit: float = 1.0
    version_label: str | None = None
    generation: Generation | None = None


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
        version_label="version",
    ),
    # Knative's queue-proxy sees every request; the Python server's histogram has only those that were predicted, and
    # is all there is without Knative.
    "kserve": Profile(
        requests=(_select(server_metrics.KNATIVE_REQUESTS, configuration_name="{model}-predictor"),),
        failures=(
            _select(server_metrics.KNATIVE_REQUESTS, configuration_name="{model}-predictor", response_code_class="5xx"),
        ),
        requests_otherwise=str(promql.select(server_metrics.KSERVE_PREDICT, "_count", model_name="{model}")),
        duration=_histogram(server_metrics.KSERVE_PREDICT, "model_name"),
        version_label="revision_name",
    ),
    # A failed request is counted in failure only; failure has a label `reason` since 24.06.
    "triton": Profile(
        requests=(
            _select(server_metrics.TRITON_SUCCESS, model="{model}"),
            _select(server_metrics.TRITON_FAILURE, model="{model}"),
        ),
        failures=(_select(server_metrics.TRITON_FAILURE, model="{model}"),),
        time_spent=_select(server_metrics.TRITON_DURATION, model="{model}"),
        answered=_select(server_metrics.TRITON_SUCCESS, model="{model}"),
        unit=_SECONDS["us"],
        version_label="version",
    ),
    # Its name notwithstanding, request_success counts every request that finished, also those that were aborted.
    "vllm": Profile(
        requests=(_select(server_metrics.VLLM_REQUESTS, model_name="{model}"),),
        failures=(
            _select(server_metrics.VLLM_REQUESTS, model_name="{model}", finished_reason=promql.matches("abort|error")),
        ),
        duration=_histogram(server_metrics.VLLM_DURATION, "model_name"),
        generation=Generation(
            first_token=(_histogram(server_metrics.VLLM_FIRST_TOKEN, "model_name"),),
            per_token=(
                _histogram(server_metrics.VLLM_INTER_TOKEN, "model_name"),
                _histogram(server_metrics.VLLM_PER_TOKEN, "model_name"),
            ),
            waiting=(_select(server_metrics.VLLM_WAITING, model_name="{model}"),),
            running=(_select(server_metrics.VLLM_RUNNING, model_name="{model}"),),
            cache=(
                _select(server_metrics.VLLM_CACHE, model_name="{model}"),
                _select(server_metrics.VLLM_GPU_CACHE, model_name="{model}"),
            ),
            cache_queries=(_select(server_metrics.VLLM_CACHE_QUERIES, model_name="{model}"),),
            cache_hits=(_select(server_metrics.VLLM_CACHE_HITS, model_name="{model}"),),
            input_tokens=(_select(server_metrics.VLLM_INPUT_TOKENS, model_name="{model}"),),
            output_tokens=(_select(server_metrics.VLLM_OUTPUT_TOKENS, model_name="{model}"),),
        ),
    ),
    "seldon": Profile(
        requests=(_select(server_metrics.SELDON_REQUESTS, model="{model}"),),
        failures=(_select(server_metrics.SELDON_REQUESTS, model="{model}", code=promql.Matcher("!~", "OK|200")),),
        duration=_histogram(server_metrics.SELDON_DURATION, "model"),
    ),
}


def profile_of(model: Model) -> Profile:
    """A model's profile, its name filled in."""
    if model.serving_metrics is not None:
        return _timed(_custom(model))
    name = (model.served_as or model.name).replace("\\", "\\\\").replace('"', '\\"')
    return _timed(_filled(PROFILES[model.serving], name))


def _custom(model: Model) -> Profile:
    own = model.serving_metrics
    if own is None:
        raise AssertionError("the spec lets no custom server pass without its metrics")
    written = {field.name: getattr(own, field.name) for field in fields(Generation)}
    generation = Generation(**{name: (text,) for name, text in written.items() if text})
    return Profile(
        requests=(own.requests,),
        failures=(own.failures,) if own.failures else (),
        duration=own.duration,
        unit=_SECONDS[own.duration_unit],
        version_label=own.version_label,
        generation=generation if generation != Generation() else None,
    )


def _timed(profile: Profile) -> Profile:
    """A profile whose time spent is its histogram's, where it has one."""
    if profile.duration is None:
        return profile
    spent, answered = (str(selector(profile.duration, suffix)) for suffix in ("_sum", "_count"))
    return replace(profile, time_spent=spent, answered=answered)


def _filled(profile: Any, name: str) -> Any:
    """A profile or a part of it with the model's name in every selector."""
    if isinstance(profile, str):
        return profile.replace("{model}", name)
    if isinstance(profile, tuple):
        return tuple(_filled(part, name) for part in profile)
    if isinstance(profile, Profile | Generation):
        return replace(
            profile, **{field.name: _filled(getattr(profile, field.name), name) for field in fields(profile)}
        )
    return profile


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
