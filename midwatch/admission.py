"""Admission policies for service accounts: what a role cannot say, such as which pods an account may make.

A ValidatingAdmissionPolicy holds for the requests of one account and is answered by the API server itself (Kubernetes
1.30 and newer, "Validating Admission Policy"). Demands are CEL; one that cannot be evaluated refuses the request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

API = "admissionregistration.k8s.io/v1"

Object = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What must hold for an operation on resources of an API group, and what the account is told otherwise."""

    group: str = ""
    resources: tuple[str, ...]
    operation: str
    expression: str
    message: str

    @property
    def validation(self) -> Object:
        """The demand of requests that it is about; a policy sees those of all its demands."""
        about = f"request.resource.resource in {json.dumps(self.resources)} && request.operation == '{self.operation}'"
        return {"expression": f"!({about}) || ({self.expression})", "message": self.message}


def any_of(demands: Iterable[Demand]) -> list[Demand]:
    """Demands of which those about the same requests are one: it holds when either does."""
    joined: dict[tuple[str, tuple[str, ...], str], Demand] = {}
    for one in demands:
        about = (one.group, one.resources, one.operation)
        known = joined.get(about)
        joined[about] = one if known is None else replace(known, expression=f"{known.expression} || {one.expression}")
    return list(joined.values())


def policy(
    metadata: Object, account: str, namespace: str, demands: Sequence[Demand], variables: Mapping[str, str] = {}
) -> list[Object]:
    """A policy for a service account of a namespace, and its binding; `variables` name parts of its expressions."""
    user = f"system:serviceaccount:{namespace}:{account}"
    rules = {(one.group, one.resources, one.operation): None for one in demands}
    spec: Object = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [group], "apiVersions": ["*"], "operations": [operation], "resources": list(resources)}
                for group, resources, operation in rules
            ]
        },
        "matchConditions": [{"name": "account", "expression": f"request.userInfo.username == '{user}'"}],
        "validations": [one.validation for one in demands],
    }
    if variables:
        spec["variables"] = [{"name": name, "expression": text} for name, text in variables.items()]
    binding = {"policyName": metadata["name"], "validationActions": ["Deny"]}
    kind = "ValidatingAdmissionPolicy"
    return [
        {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec},
        {
            "apiVersion": API,
            "kind": f"{kind}Binding",
            "metadata": metadata | {"labels": dict(metadata["labels"])},
            "spec": binding,
        },
    ]
