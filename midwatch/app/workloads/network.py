"""Who may reach the plane's pods, and whom they may reach: nothing, but for what is listed here."""

from __future__ import annotations

from urllib.parse import urlsplit

from midwatch import jobs
from midwatch.app.workloads import executors
from midwatch.app.workloads.pods import Object, Place
from midwatch.app.workloads.services import explainer_component, port_of
from midwatch.spec import evaluation, promotion
from midwatch.spec.explainer import explained
from midwatch.spec.stream import Stream

API_SERVER = (443, 6443)
"""Ports of an API server: its Service's, and the usual one behind it, which policies see."""

PROMETHEUS = 9090
"""Port of Prometheus' pods, whatever their Service's is: policies see the pod's."""

ALERTMANAGER = 9093
"""Port of Alertmanager's pods."""


def policies(place: Place) -> list[Object]:
    """Default deny for the pods of the platform in its namespace, and for each part what it needs."""
    platform = place.platform
    prometheus = sorted({_port_of_url(platform.prometheus.url), PROMETHEUS})
    components = ["exporter"] if platform.has_exporters else []
    components += ["exporter-judge"] if jobs.has_judge_alone(platform) else []
    reached = [*_reached_by_exporter(place), *_brokers(place)]
    found = [_deny(place), *(_allow(place, one, port_of(platform.exporter.listen), reached) for one in components)]
    if any(model.canary for model in platform.models):
        asked: list[Object] = [_dns(), {"ports": _tcp(prometheus)}]
        if promotion.watched(platform):  # wherever the registry is
            asked = [{}]
        found.append(_allow(place, "gate", port_of(platform.gate.listen), asked))
    if platform.loop is not None:  # whatever the owners' addresses are
        found.append(_allow(place, "loop", port_of(platform.loop.listen), [{}]))
    if platform.incidents.watch:
        asked = [_dns(), {"ports": _tcp(prometheus)}]
        found.append(_allow(place, "incidents", port_of(platform.incidents.listen), asked))
    if evaluation.promised(platform):
        asked = [_dns(), {"ports": _tcp(prometheus)}]
        found.append(_allow(place, "evaluator", port_of(platform.evaluator.listen), asked))
    for model, explainer in explained(platform):  # a server's pods listen elsewhere than its Service: on any port
        asked = [{}] if explainer.asks_a_server else []
        found.append(_allow(place, explainer_component(model), explainer.port, asked))
    if platform.stream is not None:
        found += _stream(place, platform.stream)
    recovery = platform.disaster_recovery
    if recovery is not None and recovery.kubernetes is not None:
        found += _recovery(place, recovery.kubernetes.namespace, port_of(recovery.listen))
    if jobs.observes(platform):  # whatever the systems' addresses are
        found.append(_allow(place, "systems-exporter", port_of(platform.systems_exporter.listen), [{}]))
    if platform.console is not None:
        ports = sorted({*prometheus, _port_of_url(platform.alertmanager.url), ALERTMANAGER})
        found.append(_allow(place, "console", port_of(platform.console.listen), [_dns(), {"ports": _tcp(ports)}]))
    return found


def _deny(place: Place) -> Object:
    """Chaos' own policy adds to it: policies allow, and never take away (Kubernetes, "Network Policies")."""
    labels = {"app.kubernetes.io/name": "midwatch", "app.kubernetes.io/part-of": place.platform.platform}
    return _policy(place, "midwatch-deny", "plane", {"podSelector": {"matchLabels": labels}})


def _stream(place: Place, stream: Stream) -> list[Object]:
    """The driver, and its executors: these reach it and one another, and wherever the store of the checkpoint is."""
    port = port_of(stream.listen)
    if place.settings.stream.executors is None:
        return [_allow(place, "stream", port, _reached_by_stream(stream))]
    workers = {"podSelector": {"matchLabels": place.labels(executors.COMPONENT)}}
    driver = {"podSelector": {"matchLabels": place.labels("stream")}}
    reached = _allow(place, "stream", port, [{}])
    reached["spec"]["ingress"].append(
        {"from": [workers], "ports": _tcp([executors.DRIVER_PORT, executors.BLOCKS_PORT])}
    )
    rule = {"from": [driver, dict(workers)], "ports": _tcp([executors.BLOCKS_PORT])}
    spec = {"podSelector": {"matchLabels": place.labels(executors.COMPONENT)}, "ingress": [rule], "egress": [{}]}
    return [reached, _policy(place, "midwatch-stream-executors", executors.COMPONENT, spec)]


def _reached_by_stream(stream: Stream) -> list[Object]:
    """The brokers; wherever it is, a store of folders or tables."""
    paths = [folder.path for folder in stream.folders] + [table.path for table in stream.tables]
    if any("://" in path for path in paths):
        return [{}]
    servers = stream.kafka.servers if stream.kafka else []
    ports = sorted({int(server.rpartition(":")[2]) for server in servers})
    return [_dns(), {"ports": _tcp(ports)}] if ports else [_dns()]


def _reached_by_exporter(place: Place) -> list[Object]:
    """Nobody, but for what drift triggers: the API server, or a webhook whose address only a Secret has.

    With a loop that is who asks.
    """
    if place.platform.loop is not None:
        return []
    triggers = [model.drift.retrain for model in place.platform.models if model.drift and model.drift.retrain]
    if any(one.webhook for one in triggers):
        return [{}]
    return [_dns(), {"ports": _tcp(list(API_SERVER))}] if triggers else []


def _brokers(place: Place) -> list[Object]:
    """Brokers say to their clients where the others are: on the same ports, at addresses of their own."""
    kafka = place.platform.exporter.kafka
    if kafka is None:
        return []
    return [_dns(), {"ports": _tcp(sorted({int(broker.rpartition(":")[2]) for broker in kafka.brokers}))}]


def _allow(place: Place, component: str, port: int, egress: list[Object]) -> Object:
    senders: Object = {"namespaceSelector": {"matchLabels": dict(place.settings.clients)}}
    rule: Object = {"ports": _tcp([port])}
    if place.settings.clients:
        # Who scrapes is in the operator's namespace or in this one.
        operator = place.platform.prometheus.operator.namespace or place.settings.namespace
        watcher = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator}}}
        rule["from"] = [senders, watcher]
    spec = {"podSelector": {"matchLabels": place.labels(component)}, "ingress": [rule], "egress": egress}
    return _policy(place, f"midwatch-{component}", component, spec)


def _recovery(place: Place, namespace: str, port: int) -> list[Object]:
    """Drills, recoverers and their exporter reach whatever their stores are: addresses that only Secrets have.

    The exporter is scraped; nobody else has to be reached.
    """
    drills = {"app.kubernetes.io/name": "midwatch", "app.kubernetes.io/component": "recovery"}
    recoverers = drills | {"app.kubernetes.io/component": "guard"}
    exporter = place.labels("recovery-exporter")
    found = []
    for name, labels, ingress in (
        ("midwatch-recovery", drills, []),
        ("midwatch-recoverers", recoverers, []),
        ("midwatch-recovery-exporter", exporter, [{"ports": _tcp([port])}]),
    ):
        spec = {"podSelector": {"matchLabels": labels}, "ingress": ingress, "egress": [{}]}
        found.append(_policy(place, name, "recovery", spec, namespace))
    return found


def _policy(place: Place, name: str, component: str, spec: Object, namespace: str = "") -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": place.metadata(name, component, namespace),
        "spec": {"policyTypes": ["Ingress", "Egress"], **spec},
    }


def _dns() -> Object:
    return {"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}


def _tcp(ports: list[int]) -> list[Object]:
    return [{"port": port, "protocol": "TCP"} for port in ports]


def _port_of_url(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)
