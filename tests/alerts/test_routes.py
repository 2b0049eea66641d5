"""Whole configurations: every channel by version, hours, maintenance, inheritance, inhibitions, and for the cluster."""

from __future__ import annotations

import re
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from alerts import kubernetes, render
from alerts.lint import linter
from alerts.routing import configuration, delivery, generate
from midwatch import yamlfile
from midwatch.errors import InvalidInputError
from midwatch.spec import load
from midwatch.spec.channels import INTEGRATIONS
from tests.conftest import need_program

CHANNELS = {
    "discord": ({"webhook_url_file": "/s"}, (0, 27)),
    "email": ({"to": "a@b.c", "from": "d@b.c", "smarthost": "b.c:25", "auth_password_file": "/s"}, (0, 25)),
    "incidentio": ({"url": "https://a/", "alert_source_token_file": "/s"}, (0, 29)),
    "jira": (
        {"api_url": "https://a/", "project": "P", "issue_type": "Bug", "username": "u", "password_file": "/s"},
        (0, 28),
    ),
    "mattermost": ({"webhook_url_file": "/s"}, (0, 30)),
    "msteams": ({"webhook_url_file": "/s"}, (0, 27)),
    "msteamsv2": ({"webhook_url_file": "/s"}, (0, 28)),
    "opsgenie": ({"api_key_file": "/s", "priority": "P1"}, (0, 25)),
    "pagerduty": ({"routing_key_file": "/s"}, (0, 25)),
    "pushover": ({"user_key_file": "/s", "token_file": "/s"}, (0, 26)),
    "rocketchat": ({"api_url": "https://a/", "token_id_file": "/s", "token_file": "/s"}, (0, 28)),
    "slack": ({"api_url_file": "/s", "channel": "#x"}, (0, 25)),
    "sns": ({"topic_arn": "arn:aws:sns:us-east-1:1:t", "region": "us-east-1"}, (0, 25)),
    "telegram": ({"bot_token_file": "/s", "chat_id": 1}, (0, 26)),
    "victorops": ({"api_key_file": "/s", "routing_key": "k"}, (0, 25)),
    "webex": ({"room_id": "r", "token_file": "/s"}, (0, 25)),
    "webhook": ({"url_file": "/s"}, (0, 26)),
    "wechat": ({"api_secret_file": "/s", "corp_id": "c", "agent_id": "1"}, (0, 31)),
}


def document(kind: str, version: str, make_platform) -> dict:
    channels = {"oncall": {kind: CHANNELS[kind][0]}, "chat": {"webhook": {"url": "http://127.0.0.1:1/x"}}}
    return generate.alertmanager_config(make_platform(channels=channels, alertmanager={"version": version}))


def test_there_is_a_channel_for_every_integration() -> None:
    assert set(CHANNELS) == set(INTEGRATIONS)


@pytest.mark.parametrize("kind", CHANNELS)
def test_a_channel_is_written_from_its_version_on_and_refused_before(kind: str, make_platform) -> None:
    since = CHANNELS[kind][1]
    made = document(kind, f"0.{since[1]}", make_platform)
    (receiver,) = (one for one in made["receivers"] if one["name"] == "ml-page")
    assert f"{kind}_configs" in receiver
    if since > (0, 25):
        with pytest.raises(InvalidInputError, match=f"0.{since[1]} has it"):
            document(kind, f"0.{since[1] - 1}", make_platform)


@pytest.mark.parametrize("kind", [kind for kind, (_, since) in CHANNELS.items() if since == (0, 25)])
def test_the_installed_amtool_takes_what_it_should_know(kind: str, make_platform, tmp_path: Path) -> None:
    amtool = need_program("amtool")
    (tmp_path / "a.yml").write_text(yamlfile.dump(document(kind, "0.25", make_platform)))
    done = subprocess.run([amtool, "check-config", "a.yml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", CHANNELS)
def test_a_channel_is_written_for_the_operator_with_its_secrets_in_secrets_or_refused(kind: str, make_platform) -> None:
    folder = "/etc/alertmanager/secrets/one/"
    settings = {name: folder + name if text == "/s" else text for name, text in CHANNELS[kind][0].items()}
    platform = make_platform(
        channels={"oncall": {kind: settings}, "chat": {"webhook": {"url": "http://a/"}}},
        alertmanager={"kubernetes": "alertmanagerconfig", "version": "0.31"},
    )
    if not INTEGRATIONS[kind].in_operator:
        with pytest.raises(InvalidInputError, match=f"AlertmanagerConfig has no {kind}"):
            kubernetes.render_objects(platform)
        return
    text = kubernetes.render_objects(platform)["kubernetes/alertmanagerconfig.yaml"]
    (receiver,) = (one for one in yaml.safe_load(text)["spec"]["receivers"] if one["name"] == "ml-page")
    (given,) = receiver[f"{kind}Configs"]
    assert "_" not in "".join(given), "the operator's names are in camel case"
    secrets = {name for name, text in CHANNELS[kind][0].items() if text == "/s"}
    assert set(re.findall(r"'name': 'one', 'key': '(\w+)'", str(given))) == secrets


def test_a_version_that_the_file_states_refuses_what_it_lacks_with_the_line(load_text, make_document) -> None:
    text = yaml.safe_dump(
        make_document(
            alertmanager={"version": "0.25"},
            channels={"oncall": {"discord": {"webhook_url_file": "/s"}}, "chat": {"webhook": {"url": "http://a/"}}},
        )
    )
    with pytest.raises(
        InvalidInputError, match=r"platform.yaml:\d+: channels.oncall: Alertmanager 0.25 has no discord"
    ):
        load_text(text)
    with pytest.raises(InvalidInputError, match="not a version"):
        load_text(text.replace("'0.25'", "newest"))


PLATFORM = {
    "owners": {
        "base": {"page": ["oncall"], "ticket": ["chat"], "ticket_hours": "office"},
        "ml": {"extends": "base", "ticket": ["oncall", "chat"]},
    },
    "time_intervals": {
        "office": {
            "time_zone": "Europe/Oslo",
            "weekdays": ["monday:friday"],
            "times": [{"from": "08:00", "to": "16:00"}],
        },
        "nights": {"times": [{"from": "22:00", "to": "06:00"}], "weekdays": ["friday:saturday"]},
    },
    "maintenance": [
        {
            "name": "move",
            "from": "2026-12-31T22:00:00+01:00",
            "to": "2027-01-02T03:30:00+01:00",
            "labels": {"model": "fraud"},
        },
        {"name": "weekly", "interval": "nights", "labels": {"model": "other"}},
    ],
}


@pytest.fixture
def config(make_platform) -> configuration.Config:
    return configuration.parse(yamlfile.dump(generate.alertmanager_config(make_platform(**PLATFORM))), "a.yml")


def told(config: configuration.Config, at: str, **labels: str) -> list[tuple[str, bool]]:
    when = datetime.fromisoformat(at)
    return [(one.receiver, one.is_told) for one in delivery.deliveries(config, labels, at=when)]


def test_an_owner_has_what_it_extends_and_tickets_wait_for_office_hours(config: configuration.Config) -> None:
    ticket = {"alertname": "A", "owner": "ml", "severity": "ticket"}
    assert told(config, "2026-11-25T10:00:00+01:00", **ticket) == [("ml-ticket", True)]
    assert told(config, "2026-11-25T20:00:00+01:00", **ticket) == [("ml-ticket", False)]
    assert told(config, "2026-11-25T20:00:00+01:00", **ticket | {"severity": "page"}) == [("ml-page", True)]
    assert config.integrations("ml-ticket") == ("pagerduty", "webhook")
    assert config.integrations("base-page") == ("pagerduty",)


@pytest.mark.parametrize(
    ("at", "awake"),
    [
        ("2026-12-31T21:59:59+01:00", True),
        ("2026-12-31T22:00:00+01:00", False),
        ("2027-01-01T12:00:00+00:00", False),
        ("2027-01-02T03:29:59+01:00", False),
        ("2027-01-02T03:30:00+01:00", True),
    ],
)
def test_maintenance_mutes_its_labels_from_begin_to_end_over_the_year(
    config: configuration.Config, at: str, awake: bool
) -> None:
    page = {"alertname": "A", "owner": "ml", "severity": "page", "model": "fraud"}
    assert told(config, at, **page) == [("ml-page", awake)]
    assert told(config, at, **page | {"model": "else"}) == [("ml-page", True)]


MANY = {
    "owners": {name: {"page": ["oncall"], "ticket": ["chat"]} for name in ("ml", "other")},
    "plane_owner": "ml",
    "maintenance": [
        {"name": "team", "from": "2027-01-01T00:00:00Z", "to": "2027-01-02T00:00:00Z", "labels": {"owner": "ml"}},
        {"name": "pages", "from": "2027-01-03T00:00:00Z", "to": "2027-01-04T00:00:00Z", "labels": {"severity": "page"}},
        {
            "name": "others-tickets",
            "from": "2027-01-05T00:00:00Z",
            "to": "2027-01-06T00:00:00Z",
            "labels": {"owner": "other", "severity": "ticket"},
        },
        {
            "name": "alert",
            "from": "2027-01-07T00:00:00Z",
            "to": "2027-01-08T00:00:00Z",
            "labels": {"alertname": "ModelNoData"},
        },
        {"name": "model", "from": "2027-01-09T00:00:00Z", "to": "2027-01-10T00:00:00Z", "labels": {"model": "fraud"}},
    ],
}
DAYS = {"team": 1, "pages": 3, "others-tickets": 5, "alert": 7, "model": 9}


@pytest.mark.parametrize("alert", ["ModelNoData", "ModelErrorBudgetBurn"])
@pytest.mark.parametrize("model", ["fraud", "else"])
@pytest.mark.parametrize("severity", ["page", "ticket"])
@pytest.mark.parametrize("owner", ["ml", "other"])
def test_an_alert_under_several_maintenances_is_muted_by_each(
    make_platform, alert: str, model: str, severity: str, owner: str
) -> None:
    platform = make_platform(**MANY)
    config = configuration.parse(yamlfile.dump(generate.alertmanager_config(platform)), "a.yml")
    labels = {"alertname": alert, "model": model, "severity": severity, "owner": owner}
    muted = {one.name for one in platform.maintenance if one.labels.items() <= labels.items()}
    for name, day in DAYS.items():
        assert told(config, f"2027-01-0{day}T12:00:00Z", **labels) == [(f"{owner}-{severity}", name not in muted)]


def test_check_has_no_complaint_of_routes_we_wrote_ourselves(make_document, tmp_path: Path) -> None:
    document = make_document(**MANY, alertmanager={"version": "0.28"})
    for model in document["models"]:
        model.pop("slos")
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    assert linter.problems(*load.load_with_places(tmp_path / "platform.yaml")) == []
    document["maintenance"][0]["labels"]["owner"] = "m"
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidInputError, match=r"labels.owner: there is no owner 'm'; did you mean ml"):
        load.load_platform(tmp_path / "platform.yaml")


@pytest.mark.parametrize(
    ("at", "awake"),
    [
        ("2026-11-27T21:59:00+00:00", True),  # Friday
        ("2026-11-27T22:00:00+00:00", False),
        ("2026-11-29T05:59:00+00:00", False),  # Sunday morning belongs to Saturday's night
        ("2026-11-29T06:00:00+00:00", True),
        ("2026-11-30T03:00:00+00:00", True),  # Monday's does not
    ],
)
def test_a_time_range_over_midnight_goes_on_a_day_later(config: configuration.Config, at: str, awake: bool) -> None:
    assert told(config, at, alertname="A", owner="ml", severity="page", model="other") == [("ml-page", awake)]


def test_the_deadman_reaches_nobody_and_strangers_reach_the_operator(config: configuration.Config) -> None:
    assert told(config, "2026-11-25T10:00:00+01:00", alertname="MidwatchDeadman", severity="none") == [
        ("nobody", False)
    ]
    assert told(config, "2026-11-25T10:00:00+01:00", alertname="Stranger") == [("unrouted", True)]


def test_a_page_silences_its_own_ticket_only_and_never_through_a_missing_label(make_platform, make_document) -> None:
    models = make_document()["models"]
    models[0]["slos"].append({"name": "v", "sli": "availability", "objective": "99%", "by": ["version"]})
    config = configuration.parse(yamlfile.dump(generate.alertmanager_config(make_platform(models=models))), "a.yml")

    def silenced(page: dict, ticket: dict) -> bool:
        return delivery.inhibited_by(config, ticket | {"severity": "ticket"}, [page | {"severity": "page"}]) is not None

    plain, versioned = {"model": "fraud", "slo": "latency"}, {"model": "fraud", "slo": "v", "version": "v1"}
    assert silenced(plain, plain)
    assert silenced(versioned, versioned)
    assert silenced(plain | {"version": "v2"}, plain), "a page of one version is the objective's page, too"
    assert not silenced(plain, plain | {"slo": "accuracy"})
    assert not silenced(plain, plain | {"model": "other"})
    assert not silenced(versioned, versioned | {"version": "v2"})
    assert not silenced({"model": "fraud"}, {"model": "fraud"})
    assert not silenced({}, {})


# The cluster ---------------------------------------------------------------------------------------------------------


def test_a_secret_holds_the_whole_configuration_and_rules_are_objects(make_platform) -> None:
    files = kubernetes.render_objects(make_platform())
    secret = yaml.safe_load(files["kubernetes/alertmanager.yaml"])
    rendered = render.render_files(make_platform())
    assert secret["kind"] == "Secret"
    assert secret["stringData"]["alertmanager.yaml"] == rendered["alertmanager/alertmanager.yml"]
    rule = yaml.safe_load(files["kubernetes/rules-model-fraud.yaml"])
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(rendered["prometheus/rules/model-fraud.yml"])
    assert len(rule["metadata"]["name"]) <= 253


def test_alertmanagerconfig_takes_secrets_of_the_operators_folder_and_refuses_others(make_platform) -> None:
    def spec(key: str, **changes: object) -> dict:
        channels = {"oncall": {"pagerduty": {"routing_key_file": key}}, "chat": {"webhook": {"url": "http://a/"}}}
        made = {"kubernetes": "alertmanagerconfig", "version": "0.25"}
        files = kubernetes.render_objects(make_platform(channels=channels, alertmanager=made, **changes))
        return yaml.safe_load(files["kubernetes/alertmanagerconfig.yaml"])["spec"]

    found = spec("/etc/alertmanager/secrets/pd/key")
    (page,) = (one for one in found["receivers"] if one["name"] == "ml-page")
    (pagerduty,) = page["pagerdutyConfigs"]
    assert (pagerduty["routingKey"], pagerduty["sendResolved"]) == ({"name": "pd", "key": "key"}, True)
    assert pagerduty["clientURL"] == "{{ (index .Alerts 0).Annotations.dashboard_url }}"
    assert {"key": "owner", "value": "{{ .CommonLabels.owner }}"} in pagerduty["details"]
    assert found["route"]["routes"][1]["matchers"][0] == {"name": "owner", "matchType": "=", "value": "ml"}
    assert found["inhibitRules"][0]["equal"] == ["model", "slo"]
    with pytest.raises(InvalidInputError, match="names no Kubernetes Secret"):
        spec("/run/secrets/pd")
    with pytest.raises(InvalidInputError, match="no time zones"):
        spec("/etc/alertmanager/secrets/pd/key", owners=PLATFORM["owners"], time_intervals=PLATFORM["time_intervals"])


def test_in_an_alertmanager_of_the_cluster_only_our_alerts_are_ours(make_platform) -> None:
    hook = {"webhook": {"url": "http://a/"}}
    made = {"kubernetes": "alertmanagerconfig", "version": "0.28"}
    files = kubernetes.render_objects(make_platform(alertmanager=made, channels={"oncall": hook, "chat": hook}))
    found = yaml.safe_load(files.pop("kubernetes/alertmanagerconfig.yaml"))["spec"]
    ours = {"name": kubernetes.OURS, "matchType": "=", "value": "test"}
    assert found["route"]["matchers"] == [ours]
    assert found["inhibitRules"]
    assert all(ours in one[side] for one in found["inhibitRules"] for side in ("sourceMatch", "targetMatch"))
    rules = [
        rule for text in files.values() for group in yaml.safe_load(text)["spec"]["groups"] for rule in group["rules"]
    ]
    labels = [rule["labels"].get(kubernetes.OURS) for rule in rules if "alert" in rule]
    assert labels and set(labels) == {"test"}
    assert not [rule for rule in rules if "record" in rule and kubernetes.OURS in rule.get("labels", {})]


def test_where_the_alertmanager_is_ours_alerts_need_no_further_label(make_platform) -> None:
    files = kubernetes.render_objects(make_platform(alertmanager={"version": "0.28"}))
    assert kubernetes.OURS not in "".join(files.values())
