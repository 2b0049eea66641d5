"""Rules and routes as objects of the Prometheus operator: PrometheusRule, and a Secret or AlertmanagerConfig.

With `alertmanager.kubernetes: secret` the whole configuration is in the Secret that an Alertmanager object names in
`configSecret`. AlertmanagerConfig objects are merged by the operator under its own route, and take secrets only from
Kubernetes Secrets: a file in the folder where the operator mounts them, SECRETS_FOLDER/SECRET/KEY, names one. Such an
object sees the alerts of the whole cluster, so that its route and its inhibitions are for alerts with our label alone,
which our rules have there. The operator must not ask for the label `namespace` beside it: our alerts are of models and
have none (`alertmanagerConfigMatcherStrategy: {type: None}`, which `midwatch check --cluster` looks for).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from alerts import needed_jobs
from alerts.routing import existing, generate
from alerts.rules import files as rule_files
from midwatch import yamlfile
from midwatch.errors import InvalidInputError, Problem
from midwatch.spec.channels import INTEGRATIONS, Integration, camel_case
from midwatch.spec.model import Platform

SECRETS_FOLDER = PurePosixPath("/etc/alertmanager/secrets")
"""Where the operator mounts the Secrets of an Alertmanager object's `secrets`."""

FOLDER = "kubernetes"

OURS = "midwatch_platform"
"""Label of alerts with the platform whose they are, where one Alertmanager has those of others, too."""


def render_objects(platform: Platform) -> dict[str, str]:
    """Text of each object by its path; InvalidInputError for what the chosen form cannot say."""
    files = {
        f"{FOLDER}/rules-{name.removesuffix('.yml')}.yaml": _rule(platform, name, document)
        for name, document in rule_files.documents(platform).items()
    }
    if platform.is_view:  # it sends its alerts to the Alertmanagers of the regions
        return dict(sorted(files.items()))
    if platform.alertmanager.kubernetes == "secret":
        files[f"{FOLDER}/alertmanager.yaml"] = yamlfile.dump(_secret(platform))
    else:
        files[f"{FOLDER}/alertmanagerconfig.yaml"] = yamlfile.dump(_config(platform))
    return dict(sorted(files.items()))


def _metadata(platform: Platform, name: str) -> dict[str, Any]:
    return platform.prometheus.operator.metadata(name, platform.platform)


def _rule(platform: Platform, file: str, document: Mapping[str, Any]) -> str:
    name = f"midwatch-{platform.platform}-{file.removesuffix('.yml')}"
    kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
    told_apart = document if platform.alertmanager.kubernetes == "secret" else _labelled(platform, document)
    metadata = {**_metadata(platform, name), **needed_jobs.metadata_of(document)}
    return yamlfile.dump({**kind, "metadata": metadata, "spec": told_apart})


def _labelled(platform: Platform, document: Mapping[str, Any]) -> dict[str, Any]:
    """Rules whose alerts say of which platform they are."""
    groups = [
        {**group, "rules": [_with_label(platform, rule) if "alert" in rule else rule for rule in group["rules"]]}
        for group in document["groups"]
    ]
    return {**document, "groups": groups}


def _with_label(platform: Platform, rule: Mapping[str, Any]) -> dict[str, Any]:
    return {**rule, "labels": {**rule.get("labels", {}), OURS: platform.platform}}


def _secret(platform: Platform) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(platform, f"midwatch-{platform.platform}-alertmanager"),
        "stringData": {"alertmanager.yaml": existing.text(platform)},
    }


# AlertmanagerConfig ------------------------------------------------------------------------------------------------


def _config(platform: Platform) -> dict[str, Any]:
    """The configuration in the object's terms: camel case, structured matchers, secrets by Secret and key."""
    whole = generate.alertmanager_config(platform)
    problems: list[Problem] = []
    receivers = [_receiver(one, problems) for one in whole["receivers"]]
    for interval in whole.get("time_intervals", ()):
        if any("location" in one for one in interval["time_intervals"]):
            message = f"time_intervals.{interval['name']}: AlertmanagerConfig has no time zones"
            problems.append(
                Problem(file="alertmanager", message=message, remedy="write UTC, or use kubernetes: secret")
            )
    if problems:
        raise InvalidInputError(problems)
    ours = {"name": OURS, "matchType": "=", "value": platform.platform}
    spec: dict[str, Any] = {"route": {**_route(whole["route"]), "matchers": [ours]}, "receivers": receivers}
    if "inhibit_rules" in whole:
        spec["inhibitRules"] = [_inhibition(one, ours) for one in whole["inhibit_rules"]]
    if "time_intervals" in whole:
        spec["muteTimeIntervals"] = [_intervals(one) for one in whole["time_intervals"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "AlertmanagerConfig",
        "metadata": _metadata(platform, f"midwatch-{platform.platform}"),
        "spec": spec,
    }


_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"(.*)"', re.DOTALL)


def _matchers(texts: list[str]) -> list[dict[str, str]]:
    matches = [_MATCHER.fullmatch(text) for text in texts]
    return [{"name": one[1], "matchType": one[2], "value": re.sub(r"\\(.)", r"\1", one[3])} for one in matches if one]


def _route(route: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key, value in route.items():
        if key == "matchers":
            named[key] = _matchers(value)
        elif key == "routes":
            named[key] = [_route(one) for one in value]
        else:
            named[camel_case(key)] = value
    return named


def _inhibition(rule: Mapping[str, Any], ours: Mapping[str, str]) -> dict[str, Any]:
    return {
        "sourceMatch": [dict(ours), *_matchers(rule["source_matchers"])],
        "targetMatch": [dict(ours), *_matchers(rule["target_matchers"])],
        "equal": rule["equal"],
    }


def _intervals(interval: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": interval["name"], "timeIntervals": [dict(_interval(one)) for one in interval["time_intervals"]]}


def _interval(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        if key == "times":
            yield "times", [{camel_case(name): text for name, text in one.items()} for one in value]
        elif key == "days_of_month":
            yield "daysOfMonth", [dict(_days(text)) for text in value]
        else:
            yield key, value


def _days(text: str) -> Iterator[tuple[str, int]]:
    begin, _, end = text.partition(":")
    yield "start", int(begin)
    yield "end", int(end or begin)


def _receiver(receiver: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    named: dict[str, Any] = {"name": receiver["name"]}
    for key, settings in receiver.items():
        if key == "name":
            continue
        integration = INTEGRATIONS[key.removesuffix("_configs")]
        if not integration.in_operator:
            message = f"AlertmanagerConfig has no {integration.name()}"
            problems.append(_problem(receiver, message, "use kubernetes: secret"))
            continue
        named[f"{integration.name()}Configs"] = [_settings(receiver, integration, one, problems) for one in settings]
    return named


def _settings(
    receiver: Mapping[str, Any], integration: type[Integration], settings: Mapping[str, Any], problems: list[Problem]
) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key, value in settings.items():
        if key.endswith("_file"):
            if (secret := _selector(receiver, value, problems)) is not None:
                named[integration.operator_name(key)] = secret
        elif key == "http_config":
            token = value["authorization"]["credentials_file"]
            if (secret := _selector(receiver, token, problems)) is not None:
                named["httpConfig"] = {"authorization": {"type": "Bearer", "credentials": secret}}
        elif key in ("headers", "details"):
            named[key] = [{"key": name, "value": text} for name, text in value.items()]
        elif key == "sigv4":
            named["sigv4"] = {camel_case(name): text for name, text in value.items()}
        else:
            named[integration.operator_name(key)] = value
    return named


def _selector(receiver: Mapping[str, Any], file: str, problems: list[Problem]) -> dict[str, str] | None:
    """Secret and key of a file in the operator's folder."""
    path = PurePosixPath(file)
    if path.parent.parent != SECRETS_FOLDER:
        remedy = f"put the secret into {SECRETS_FOLDER}/SECRET/KEY, or use kubernetes: secret"
        problems.append(_problem(receiver, f"{file} names no Kubernetes Secret", remedy))
        return None
    return {"name": path.parent.name, "key": path.name}


def _problem(receiver: Mapping[str, Any], message: str, remedy: str) -> Problem:
    return Problem(file="alertmanager", path=f"receivers.{receiver['name']}", message=message, remedy=remedy)
