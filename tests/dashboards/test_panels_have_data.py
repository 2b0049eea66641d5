"""When everything that the catalogues name is published, no panel, variable or annotation is empty."""

from __future__ import annotations

import itertools

import pytest

from dashboards import render, verify
from dashboards.pages import canary, loop, resilience
from dashboards.verify import Status
from midwatch import catalogue, metrics, upstream
from midwatch.metrics import Kind, Metric
from midwatch.spec import system_rules
from midwatch.spec.model import Platform
from tests.conftest import platform_document
from tests.dashboards.test_documents import PAGES, whole, with_canary, with_servers
from tests.systems_export.conftest import OBSERVED, observing

PROMISED = ["precise", "complete", "both", "quiet", "honest", "labelled", "near", "mean"]

VALUES = {
    "model": ["fraud", "price"],
    "version": ["v1", "v2"],
    "serving": ["vllm"],
    "le": ["0.1", "+Inf"],
    "outcome": ["ok", "error"],
    "predicted": ["yes", "no"],
    "actual": ["yes", "no"],
    "slo": ["availability", "latency", "accuracy", *PROMISED],
    "method": ["ks", "psi"],
    "severity": ["page", "ticket"],
    "alertstate": ["firing"],
    "direction": ["fail", "pass"],
    "kind": ["rto", "rpo"],
    "result": ["accepted", "refused"],
    "baseline": ["v1"],
    "canary": ["v2"],
    "bin": ["0.5", "1"],
    "bound": ["5"],
    "within": ["yes", "no"],
    "time": [f"T{number}" for number in range(9)],
    "state": ["done"],
    "rate": ["selected", "selected within product"],
    "limit": ["difference 5%", "ratio 80%"],
    "question": ["inputs", "use"],
}
"""Values of labels that queries name; any other label has one value, its own name."""

VERDICTS = {
    metrics.CANARY_VERDICT.name: list(canary.VERDICT_CODES),
    metrics.CHAOS_VERDICT.name: list(resilience.HELD),
    metrics.DR_DRILL_VERDICT.name: list(resilience.MET),
    metrics.LOOP_DRILL_VERDICT.name: list(loop.MET_CODES),
}


BOUNDS = (
    metrics.FAIRNESS_DIFFERENCE,
    metrics.FAIRNESS_RATIO,
    metrics.FAIRNESS_GROUP_RATE,
    metrics.ATTRIBUTION_SHARE_CHANGE,
)
OF_METRIC = {
    **{(one.name, "outcome"): ["better"] for one in (metrics.LOOP_EPISODE, metrics.LOOP_EPISODES)},
    **{(one.name, "bound"): ["low", "estimate", "high"] for one in BOUNDS},
    **{(one.name, "side"): ["before", "now"] for one in (metrics.ATTRIBUTION_SHARE, metrics.ATTRIBUTION_MEAN)},
    (metrics.ATTRIBUTION_NDCG.name, "side"): ["now", "usual"],
}
"""Values of a label that means something else elsewhere, by metric."""


def published(metric: Metric) -> list[str]:
    """Every combination of label values, with the samples of a histogram."""
    labels = (*metric.labels, *(("job", "instance") if metric.name.startswith(("up", "scrape")) else ()))
    options = [
        VERDICTS.get(metric.name, ["stable"])
        if name == "verdict"
        else OF_METRIC.get((metric.name, name), VALUES.get(name, [name]))
        for name in labels
    ]
    sets = [dict(zip(labels, values, strict=True)) for values in itertools.product(*options)]
    if metric.kind is not Kind.HISTOGRAM:
        return [_series(metric.name, one) for one in sets]
    bounds = [*(metric.buckets or (1.0,)), float("inf")]
    buckets = [_series(f"{metric.name}_bucket", {**one, "le": f"{bound:g}"}) for one in sets for bound in bounds]
    return [
        *(name.replace('le="inf"', 'le="+Inf"') for name in buckets),
        *(_series(f"{metric.name}_{suffix}", one) for one in sets for suffix in ("count", "sum")),
    ]


def _series(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def value(name: str, metric: Metric):
    """Counters grow; the last verdict of each list is the one now."""
    if metric.kind is Kind.GAUGE:
        verdict = VERDICTS.get(metric.name)
        return lambda _: int(verdict is None or f'verdict="{verdict[-1]}"' in name)
    return lambda point: point


METRICS = {exposed.metric.name: exposed.metric for exposed in catalogue.names().values()}

SERIES = {name: value(name, metric) for metric in METRICS.values() for name in published(metric)}


@pytest.mark.parametrize(
    ("page", "platform"),
    [
        *((page, whole()) for page in PAGES),
        ("fleet", with_servers()),
        ("model", with_servers()),
        ("canary", with_canary()),
    ],
    ids=[*PAGES, "fleet with servers", "model with servers", "canary of what is explained"],
)
def test_no_panel_is_empty_when_everything_is_published(past, page: str, platform) -> None:
    document = next(one for one in render.documents(platform) if one["uid"].endswith(page))
    found = verify.Verifier(past.client, verify.TimeRange(end=past.end, since=600, scrape=15)).verify(document)
    wrong = [one for one in found if one.status not in (Status.OK, Status.SKIPPED)]
    # Retrainings and deployments are marked when they begin, and nothing begins in this past.
    assert [one for one in wrong if one.title not in ("Deployments",)] == []


def asked() -> Platform:
    """A platform whose systems are asked for what they do not publish."""
    systems = {name: observing(name) for name in OBSERVED}
    document = platform_document(systems=systems)
    document["models"][0] |= {"promotion": {"needs": ["evaluation"]}, "regression": {}}
    return system_rules.expanded(Platform.model_validate(document))


LEFT_OUT = {
    "midwatch_incident_last_look_timestamp_seconds",  # an alert says it
    "midwatch_incident_info",  # a line of text for notifications; the console's incident page has all of it
    "argo_cd_application_model_versions",  # alerts read that it is 0; the page of the registry shows the versions
    "system:own_metrics:count",  # alerts say it; these two are for whoever watches upgrades
    "system:foreign_metrics:count",
    "ml_drift_share",  # bars by the place of a bin and with its name: the console's model page draws them
    "ml_attribution_squares_total",  # kept for whoever asks for a spread of rows
    "ml_attribution_lasting_change",  # an alert says it
    "ml_fairness_ungrouped_ratio",  # the console has it beside the verdict that waits for it
    "ml_fairness_worst_pair_info",  # names of groups: the console has them, and by name for whoever has the key
    "ml_group_predictions_total",  # `fairness judge` weighs them; a rate of one window is no evidence
    "ml_settled_group_predictions_total",
    "ml_group_ranked_total",
    "ml_group_exposure_total",
    "ml_group_exposure_squares_total",
    "ml_settled_group_scored_predictions_total",
    "ml_settled_group_scored_outcomes_total",
    "ml_settled_group_scored_positives_total",
    "ml_settled_group_score_sum_total",
    "ml_settled_group_errors_total",
    "ml_settled_group_absolute_error_total",
    "ml_settled_group_squared_error_total",
    "ml_scored_outcomes_total",
    "ml_scored_positives_total",
    "ml_score_sum_total",
    "midwatch_stream_watermark_timestamp_seconds",  # platforms with a stream have a section that shows these
    "midwatch_stream_batch_duration_seconds",
    "midwatch_stream_batches_total",
    "midwatch_stream_behind_records",
    "midwatch_stream_last_batch_timestamp_seconds",
    "midwatch_stream_late_events_total",
    "midwatch_stream_records_total",
    "midwatch_stream_state_bytes",
    "midwatch_stream_uncounted_batches",
    "midwatch_stream_waiting_entries",
    "canary_gate_comparisons_dropped_total",  # 0 below a thousand comparisons at one gate
    "canary_gate_refused_total",  # the page counts the refused; an alert says why
    "dr_archive_flaws",  # alerts read these five, and the posture's page shows what follows from them
    "dr_backup_failing",
    "dr_files_unsound",
    "dr_last_restore_good",
    "dr_split_brain_last_seen_timestamp_seconds",
    "region:heartbeat:timestamp",  # an alert says that one is silent, and status what is left of a budget at least
    "copied:region:heartbeat:timestamp",
    "region:alerts_undelivered:increase3m",  # an alert of the other planes says it; the Alerts page has dropped ones
    "copied:region:alerts_undelivered:increase3m",
    "slo:error_budget_at_least:ratio",
    "midwatch_evidence_records",  # dr report and verify-log ask Prometheus for it
    "midwatch_exporter_unread_payloads_total",  # the page counts dropped events; this says which payloads were not read
    "ml_drift_episode_detected_timestamp_seconds",  # the loop reads these three, and its page shows what follows
    "ml_drift_episode_onset_timestamp_seconds",
    "ml_drift_episode_windows",
    "ml_drift_rows_needed",  # the page says which are not judged; these two say what it would take
    "ml_drift_smallest_seen_effect",
    "ml_finish_reasons_total",  # only language models have it, and few of their logs
    "model:ml_request_duration_seconds:usual_mean",  # alerts compare with these two
    "model:ml_requests:usual_rate",
    "midwatch_client_events_total",  # of a model server's own process; runbooks ask for it
    "midwatch_client_attributions_total",
    "midwatch_client_events_waiting",
    "midwatch_client_retries_total",
    "midwatch_client_waiting_bytes",
    "midwatch_platform_file_info",  # `midwatch explain` reads when it changed
    "midwatch_build_info",  # of interest to whoever reports a bug
    "midwatch_exporter_connections",
    "midwatch_remote_write_retries_total",  # of a driver whose metrics arrive by this way: its log says what failed
    "midwatch_remote_write_samples_total",
    "midwatch_remote_write_waiting_samples",
    "midwatch_exporter_scrape_duration_seconds",  # Prometheus' own figure of the same scrape is shown
    "ml_server_synthetic_requests_total",  # an explainer's rows: its own page shows how many it asks for
    "ml_server_time_to_first_byte_seconds",  # of streams; other servers' pages would be empty
    "ml_group_outcomes_total",  # labels as they come; quality is told by what was settled, at an equal age
    "ml_server_request_duration_seconds",  # the same requests as the exporter's, without the version's events
}


ONLY_ALERTED_ON = {
    "alertmanager_notification_requests_failed_total",  # status reads these two: who was told
    "alertmanager_notification_requests_total",
    "alertmanager_config_last_reload_successful",
    "prometheus_config_last_reload_successful",
    "process_start_time_seconds",
}
"""Read by rules, or by commands, only."""


def test_every_metric_is_shown_or_known_to_be_left_out() -> None:
    platforms = whole(), with_servers(), asked()
    shown = " ".join(text for platform in platforms for text in render.render_files(platform).values())
    hidden = {name for name in metrics.CATALOGUE if name not in shown}
    assert hidden == LEFT_OUT
    assert {name for name in upstream.CATALOGUE if name not in shown} == ONLY_ALERTED_ON
