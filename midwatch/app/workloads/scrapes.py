"""ServiceMonitors: how the Prometheus operator finds every pod of the exporter and every other part that is scraped.

The job of what is scraped so is the name of its Service, which rules would not know: `jobLabel` names a label with the
job that they do.
"""

from __future__ import annotations

from midwatch import jobs, scrape_size
from midwatch.app.workloads import pods
from midwatch.app.workloads.pods import Object, Place
from midwatch.app.workloads.services import JOB
from midwatch.spec import evaluation
from midwatch.spec.values import format_duration


def monitors(place: Place) -> list[Object]:
    """A ServiceMonitor for each part that is scraped."""
    found = [_monitor(place, jobs.EXPORTER, "exporter")] if place.platform.has_exporters else []
    if any(model.canary for model in place.platform.models):
        found.append(_monitor(place, jobs.GATE, "gate"))
    if place.platform.loop is not None:
        found.append(_monitor(place, jobs.LOOP, "loop"))
    if place.platform.incidents.watch:
        found.append(_monitor(place, jobs.INCIDENTS, "incidents"))
    if evaluation.promised(place.platform):
        found.append(_monitor(place, jobs.EVALUATOR, "evaluator"))
    if place.platform.stream is not None:
        found.append(_monitor(place, jobs.STREAM, "stream"))
    recovery = place.platform.disaster_recovery
    if recovery is not None and recovery.kubernetes is not None:
        found.append(_monitor(place, jobs.RECOVERY, "recovery-exporter", recovery.kubernetes.namespace))
    if jobs.observes(place.platform):
        found.append(_monitor(place, jobs.SYSTEMS, "systems-exporter"))
    return found


def _monitor(place: Place, job: str, component: str, namespace: str = "") -> Object:
    """It stands beside the Service: the operator reads the token's Secret from its namespace."""
    metadata = place.metadata(job, component, namespace)
    metadata["labels"] |= place.platform.prometheus.operator.labels
    credentials = {"name": place.settings.metrics_secret, "key": pods.KEY}
    endpoint: Object = {
        "port": "http",
        "path": "/metrics",
        "authorization": {"type": "Bearer", "credentials": credentials},
    }
    if job in (jobs.EXPORTER, jobs.STREAM):  # as many series as its caps allow have to arrive
        interval = format_duration(place.platform.prometheus.scrape_interval)
        endpoint |= {"interval": interval, "scrapeTimeout": format_duration(scrape_size.timeout(place.platform))}
    if job == jobs.SYSTEMS:  # `namespace` is a label of what the systems have
        endpoint["honorLabels"] = True
    labels = {JOB: job, "app.kubernetes.io/part-of": place.platform.platform}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata,
        "spec": {"jobLabel": JOB, "selector": {"matchLabels": labels}, "endpoints": [endpoint]},
    }
