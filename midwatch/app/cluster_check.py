"""`midwatch check --cluster`: what the cluster has already, and whether it does with rendered objects what they say.

It only reads. What it may not read is a problem, too: what was not looked at is not right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from midwatch import kubernetes, object_names
from midwatch.app.objects import Object
from midwatch.errors import MidwatchError, Problem
from midwatch.spec.model import Platform

OPERATOR = "monitoring.coreos.com"
MANAGED = "app.kubernetes.io/managed-by"
"""Label of some objects of earlier renders instead of the name."""
STRATEGY = "alertmanagerConfigMatcherStrategy"


def find_problems(platform: Platform, objects: list[Object]) -> list[Problem]:
    """Problems of the rendered objects in the cluster that the user's kubeconfig, or the pod, belongs to.

    Raises UnreachableError when it cannot be asked.
    """
    asked = _Cluster(kubernetes.current_namespace())
    problems: list[Problem] = []
    for one in objects:
        try:
            problems += asked.problems_of(platform, one)
        except kubernetes.RefusedError as error:
            problems.append(_unasked(one, error))
    return problems


def _unasked(one: Object, error: MidwatchError) -> Problem:
    return Problem(file=one.file, message=f"{one.identity}: {error}", remedy="check as somebody who may read it")


class _Cluster:
    """Asks a cluster; what it said of its kinds and of its Alertmanagers is remembered."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._resources = cache(self._asked_resources)
        self._alertmanagers = cache(self._asked_alertmanagers)
        self._has_namespace = cache(self._asked_namespace)
        self._missing: set[str] = set()

    def problems_of(self, platform: Platform, one: Object) -> Iterator[Problem]:
        """Problems of one object."""
        known = self._resources(one.identity.api_version).get(one.identity.kind)
        if known is None:
            message = f"the cluster has no {one.identity.kind} ({one.identity.api_version})"
            yield Problem(file=one.file, path="kind", message=message, remedy="install what defines it")
            return
        found = self._found(one, known)
        if found is None and known["namespaced"]:
            yield from self._namespace_of(one)
        if found is not None and (whose := _not_ours(found, platform.platform)):
            message = f"{one.identity} is there already, and {whose}: it would be overwritten"
            yield Problem(
                file=one.file, path="metadata.name", message=message, remedy="rename one, or move it elsewhere"
            )
        if one.identity.kind == "AlertmanagerConfig":
            yield from self._alertmanagers_of(one)

    def _asked_resources(self, api_version: str) -> dict[str, dict[str, Any]]:
        listed = kubernetes.find(_root(api_version)) or {"resources": []}
        return {one["kind"]: one for one in listed["resources"] if "/" not in one["name"]}

    def _found(self, one: Object, known: Mapping[str, Any]) -> kubernetes.Object | None:
        namespace = f"/namespaces/{one.identity.namespace or self._namespace}" if known["namespaced"] else ""
        return kubernetes.find(f"{_root(one.identity.api_version)}{namespace}/{known['name']}/{one.identity.name}")

    def _namespace_of(self, one: Object) -> Iterator[Problem]:
        """Whether an object's namespace is there; of several objects the first tells."""
        namespace = one.identity.namespace or self._namespace
        if namespace not in self._missing and not self._has_namespace(namespace):
            self._missing.add(namespace)
            message = f"the cluster has no namespace {namespace}: {one.identity} would be refused, and all else there"
            yield Problem(
                file=one.file, path="metadata.namespace", message=message, remedy="create it, or name another"
            )

    def _asked_namespace(self, name: str) -> bool:
        return kubernetes.find(f"/api/v1/namespaces/{name}") is not None

    # The operator ----------------------------------------------------------------------------------------------------

    def _asked_alertmanagers(self) -> list[kubernetes.Object]:
        found: list[kubernetes.Object] = kubernetes.request("GET", f"/apis/{OPERATOR}/v1/alertmanagers")["items"]
        return found

    def _alertmanagers_of(self, one: Object) -> Iterator[Problem]:
        """Whether some Alertmanager takes the configuration, and by a strategy that lets our alerts through."""
        namespace = one.identity.namespace or self._namespace
        labels = one.document["metadata"].get("labels") or {}
        taking = [found for found in self._alertmanagers() if self._takes(found, namespace, labels)]
        if not taking:
            message = f"no Alertmanager takes {one.identity}, so nobody would be told of anything"
            remedy = "give the object the labels that alertmanagerConfigSelector wants: prometheus.operator.labels"
            yield Problem(file=one.file, path="metadata.labels", message=message, remedy=remedy)
        for found in taking:
            own = found["metadata"]["namespace"]
            strategy = (found["spec"].get(STRATEGY) or {}).get("type", "OnNamespace")
            if strategy == "OnNamespace" or (strategy != "None" and own != namespace):
                name = f"{own}/{found['metadata']['name']}"
                message = (
                    f"Alertmanager {name} gives it only alerts with the label namespace={namespace}: ours have none"
                )
                remedy = f"set {STRATEGY}: {{type: None}} there; our route takes our alerts alone"
                yield Problem(file=one.file, path="spec.route", message=message, remedy=remedy)

    def _takes(self, alertmanager: kubernetes.Object, namespace: str, labels: Mapping[str, str]) -> bool:
        spec = alertmanager["spec"]
        selector, of_namespaces = (
            spec.get(key) for key in ("alertmanagerConfigSelector", "alertmanagerConfigNamespaceSelector")
        )
        if selector is None or not _selects(selector, labels):
            return False
        if of_namespaces is None:
            return bool(alertmanager["metadata"]["namespace"] == namespace)
        found = kubernetes.request("GET", f"/api/v1/namespaces/{namespace}")
        return _selects(of_namespaces, found["metadata"].get("labels") or {})


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _not_ours(found: kubernetes.Object, platform: str) -> str:
    """Whose an object is, if it is not of the platform; releases before this one did not say of which it is."""
    labels = found["metadata"].get("labels") or {}
    whose = labels.get(object_names.PART_OF)
    is_midwatchs = "midwatch" in (labels.get(object_names.NAME), labels.get(MANAGED))
    if is_midwatchs:
        return "" if whose in (None, platform) else f"is of the platform {whose}"
    return "was not rendered by Midwatch"


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes labels (apimachinery, LabelSelectorAsSelector)."""
    equal = all(labels.get(name) == value for name, value in (selector.get("matchLabels") or {}).items())
    return equal and all(_holds(one, labels) for one in selector.get("matchExpressions") or ())


def _holds(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement["key"])
    return {
        "In": value in (requirement.get("values") or ()),
        "NotIn": value not in (requirement.get("values") or ()),
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[requirement["operator"]]
