"""Metrics of Prometheus and Alertmanager themselves that are asked for here; they publish them, not Midwatch.

Names as of Prometheus 2.42 and Alertmanager 0.25; both still have them in their newest versions.
"""

from __future__ import annotations

from midwatch.metrics import Kind, Metric, listed

CATALOGUE: dict[str, Metric] = {}
"""Every one by the name a query uses."""


def _metric(kind: Kind, name: str, text: str, *labels: str) -> Metric:
    return listed(Metric(name=name, kind=kind, help=text, labels=labels), CATALOGUE)


# Written by Prometheus for each target and each alert -----------------------------------------------------------

UP = _metric(Kind.GAUGE, "up", "1 where the last scrape worked.")
SCRAPE_DURATION = _metric(Kind.GAUGE, "scrape_duration_seconds", "Time the last scrape took.")
SCRAPE_SAMPLES = _metric(Kind.GAUGE, "scrape_samples_scraped", "Samples in the last scrape.")
SCRAPE_SERIES_ADDED = _metric(Kind.GAUGE, "scrape_series_added", "New series in the last scrape.")
ALERTS = _metric(
    Kind.GAUGE,
    "ALERTS",
    "1 for each alert that is pending or firing.",
    "alertname",
    "alertstate",
    "severity",
    "owner",
    "model",
    "version",
    "slo",
)

# Of every program that has a client library for Prometheus ---------------------------------------------------------

PROCESS_STARTED = _metric(Kind.GAUGE, "process_start_time_seconds", "When the process began; on Linux, of one process.")

# Prometheus -----------------------------------------------------------------------------------------------------

RULE_DURATION = _metric(
    Kind.GAUGE, "prometheus_rule_group_last_duration_seconds", "Time of the last evaluation.", "rule_group"
)
RULE_INTERVAL = _metric(Kind.GAUGE, "prometheus_rule_group_interval_seconds", "Time between two.", "rule_group")
RULE_FAILURES = _metric(
    Kind.COUNTER, "prometheus_rule_evaluation_failures_total", "Evaluations that failed.", "rule_group"
)
RULE_MISSED = _metric(
    Kind.COUNTER, "prometheus_rule_group_iterations_missed_total", "Evaluations left out as too late.", "rule_group"
)
NOTIFICATIONS_SENT = _metric(
    Kind.COUNTER, "prometheus_notifications_sent_total", "Alerts sent to Alertmanager.", "alertmanager"
)
NOTIFICATIONS_ERRORS = _metric(
    Kind.COUNTER, "prometheus_notifications_errors_total", "Alerts that could not be sent.", "alertmanager"
)
NOTIFICATIONS_DROPPED = _metric(Kind.COUNTER, "prometheus_notifications_dropped_total", "Alerts nobody took.")
PROMETHEUS_RELOADED = _metric(
    Kind.GAUGE, "prometheus_config_last_reload_successful", "1 where the last reload of the configuration worked."
)
HEAD_SERIES = _metric(Kind.GAUGE, "prometheus_tsdb_head_series", "Series in memory.")

# Alertmanager ---------------------------------------------------------------------------------------------------

DELIVERIES = _metric(Kind.COUNTER, "alertmanager_notifications_total", "Attempts to notify.", "integration")
DELIVERIES_FAILED = _metric(
    Kind.COUNTER,
    "alertmanager_notifications_failed_total",
    "Attempts that failed; with a reason since 0.26.",
    "integration",
    "reason",
)
DELIVERY_TRIES = _metric(
    Kind.COUNTER,
    "alertmanager_notification_requests_total",
    "Tries of attempts to notify, once each has ended.",
    "integration",
)
DELIVERY_TRIES_FAILED = _metric(
    Kind.COUNTER,
    "alertmanager_notification_requests_failed_total",
    "Tries of attempts to notify that failed.",
    "integration",
)
DELIVERY_DURATION = _metric(
    Kind.HISTOGRAM, "alertmanager_notification_latency_seconds", "Time to notify.", "integration"
)
ALERTMANAGER_RELOADED = _metric(
    Kind.GAUGE, "alertmanager_config_last_reload_successful", "1 where the last reload of the configuration worked."
)
ALERTMANAGER_ALERTS = _metric(Kind.GAUGE, "alertmanager_alerts", "Alerts in Alertmanager, by state.", "state")
