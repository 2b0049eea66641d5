"""Grafana's provisioning: data sources that lead from one to another, the folder, and the provider of dashboards.

Formats: Grafana's documentation, "Provision Grafana", and that of each data source. Addresses are as Grafana sees them.
Grafana replaces `$NAME` by environment variables in these files: a dollar that is meant stands twice. `$__file{PATH}`
it replaces by the file's content (its documentation, "Variable expansion").
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from midwatch import grafana, object_names
from midwatch.grafana import DataSource
from midwatch.spec.model import Platform, Prometheus
from midwatch.spec.values import format_duration

DASHBOARD_LABEL = "grafana_dashboard"
DATASOURCE_LABEL = "grafana_datasource"
FOLDER_ANNOTATION = "grafana_folder"
"""Labels and annotation that the sidecar of Grafana's Helm chart looks for by default."""

PATH = "/var/lib/grafana/dashboards/midwatch"
"""Where a container has the dashboards; a provider elsewhere names its own folder."""


def folder_title(platform_name: str) -> str:
    """Title of the folder that holds a platform's dashboards."""
    return f"Midwatch {platform_name}"


def provider(platform: Platform, path: str = PATH) -> dict[str, Any]:
    """The provider that loads every dashboard below a path, and keeps Grafana's copies as the files are."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": f"midwatch-{platform.platform}",
                "type": "file",
                "folder": folder_title(platform.platform),
                "folderUid": grafana.folder_uid(platform.platform),
                "allowUiUpdates": False,
                "disableDeletion": False,
                "updateIntervalSeconds": 30,
                "options": {"path": path},
            }
        ],
    }


def datasources(platform: Platform, addresses: dict[DataSource, str] | None = None) -> dict[str, Any]:
    """Prometheus, Loki, Tempo and Alertmanager; `addresses` are where they are when that is not the platform file's."""
    where = {
        DataSource.PROMETHEUS: platform.prometheus.url,
        DataSource.LOKI: platform.grafana.loki,
        DataSource.TEMPO: platform.grafana.tempo,
        DataSource.ALERTMANAGER: platform.alertmanager.url,
    } | (addresses or {})
    settings = _settings(platform)
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": f"{source.value} {platform.platform}",
                "type": source.value,
                "uid": grafana.data_source_uid(platform.platform, source),
                "access": "proxy",
                "url": where[source],
                "jsonData": settings[source],
            }
            | (
                _who_asks(platform.prometheus, where[source], settings[source])
                if source is DataSource.PROMETHEUS
                else {}
            )
            for source in DataSource
        ],
    }


def _who_asks(settings: Prometheus, url: str, json_data: dict[str, Any]) -> dict[str, Any]:
    """How Grafana says who asks: `json_data` with what is no secret, and the secrets as files that Grafana reads.

    A Prometheus at another address than the platform file's gets none of them.
    """
    auth = settings.auth
    if auth is None or url != settings.url:
        return {}
    secrets: dict[str, str] = {}
    found: dict[str, Any] = {}
    if auth.basic:
        found = {"basicAuth": True, "basicAuthUser": auth.basic.username}
        secrets["basicAuthPassword"] = _file(auth.basic.password_file)
    named = {name: _file(file) for name, file in auth.header_files.items()}
    if auth.token_file:
        named["Authorization"] = f"Bearer {_file(auth.token_file)}"
    for number, (name, value) in enumerate(named.items(), 1):
        json_data[f"httpHeaderName{number}"], secrets[f"httpHeaderValue{number}"] = name, value
    if auth.tls:
        if auth.tls.server_name:
            json_data["serverName"] = auth.tls.server_name
        if auth.tls.ca_file:
            json_data["tlsAuthWithCACert"], secrets["tlsCACert"] = True, _file(auth.tls.ca_file)
        if auth.tls.cert_file and auth.tls.key_file:
            json_data["tlsAuth"], secrets["tlsClientCert"] = True, _file(auth.tls.cert_file)
            secrets["tlsClientKey"] = _file(auth.tls.key_file)
    return found | ({"secureJsonData": secrets} if secrets else {})


def _file(path: Path) -> str:
    return f"$__file{{{path}}}"


def _settings(platform: Platform) -> dict[DataSource, dict[str, Any]]:
    uid = {source: grafana.data_source_uid(platform.platform, source) for source in DataSource}
    return {
        DataSource.PROMETHEUS: {
            "httpMethod": "POST",
            "prometheusType": "Prometheus",
            # What $__rate_interval is computed from: without it Grafana assumes 15s.
            "timeInterval": format_duration(platform.prometheus.scrape_interval),
            "manageAlerts": True,
            "alertmanagerUid": uid[DataSource.ALERTMANAGER],
            "exemplarTraceIdDestinations": [{"name": "trace_id", "datasourceUid": uid[DataSource.TEMPO]}],
        },
        DataSource.LOKI: {
            "derivedFields": [
                {
                    "name": "trace",
                    "matcherType": "regex",
                    "matcherRegex": '"?trace_?[iI][dD]"?[=:]\\s*"?([0-9a-f]{32})',
                    "datasourceUid": uid[DataSource.TEMPO],
                    "url": "$${__value.raw}",
                    "urlDisplayLabel": "Open the trace",
                },
                {
                    "name": "trace_id",
                    "matcherType": "label",
                    "matcherRegex": "trace_id",
                    "datasourceUid": uid[DataSource.TEMPO],
                    "url": "$${__value.raw}",
                    "urlDisplayLabel": "Open the trace",
                },
            ],
        },
        DataSource.TEMPO: {
            "tracesToLogsV2": {
                "datasourceUid": uid[DataSource.LOKI],
                "spanStartTimeShift": "-5m",
                "spanEndTimeShift": "5m",
                "filterByTraceID": True,
                "filterBySpanID": False,
                "tags": [{"key": "service.name", "value": "service_name"}],
            },
            "tracesToMetrics": {
                "datasourceUid": uid[DataSource.PROMETHEUS],
                "spanStartTimeShift": "-15m",
                "spanEndTimeShift": "15m",
                "tags": [{"key": "service.name", "value": "model"}],
                "queries": [{"name": "Requests of the model", "query": "sum(rate(ml_requests_total{$$__tags}[5m]))"}],
            },
            "nodeGraph": {"enabled": True},
        },
        DataSource.ALERTMANAGER: {"implementation": "prometheus", "handleGrafanaManagedAlerts": False},
    }


def config_map(name: str, label: str, key: str, content: str, platform_name: str) -> dict[str, Any]:
    """A ConfigMap that the sidecar loads, into the platform's folder."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "labels": {label: "1", object_names.NAME: "midwatch", object_names.PART_OF: platform_name},
            "annotations": {FOLDER_ANNOTATION: folder_title(platform_name)},
        },
        "data": {key: content},
    }
