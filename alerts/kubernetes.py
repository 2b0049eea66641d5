"""Rules and routes as objects of the Prometheus operator: PrometheusRule, and a Secret or AlertmanagerConfig.

With `alertmanager.kubernetes: secret` the whole configuration is in the Secret that an Alertmanager object names in
`configSecret`. AlertmanagerConfig objects are merged by the operator under its own route, and take secrets only from
Kubernetes Secrets: a file in the folder where the operator mounts them, SECRETS_FOLDER/SECRET/KEY, names one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from alerts.routing import generate
from alerts.rules import files as rule_files
from midwatch import yamlfile
from midwatch.errors import InvalidInputError, Problem
from midwatch.spec.channels import Channel
from midwatch.spec.model import Platform

SECRETS_FOLDER = PurePosixPath("/etc/alertmanager/secrets")
"""Where the operator mounts the Secrets of an Alertmanager object's `secrets`."""

FOLDER = "kubernetes"


def render_objects(platform: Platform) -> dict[str, str]:
    """Text of each object by its path; InvalidInputError for what the chosen form cannot say."""
    files = {
        f"{FOLDER}/rules-{name.removesuffix('.yml')}.yaml": _rule(platform, name, document)
        for name, document in rule_files.rule_files(platform).items()
    }
    if platform.alertmanager.kubernetes == "secret":
        files[f"{FOLDER}/alertmanager.yaml"] = yamlfile.dump(_secret(platform))
    else:
        files[f"{FOLDER}/alertmanagerconfig.yaml"] = yamlfile.dump(_config(platform))
    return dict(sorted(files.items()))


def _metadata(platform: Platform, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "labels": {"app.kubernetes.io/name": "midwatch", "app.kubernetes.io/part-of": platform.platform},
    }


def _rule(platform: Platform, file: str, document: Mapping[str, Any]) -> str:
    name = f"midwatch-{platform.platform}-{file.removesuffix('.yml')}"
    kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
    return yamlfile.dump({**kind, "metadata": _metadata(platform, name), "spec": document})


def _secret(platform: Platform) -> dict[str, Any]:
    text = yamlfile.dump(generate.alertmanager_config(platform))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(platform, f"midwatch-{platform.platform}-alertmanager"),
        "stringData": {"alertmanager.yaml": text},
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
    found: dict[str, Any] = {"route": _route(whole["route"]), "receivers": receivers}
    if "inhibit_rules" in whole:
        found["inhibitRules"] = [_inhibition(one) for one in whole["inhibit_rules"]]
    if "time_intervals" in whole:
        found["muteTimeIntervals"] = [_intervals(one) for one in whole["time_intervals"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "AlertmanagerConfig",
        "metadata": _metadata(platform, f"midwatch-{platform.platform}"),
        "spec": found,
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"(.*)"', re.DOTALL)


def _matchers(texts: list[str]) -> list[dict[str, str]]:
    found = [_MATCHER.fullmatch(text) for text in texts]
    return [{"name": one[1], "matchType": one[2], "value": re.sub(r"\\(.)", r"\1", one[3])} for one in found if one]


def _route(route: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in route.items():
        if key == "matchers":
            found[key] = _matchers(value)
        elif key == "routes":
            found[key] = [_route(one) for one in value]
        else:
            found[_camel(key)] = value
    return found


def _inhibition(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sourceMatch": _matchers(rule["source_matchers"]),
        "targetMatch": _matchers(rule["target_matchers"]),
        "equal": rule["equal"],
    }


def _intervals(interval: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": interval["name"], "timeIntervals": [dict(_interval(one)) for one in interval["time_intervals"]]}


def _interval(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        if key == "times":
            yield "times", [{_camel(name): text for name, text in one.items()} for one in value]
        elif key == "days_of_month":
            yield "daysOfMonth", [dict(_days(text)) for text in value]
        else:
            yield key, value


def _days(text: str) -> Iterator[tuple[str, int]]:
    begin, _, end = text.partition(":")
    yield "start", int(begin)
    yield "end", int(end or begin)


_SECRET_NAMES = {
    ("discord", "webhook_url_file"): "apiURL",
    ("email", "auth_password_file"): "authPassword",
    ("msteams", "webhook_url_file"): "webhookUrl",
    ("msteamsv2", "webhook_url_file"): "webhookURL",
    ("opsgenie", "api_key_file"): "apiKey",
    ("pagerduty", "routing_key_file"): "routingKey",
    ("pagerduty", "service_key_file"): "serviceKey",
    ("pushover", "user_key_file"): "userKey",
    ("pushover", "token_file"): "token",
    ("slack", "api_url_file"): "apiURL",
    ("telegram", "bot_token_file"): "botToken",
    ("victorops", "api_key_file"): "apiKey",
    ("webhook", "url_file"): "urlSecret",
    ("wechat", "api_secret_file"): "apiSecret",
    ("rocketchat", "token_file"): "token",
    ("rocketchat", "token_id_file"): "tokenID",
}
"""The object's key for a secret of ours (monitoring/v1alpha1/alertmanager_config_types.go of the operator)."""

_PLAIN_NAMES = {
    "topic_arn": "topicARN",
    "chat_id": "chatID",
    "room_id": "roomID",
    "api_url": "apiURL",
    "corp_id": "corpID",
    "agent_id": "agentID",
}


def _receiver(receiver: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": receiver["name"]}
    for key, settings in receiver.items():
        if key == "name":
            continue
        kind = key.removesuffix("_configs")
        if kind not in Channel.model_fields or kind in ("incidentio", "jira", "mattermost"):
            problems.append(_problem(receiver, f"AlertmanagerConfig has no {kind}", "use kubernetes: secret"))
            continue
        found[f"{kind}Configs"] = [_integration(receiver, kind, one, problems) for one in settings]
    return found


def _integration(
    receiver: Mapping[str, Any], kind: str, settings: Mapping[str, Any], problems: list[Problem]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if (kind, key) in _SECRET_NAMES:
            if (secret := _selector(receiver, value, problems)) is not None:
                found[_SECRET_NAMES[kind, key]] = secret
        elif key == "http_config":
            token = value["authorization"]["credentials_file"]
            if (secret := _selector(receiver, token, problems)) is not None:
                found["httpConfig"] = {"authorization": {"type": "Bearer", "credentials": secret}}
        elif key == "sigv4":
            found["sigv4"] = {_camel(name): text for name, text in value.items()}
        else:
            found[_PLAIN_NAMES.get(key, _camel(key))] = value
    return found


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
