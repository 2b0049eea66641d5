"""The shipped alerting rules: the YAML files of this folder, filled in for a platform and its models.

What the platform file says of an alert by its name (`alerts` of a model) is said last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from alerts import alerting_rule, tuning
from alerts.alerting_rule import AlertingRule
from midwatch import grafana, jobs, metrics, promql, scrape_size, serving, yamlfile
from midwatch.spec import evaluation
from midwatch.spec.model import Model, Platform
from midwatch.spec.rules import Proof, ShippedFile, ShippedProof, ShippedRule
from midwatch.spec.values import format_duration, parse_duration

NO_DATA_FOR = 300.0
"""Seconds without a prediction before that is an alert of its own: a quiet model has gaps."""


@cache
def written() -> tuple[ShippedRule, ...]:
    """Every shipped rule as its file has it, in the order of the files' names."""
    folder = files("alerts.rules.shipped")
    paths = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    documents = [yamlfile.load(file.read_text(encoding="utf-8")) for file in paths]
    return tuple(rule for document in documents for rule in ShippedFile.model_validate(document).alerts)


def of_models() -> list[str]:
    """Names of the alerts on models."""
    return sorted({rule.alert for rule in written() if rule.per == "model"})


def of_platform(platform: Platform) -> list[AlertingRule]:
    """Alerts on the plane and its servers."""
    scrape_wait = 4 * platform.prometheus.scrape_interval  # one scrape that fails is noise
    patience = max(NO_DATA_FOR, 2 * scrape_wait)  # a server that starts, or is replaced, is not down
    unseen = max(NO_DATA_FOR, 5 * platform.evaluator.every)
    durable, timeout = max(60.0, 4 * scrape_wait), scrape_size.timeout(platform)
    texts = {
        "exporter_job": jobs.EXPORTER,
        "exporters": EACH.join(jobs.service_targets(platform, jobs.EXPORTER)),
        "exporters_missing": str(
            promql.missing_targets(jobs.EXPORTER, len(jobs.service_targets(platform, jobs.EXPORTER)))
        ),
        "gate_job": jobs.GATE,
        "gates": EACH.join(jobs.service_targets(platform, jobs.GATE)),
        "gates_missing": str(promql.missing_targets(jobs.GATE, len(jobs.service_targets(platform, jobs.GATE)))),
        "incidents_job": jobs.INCIDENTS,
        "watchers": EACH.join(jobs.service_targets(platform, jobs.INCIDENTS)),
        "watchers_missing": str(
            promql.missing_targets(jobs.INCIDENTS, len(jobs.service_targets(platform, jobs.INCIDENTS)))
        ),
        "evaluator_job": jobs.EVALUATOR,
        "evaluators": EACH.join(jobs.service_targets(platform, jobs.EVALUATOR)),
        "evaluators_missing": str(
            promql.missing_targets(jobs.EVALUATOR, len(jobs.service_targets(platform, jobs.EVALUATOR)))
        ),
        "evaluations_missing": _evaluations_missing(platform),
        "evaluation_limit": promql_seconds(unseen),
        "evaluation_proof": format_duration(unseen + 2 * patience),
        "evaluation_steps": f"{int((unseen + 2 * patience) // 15) + 10}",
        "stream_job": jobs.STREAM,
        "streams": EACH.join(jobs.service_targets(platform, jobs.STREAM)),
        "streams_missing": str(promql.missing_targets(jobs.STREAM, len(jobs.service_targets(platform, jobs.STREAM)))),
        "stream_proof": format_duration(STREAM_BEHIND + 2 * patience),
        "stream_steps": f"{int((STREAM_BEHIND + 2 * patience) // 15) + 10}",
        "stream_limit": promql_seconds(STREAM_BEHIND),
        "judges_missing": _judges_missing(platform),
        "scrape_wait": format_duration(scrape_wait),
        "scrape_wait_proof": format_duration(scrape_wait + 60),
        "scrape_wait_steps": f"{int(scrape_wait // 15) + 10}",
        "patience": format_duration(patience),
        "patience_proof": format_duration(patience + 60),
        "patience_steps": f"{int(patience // 15) + 10}",
        "blind_proof": format_duration(patience + 360),
        "blind_steps": f"{int(patience // 15) + 40}",
        "durable_window": format_duration(durable),
        "scrape_timeout": format_duration(timeout),
        "scrape_timeout_seconds": promql_seconds(timeout),
        "scrape_limit": promql_seconds(scrape_size.NEAR * timeout),
        "scrape_proof": format_duration(durable + 420),
        "scrape_steps": f"{int(durable // 15) + 40}",
        "waiting_limit": f"{platform.exporter.max_waiting * 9 // 10}",
    }
    rules = [
        rule for rule in written() if rule.per == "platform" and all(PLATFORM_HAS[what](platform) for what in rule.when)
    ]
    return [_filled(platform, rule, texts, owner=platform.operator, page=grafana.Page.PLANE) for rule in rules]


def _judges_missing(platform: Platform) -> str:
    """PromQL of exporters that are scraped and do not speak of a drift judge; empty without drift to judge."""
    if not any(model.drift for model in platform.models):
        return ""
    up, judge = promql.scraped(job=jobs.EXPORTER), promql.select(metrics.DRIFT_WORKER_UP)
    if jobs.has_judge_alone(platform):
        return f" or absent({judge})"
    return f" or {up} == 1 unless on (job, instance) {judge}"


def _evaluations_missing(platform: Platform) -> str:
    """PromQL of evaluators that are scraped and do not speak of a kind that this platform promises something of."""
    up = promql.scraped(job=jobs.EVALUATOR)
    found = ""
    for kind in evaluation.promised(platform):
        told = promql.select(metrics.EVALUATOR_LAST_SUCCESS, kind=kind)
        found += f" or {up} == 1 unless on (job, instance) {told}"
    return found


def of_model(platform: Platform, model: Model) -> list[AlertingRule]:
    """Alerts on a model."""
    texts = dict(_model_texts(platform, model))
    return [
        tuning.tuned(
            model,
            _filled(
                platform,
                rule,
                texts,
                owner=model.owner,
                runbook=model.runbook,
                page=grafana.Page.DRIFT if "drift" in rule.when else grafana.Page.MODEL,
                model=model.name,
            ),
        )
        for rule in written()
        if rule.per == "model" and all(HAS[what](model) for what in rule.when) and not tuning.is_off(model, rule.alert)
    ]


SAMPLES_OF_PROOF = 4000
"""Samples in one range of a proof; promtool loads no more than 10,000."""

PLATFORM_HAS: dict[str, Callable[[Platform], bool]] = {
    "serving": lambda platform: not platform.is_view,
    "canaries": lambda platform: not platform.is_view and any(model.canary for model in platform.models),
    "incidents_watched": lambda platform: platform.incidents.watch,
    "exporters": lambda platform: platform.has_exporters,
    "streamed": lambda platform: platform.stream is not None,
    "evaluated": lambda platform: bool(evaluation.promised(platform)),
    "kafka": lambda platform: platform.exporter.kafka is not None,
}
"""What the `when` of a rule that is per platform asks of it."""

HAS: dict[str, Callable[[Model], bool]] = {
    "midwatch": lambda model: model.serving == "midwatch",
    "servers": lambda model: model.serving != "midwatch",
    "servers_or_schedule": lambda model: model.serving != "midwatch" or model.schedule is not None,
    "continuous": lambda model: model.schedule is None,
    "job_known": lambda model: model.job is not None,
    "job_unknown": lambda model: model.job is None and model.serving != "midwatch",
    "failures_counted": lambda model: bool(serving.profile_of(model).failures),
    "no_availability": lambda model: all(slo.kind != "availability" for slo in model.slos),
    "time_counted": lambda model: serving.profile_of(model).time_spent is not None,
    "no_latency": lambda model: all(slo.kind != "latency" for slo in model.slos),
    "drift": lambda model: model.drift is not None,
    "retrain": lambda model: model.drift is not None and model.drift.retrain is not None,
    "scores": lambda model: model.positive is not None,
}
"""What a rule's `when` asks of a model. An objective pages by its budget; alerts without a promise are for others."""


def _model_texts(platform: Platform, model: Model) -> Iterator[tuple[str, str]]:
    intervals = platform.prometheus
    silence = max(NO_DATA_FOR, 8 * intervals.scrape_interval)
    patience = max(NO_DATA_FOR, 8 * intervals.scrape_interval)
    scheduled = model.longest_silence
    seen = max(60.0, 4 * intervals.evaluation_interval)
    yield "model", model.name
    yield "silence", format_duration(scheduled or silence)
    yield "silence_wait", format_duration(silence)
    yield "silence_proof", format_duration(2 * silence + 60)
    yield "silence_steps", f"{int((2 * silence + 60) // 15 + 10)}"
    yield "unseen", format_duration(scheduled or seen)
    yield "unseen_proof", format_duration((scheduled or seen) + silence + 60)
    interval = 15 * math.ceil((scheduled or seen) / 15 / SAMPLES_OF_PROOF)
    yield "unseen_interval", format_duration(interval)
    yield "unseen_steps", f"{int(((scheduled or seen) + silence + 60) // interval + 10)}"
    yield "server_job", model.job or ""
    targets = model.servers.targets if model.servers else []
    yield "servers", EACH.join(targets or ["a:1"])
    yield "servers_missing", str(promql.missing_targets(model.job or "", len(targets)))
    yield "requests", serving.profile_of(model).requests[0]
    yield "server_patience", format_duration(patience)
    yield "server_proof", format_duration(patience + 60)
    yield "server_steps", f"{int(patience // 15) + 10}"
    if model.drift:
        window = model.drift.window
        unjudged = max(1800.0, 6 * window)
        yield "drift_window", format_duration(window)
        yield "drift_age", promql_seconds(3 * window)
        yield "drift_hold", format_duration(2 * window)
        yield "drift_unjudged", promql_seconds(unjudged)
        yield "drift_unjudged_window", format_duration(unjudged)
        yield "drift_unjudged_proof", format_duration(unjudged + 900)
        yield "drift_unjudged_steps", f"{int((unjudged + 900) // 15 + 10)}"
        yield "drift_samples", str(2 * model.drift.min_samples)
        yield "drift_severity", model.drift.severity.value
        yield "methods", str(len(model.drift.methods))
        yield "false_alarms", model.drift.false_alarms


def promql_seconds(seconds: float) -> str:
    """Seconds as PromQL writes a number."""
    return f"{seconds:.12g}"


def _filled(
    platform: Platform,
    written_rule: ShippedRule,
    texts: Mapping[str, str],
    *,
    owner: str,
    page: grafana.Page,
    runbook: str | None = None,
    **variables: str,
) -> AlertingRule:
    severity = filled(written_rule.severity, texts)
    labels = {label: filled(value, texts) for label, value in written_rule.labels.items()}
    rule: dict[str, Any] = {
        "alert": written_rule.alert,
        "expr": filled(written_rule.expr, texts),
        "for": filled(written_rule.for_, texts),
    }
    if written_rule.keep_firing_for:
        rule["keep_firing_for"] = filled(written_rule.keep_firing_for, texts)
    rule["labels"] = {"severity": severity, **({"owner": owner} if severity != "none" else {}), **labels}
    rule["annotations"] = alerting_rule.annotations_of(
        platform,
        written_rule.alert,
        summary=filled(written_rule.summary, texts),
        description=filled(written_rule.description, texts),
        owner=owner if severity != "none" else None,
        runbook=runbook,
        page=page,
        **variables,
    )
    return AlertingRule(rule=rule, proof=_proof(written_rule.proof, texts) if written_rule.proof else None)


def _proof(proof: ShippedProof, texts: Mapping[str, str]) -> Proof:
    fires, silent = (
        {one: filled(values, texts) for series, values in group.items() for one in _of_each(filled(series, texts))}
        for group in (proof.fires, proof.silent)
    )
    within, interval = (parse_duration(filled(text, texts)) for text in (proof.within, proof.interval))
    return Proof(fires=fires, silent=silent, within=within, interval=interval)


STREAM_BEHIND = 600.0
"""Seconds that the stream may be behind: a driver that is replaced is back before, and labels come later anyway."""

EACH = " "
"""Between the names that a text stands for when a proof has a series for each of them."""


def _of_each(series: str) -> list[str]:
    """A series for each of the instances that its own label names."""
    begin, _, rest = series.partition('instance="')
    instances, quote, end = rest.partition('"')
    return [f'{begin}instance="{one}{quote}{end}' for one in instances.split(EACH)] if quote else [series]


def filled(text: str, texts: Mapping[str, str]) -> str:
    """Text with every `<name>` replaced."""
    for name, value in texts.items():
        text = text.replace(f"<{name}>", value)
    return text
