"""Objects of RBAC: least rules, and what binds them."""

from __future__ import annotations

import yaml

from midwatch import rbac


def test_rights_on_one_resource_are_one_rule_with_all_verbs_once() -> None:
    read = rbac.Right(resources=("pods", "services"), verbs=("get", "list"))
    delete = rbac.Right(resources=("pods",), verbs=("get", "delete"))
    assert rbac.least_rules([read, delete]) == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete", "get", "list"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list"]},
    ]


def test_rights_on_named_objects_are_a_rule_of_their_own_and_a_right_on_all_is_not_narrowed() -> None:
    read = rbac.Right(resources=("services",), verbs=("get", "patch"), names=("a",))
    other = rbac.Right(resources=("services",), verbs=("get",), names=("b",))
    assert rbac.least_rules([read, other]) == [
        {"apiGroups": [""], "resources": ["services"], "verbs": ["patch"], "resourceNames": ["a"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["get"], "resourceNames": ["a", "b"]},
    ]
    every = rbac.Right(resources=("services",), verbs=("get",))
    for rights in ([read, every, other], [every, read, other], [read, other, every]):
        assert {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]} in rbac.least_rules(rights)


def test_a_role_is_bound_to_an_account_of_another_namespace() -> None:
    metadata = {"name": "drill", "namespace": "velero", "labels": {"a": "b"}}
    role, binding = rbac.role(metadata, [rbac.rule("", "pods", ["list"], ["one"])], "drill", "ops")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"], "resourceNames": ["one"]}]
    assert (binding["kind"], binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("RoleBinding", "Role", "drill")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "drill", "namespace": "ops"}]
    assert "&" not in yaml.safe_dump_all([role, binding]), "no object shares a part with another"
