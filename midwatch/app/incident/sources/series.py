"""Changes that series in Prometheus show, by a table: whose series, what of it is a change, and what to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import resources

from midwatch import metrics, promql, upstream
from midwatch.app.incident import watched
from midwatch.app.incident.asked import KEPT_LABELS, Asked, Found, Question
from midwatch.app.incident.watched import Look, Turn, Turns
from midwatch.metrics import Metric
from midwatch.spec.systems import job_name
from midwatch.spec.values import format_duration
from monitors.incident.records import Change, Kind, Unanswered

MOST_SERIES = 2000
"""Series of an answer that are looked at; that there are more is said."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """One row: the expression, where `{job}` is the scrape job of a system and `{step}` the time between two looks.

    `system` is whose it is, empty for what Midwatch and Prometheus publish themselves. `what` and `undo` are filled in
    with labels, `{before}` and `{after}`. `places` maps labels of the series to those of a scope, beside the usual.
    """

    kind: Kind
    expr: str
    turns: Turns
    what: str
    system: str = ""
    undo: str = ""
    places: Mapping[str, str] = field(default_factory=dict)


def _of(metric: Metric, *by: str) -> str:
    """A metric of ours, the largest value for each set of labels: replicas publish the same."""
    return str(promql.max_by(promql.select(metric), *by))


WATCHERS = "midwatch-.*|prometheus|alertmanager"
"""Jobs of those who watch: that they are away hurts no model."""

_DEPLOYMENT = {"namespace": "namespace", "deployment": "deployment"}

WATCHED = (
    Watch(
        kind=Kind.DRIFT,
        expr=_of(metrics.DRIFT_EPISODE_ONSET, "model", "version"),
        turns=watched.stamped,
        what="inputs of {model} {version} drifted",
        undo="midwatch drift compare --reference REF --current TABLE  # which features",
    ),
    Watch(
        kind=Kind.RETRAINING,
        expr=f'sum by (model) (increase({metrics.RETRAIN_TRIGGERS.name}{{result="sent"}}[{{step}}])) > 0',
        turns=watched.risen,
        what="a retraining of {model} was asked for",
    ),
    Watch(
        kind=Kind.EXPERIMENT,
        expr=_of(metrics.CHAOS_RUNNING, "experiment"),
        turns=watched.risen,
        what="chaos experiment {experiment}",
        undo="midwatch chaos stop",
        places={"experiment": "experiment"},
    ),
    Watch(
        kind=Kind.DRILL,
        expr=_of(metrics.DR_DRILL_LAST_RUN, "drill", "store"),
        turns=watched.stamped,
        what="recovery drill {drill} of {store}",
        undo="midwatch dr status",
        places={"store": "store"},
    ),
    Watch(
        kind=Kind.RULES,
        expr="prometheus_config_last_reload_success_timestamp_seconds",
        turns=watched.stamped,
        what="Prometheus read its rules and configuration again",
        undo="midwatch render --diff",
    ),
    Watch(
        kind=Kind.RULES,
        expr="alertmanager_config_last_reload_success_timestamp_seconds",
        turns=watched.stamped,
        what="Alertmanager read its configuration again",
        undo="midwatch render --diff",
    ),
    Watch(
        kind=Kind.CONFIGURATION,
        expr=str(promql.max_by(promql.select(metrics.PLATFORM_FILE, model=promql.not_equal("")), "model", "digest")),
        turns=watched.appeared,
        what="the exporters read something else of {model} in the platform file ({digest})",
        undo="midwatch render --diff",
    ),
    Watch(
        kind=Kind.CONFIGURATION,
        expr=str(promql.max_by(promql.select(metrics.PLATFORM_FILE, model=""), "digest")),
        turns=watched.appeared,
        what="the exporters read something else in the platform file, not of a model ({digest})",
        undo="midwatch render --diff",
    ),
    Watch(
        kind=Kind.DEPLOYMENT,
        expr=(
            f"max by (model, version, instance) ({upstream.PROCESS_STARTED.name} * on (job, instance) "
            f"group_left (model, version) {metrics.BUILD_INFO.name})"
        ),
        turns=watched.stamped,
        what="the server {instance} of {model} {version} started",
    ),
    Watch(
        kind=Kind.DEPLOYMENT,
        expr=str(
            promql.sum_by(
                promql.select(metrics.BUILD_INFO, revision=promql.not_equal("")), "model", "version", "revision"
            )
        ),
        turns=watched.appeared,
        what="servers of {model} {version} run revision {revision}",
    ),
    Watch(
        kind=Kind.UPSTREAM,
        expr=(
            f'max by (alertname, severity, service, slo) ({upstream.ALERTS.name}{{alertstate="firing", model="", '
            'severity="page", alertname!~"{ours}"})'
        ),
        turns=watched.risen,
        what="{alertname} fires",
        undo="midwatch who {alertname}",
    ),
    Watch(
        kind=Kind.UPSTREAM,
        expr=(
            f'max by (job, instance, region, zone, cluster) ((1 - up{{job!~"{WATCHERS}"}} '
            "and max_over_time(up[1h]) > 0) "
            f"unless on (job, instance) last_over_time({metrics.BUILD_INFO.name}[6h] @ end()))"
        ),
        turns=watched.risen,
        what="{job} at {instance} does not answer",
        places={"job": "job", "instance": "instance"},
    ),
    Watch(
        kind=Kind.NODE,
        expr=(
            "max by (model, version, instance) ((1 - up and max_over_time(up[1h]) > 0) * on (job, instance) "
            f"group_left (model, version) last_over_time({metrics.BUILD_INFO.name}[6h] @ end()))"
        ),
        turns=watched.risen,
        what="the server {instance} of {model} {version} does not answer",
    ),
    Watch(
        kind=Kind.PROMOTION,
        system="mlflow",
        expr=_of(metrics.REGISTRY_CHAMPION, "model", "version", "served_version"),
        turns=watched.appeared,
        what="version {version} of {model} became champion",
        undo="midwatch systems history --model {model}  # which version was champion before",
    ),
    Watch(
        kind=Kind.DEPLOYMENT,
        system="argo_cd",
        expr=_of(metrics.ARGO_REVISION, "application", "namespace", "deployed"),
        turns=watched.appeared,
        what="Argo CD deployed {deployed} of {application}",
        undo="argocd app rollback {application}",
        places={"application": "application"},
    ),
    Watch(
        kind=Kind.DEPLOYMENT,
        system="argo_cd",
        expr='sum by (namespace, name) (increase(argocd_app_sync_total{job="{job}", phase="Succeeded"}[{step}])) > 0',
        turns=watched.risen,
        what="Argo CD synchronised {name}",
        undo="argocd app rollback {name}",
        places={"name": "application"},
    ),
    Watch(
        kind=Kind.CANARY,
        system="argo_rollouts",
        expr='max by (namespace, name) (rollout_info{job="{job}", phase=~"Progressing|Paused"})',
        turns=watched.risen,
        what="rollout {name} began",
        undo="kubectl argo rollouts abort {name} -n {namespace}",
        places={"namespace": "namespace", "name": "rollout"},
    ),
    Watch(
        kind=Kind.ROLLBACK,
        system="argo_rollouts",
        expr='max by (namespace, name) (rollout_info{job="{job}", phase="Abort"})',
        turns=watched.risen,
        what="rollout {name} was aborted",
        undo="kubectl argo rollouts get rollout {name} -n {namespace}",
        places={"namespace": "namespace", "name": "rollout"},
    ),
    Watch(
        kind=Kind.SCALING,
        system="kubernetes",
        expr='max by (namespace, deployment) (kube_deployment_spec_replicas{job="{job}"})',
        turns=watched.altered,
        what="{deployment} was scaled from {before} to {after} replicas",
        undo="kubectl -n {namespace} scale deployment {deployment} --replicas={before}",
        places=_DEPLOYMENT,
    ),
    Watch(
        kind=Kind.SCALING,
        system="keda",
        expr='max by (namespace, scaledObject) (keda_scaled_object_paused{job="{job}"})',
        turns=watched.altered,
        what="scaling of {scaledObject} was paused or resumed ({before} to {after})",
        places={"namespace": "namespace", "scaledObject": "scaled_object"},
    ),
    Watch(
        kind=Kind.NODE,
        system="kubernetes",
        expr=(
            'max by (node, region, zone, cluster) (kube_node_status_condition{job="{job}", condition="Ready", '
            'status=~"false|unknown"})'
        ),
        turns=watched.risen,
        what="node {node} is not ready",
        undo="kubectl describe node {node}",
        places={"node": "node"},
    ),
    Watch(
        kind=Kind.NODE,
        system="kubernetes",
        expr='max by (node, region, zone, cluster) (kube_node_spec_unschedulable{job="{job}"})',
        turns=watched.risen,
        what="node {node} was cordoned",
        undo="kubectl uncordon {node}",
        places={"node": "node"},
    ),
    Watch(
        kind=Kind.NODE,
        system="kubernetes",
        expr=('sum by (namespace, pod) (increase(kube_pod_container_status_restarts_total{job="{job}"}[{step}])) > 0'),
        turns=watched.risen,
        what="containers of {pod} restarted",
        undo="kubectl -n {namespace} logs {pod} --previous",
        places={"namespace": "namespace", "pod": "pod"},
    ),
    Watch(
        kind=Kind.NODE,
        system="karpenter",
        expr=(
            'sum by (message_type) (increase(karpenter_interruption_received_messages_total{job="{job}"}[{step}])) > 0'
        ),
        turns=watched.risen,
        what="the cloud announced {message_type} of nodes",
        places={"message_type": "message_type"},
    ),
    Watch(
        kind=Kind.NODE,
        system="karpenter",
        expr='sum by (nodepool, reason) (increase(karpenter_nodeclaims_disrupted_total{job="{job}"}[{step}])) > 0',
        turns=watched.risen,
        what="Karpenter replaced nodes of {nodepool}: {reason}",
        places={"nodepool": "nodepool"},
    ),
    Watch(
        kind=Kind.CERTIFICATE,
        system="cert_manager",
        expr='max by (namespace, name) (certmanager_certificate_expiration_timestamp_seconds{job="{job}"})',
        turns=watched.passed,
        what="certificate {name} ended",
        undo="cmctl renew {name} -n {namespace}",
        places={"namespace": "namespace", "name": "certificate"},
    ),
    Watch(
        kind=Kind.CERTIFICATE,
        system="cert_manager",
        expr='max by (namespace, name) (certmanager_certificate_not_before_timestamp_seconds{job="{job}"})',
        turns=watched.stamped,
        what="certificate {name} was replaced",
        undo="cmctl status certificate {name} -n {namespace}",
        places={"namespace": "namespace", "name": "certificate"},
    ),
    Watch(
        kind=Kind.FEATURES,
        system="feast",
        expr=_of(metrics.FEATURE_VIEW_EVENT_DUE, "feature_view"),
        turns=watched.passed,
        what="feature view {feature_view} has no newer event",
        places={"feature_view": "feature_view"},
    ),
    Watch(
        kind=Kind.FEATURES,
        system="feast",
        expr=_of(metrics.FEATURE_VIEW_MATERIALIZATION_DUE, "feature_view"),
        turns=watched.passed,
        what="feature view {feature_view} was not materialized",
        undo='feast materialize-incremental "$(date -u +%FT%TZ)" -v {feature_view}',
        places={"feature_view": "feature_view"},
    ),
    Watch(
        kind=Kind.MISSED_JOB,
        system="kubernetes",
        expr=_of(metrics.CRON_JOB_SUCCESS_DUE, "namespace", "cronjob"),
        turns=watched.passed,
        what="CronJob {cronjob} did not succeed when it was due",
        undo="kubectl -n {namespace} create job --from=cronjob/{cronjob} {cronjob}-now",
        places={"namespace": "namespace", "cronjob": "cronjob"},
    ),
    Watch(
        kind=Kind.MISSED_JOB,
        system="tekton",
        expr=_of(metrics.PIPELINE_SUCCESS_DUE, "namespace", "pipeline"),
        turns=watched.passed,
        what="pipeline {pipeline} did not succeed when it was due",
        undo="tkn pipeline start {pipeline} -n {namespace} --use-param-defaults",
        places={"namespace": "namespace", "pipeline": "pipeline"},
    ),
    Watch(
        kind=Kind.RETRAINING,
        system="tekton",
        expr=str(promql.sum_by(promql.select(metrics.PIPELINE_RUNS), "namespace", "pipeline")),
        turns=watched.risen,
        what="pipeline {pipeline} ran",
        undo="tkn pipelinerun list -n {namespace}",
        places={"namespace": "namespace", "pipeline": "pipeline"},
    ),
)


@cache
def _ours() -> tuple[str, ...]:
    """Names of the alerts on models and on the watch itself, which follow from harm or say nothing of it."""
    pages = (resources.files("alerts") / "runbooks").iterdir()
    return tuple(sorted(page.name.removesuffix(".md") for page in pages if page.name.endswith(".md")))


def questions(asked: Asked) -> Iterator[Question]:
    """A question for each row whose system the platform has."""
    for row in WATCHED:
        if not row.system or row.system in asked.platform.systems:
            yield Question(source=f"Prometheus: {row.what}", ask=partial(_changes, row, asked))


def _changes(row: Watch, asked: Asked) -> Found:
    look = Look(first=asked.first, last=asked.end, step=asked.step)
    step = format_duration(max(asked.step, 1.0))
    expr = row.expr.replace("{job}", job_name(row.system)).replace("{step}", step).replace("{ours}", "|".join(_ours()))
    lines = asked.client.query_range(expr, start=look.first, end=look.last, step=look.step)
    if len(lines) > MOST_SERIES:
        yield Unanswered(source=row.what, reason=f"{len(lines)} series; only {MOST_SERIES} were looked at")
    for line in lines[:MOST_SERIES]:
        for number, turn in enumerate(row.turns(line, look)):
            if number == watched.MOST_CHANGES:
                break
            yield _change(row, line.labels, turn)


def _change(row: Watch, labels: Mapping[str, str], turn: Turn) -> Change:
    values = {
        name: f"{value:g}" for name, value in (("before", turn.before), ("after", turn.after)) if value is not None
    }
    words = _Blank({**labels, **values})
    kept = {name: name for name in KEPT_LABELS} | dict(row.places)
    return Change(
        kind=row.kind,
        at=turn.at,
        latest=turn.latest,
        ended=turn.ended,
        what=" ".join(row.what.format_map(words).split()),
        source="Prometheus",
        scope=watched.scope_of(labels, kept),
        undo=row.undo.format_map(_Blank({name: shlex.quote(value) for name, value in words.items()})),
    )


class _Blank(dict[str, str]):
    """Labels, of which any that a series does not have is empty."""

    def __missing__(self, key: str) -> str:
        return ""
