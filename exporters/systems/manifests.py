"""Rights of the systems exporter in a cluster: to list what the platform file has it look at, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from midwatch import object_names, rbac, yamlfile
from midwatch.spec.model import Platform, SystemsAccount
from midwatch.spec.observed.base import Observed

FILE = "kubernetes/systems-exporter.yaml"
COMPONENT = "app.kubernetes.io/component"

Object = dict[str, Any]


def render_files(platform: Platform) -> dict[str, str]:
    """Text of the manifest, if the exporter has an account and lists anything of the cluster."""
    account = platform.systems_exporter.account
    observed = [use.observe for use in platform.systems.values() if use.observe is not None and use.observe.resources]
    if account is None or not observed:
        return {}
    return {FILE: yamlfile.dump_all(objects(account, observed, platform.platform))}


def objects(account: SystemsAccount, observed: list[Observed], platform: str) -> list[Object]:
    """The service account, a Role in each namespace that is looked into, and a ClusterRole where all of them are.

    The names of roles have the platform's, since another platform may be in the same cluster.
    """
    rights: dict[str | None, list[rbac.Right]] = {}
    for one in observed:
        places: Sequence[str | None] = one.places or [None]
        for place in places:
            rights.setdefault(place, []).extend(_listing(one))
    made = [rbac.service_account(_metadata(account.service_account, account.namespace, platform))]
    name = object_names.of_account(account.service_account, platform)
    for place, those in sorted(rights.items(), key=lambda one: one[0] or ""):
        bound = (rbac.least_rules(those), account.service_account, account.namespace)
        if place is None:
            made += rbac.cluster_role(_metadata(name, None, platform), *bound)
        else:
            made += rbac.role(_metadata(name, place, platform), *bound)
    return made


def _listing(observed: Observed) -> list[rbac.Right]:
    return [rbac.Right(group=one.group, resources=(one.plural,), verbs=("list",)) for one in observed.resources]


def _metadata(name: str, namespace: str | None, platform: str) -> Object:
    labels = {object_names.NAME: "midwatch", object_names.PART_OF: platform, COMPONENT: "systems-exporter"}
    return {"name": name, "labels": labels} | ({} if namespace is None else {"namespace": namespace})
