"""RBAC objects as Kubernetes takes them: service accounts, roles, and what binds one to the other.

Whoever renders them says name, namespace and labels, as `metadata`. Kubernetes, "Using RBAC Authorization".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

GROUP = "rbac.authorization.k8s.io"
API = f"{GROUP}/v1"

Object = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Right:
    """Verbs on resources of an API group, which is empty for the core; with `names` on the objects of these names."""

    group: str = ""
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()


def rule(group: str, resource: str, verbs: Iterable[str], names: Sequence[str] = ()) -> Object:
    """One rule of a role; with `names` it is only about the objects of these names."""
    rule: Object = {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
    return rule | ({"resourceNames": list(names)} if names else {})


def least_rules(rights: Iterable[Right]) -> list[Object]:
    """Rules that give just these rights: one for each resource and set of names, its verbs joined."""
    names: dict[tuple[str, str, str], set[str] | None] = {}
    for right in rights:
        for resource, verb in product(right.resources, right.verbs):
            known = names.setdefault((right.group, resource, verb), set())
            every = known is None or not right.names
            names[right.group, resource, verb] = None if every else {*(known or ()), *right.names}
    verbs: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (group, resource, verb), allowed in sorted(names.items(), key=lambda one: one[0]):
        verbs.setdefault((group, resource, tuple(sorted(allowed or ()))), []).append(verb)
    return [rule(group, resource, joined, few) for (group, resource, few), joined in sorted(verbs.items())]


def service_account(metadata: Object) -> Object:
    """A service account."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def role(metadata: Object, rules: list[Object], account: str, namespace: str) -> list[Object]:
    """A Role, and its RoleBinding for a service account of a namespace, which need not be the role's own."""
    return _bound("Role", metadata, rules, account, namespace)


def cluster_role(metadata: Object, rules: list[Object], account: str, namespace: str) -> list[Object]:
    """A ClusterRole, and its ClusterRoleBinding for a service account of a namespace."""
    return _bound("ClusterRole", metadata, rules, account, namespace)


def _bound(kind: str, metadata: Object, rules: list[Object], account: str, namespace: str) -> list[Object]:
    return [
        {"apiVersion": API, "kind": kind, "metadata": _copy(metadata), "rules": rules},
        {
            "apiVersion": API,
            "kind": f"{kind}Binding",
            "metadata": _copy(metadata),
            "roleRef": {"apiGroup": GROUP, "kind": kind, "name": metadata["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        },
    ]


def _copy(metadata: Object) -> Object:
    """A copy of its own: YAML would write an alias for what is there twice."""
    return metadata | {"labels": dict(metadata["labels"])}
