"""`alertmanager.base`: an existing alertmanager.yml keeps what it says, and our routes stand before its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts import check, kubernetes, render
from alerts.routing import configuration, delivery
from midwatch.errors import InvalidInputError
from midwatch.spec import load
from tests.conftest import platform_document

EXISTING = """\
global: {resolve_timeout: 5m, slack_api_url_file: /run/secrets/slack}
route:
  receiver: theirs
  group_by: ['...']
  routes:
  - {receiver: everything, matchers: ['severity=~".+"']}
receivers:
- name: theirs
- name: everything
  webhook_configs: [{url: "http://127.0.0.1:2", max_alerts: 010}]
templates: [/etc/alertmanager/*.tmpl]
"""


def read(tmp_path: Path, existing: str, **changes: Any) -> Any:
    (tmp_path / "existing.yml").write_text(existing)
    alertmanager = {"base": "existing.yml", "version": "0.28"}
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(platform_document(alertmanager=alertmanager, **changes)))
    return load.load_with_places(tmp_path / "platform.yaml")


def test_ours_is_taken_by_our_routes_and_all_else_goes_where_it_went(tmp_path: Path) -> None:
    platform, document = read(tmp_path, EXISTING)
    assert check.check_tuning(platform, document) == []
    text = render.render_files(platform)["alertmanager/alertmanager.yml"]
    config = configuration.parse(text, "a.yml")

    def receivers(**labels: str) -> list[str]:
        return [one.receiver for one in delivery.deliveries(config, labels)]

    assert receivers(alertname="A", owner="ml", severity="page") == ["ml-page"]
    assert receivers(alertname="MidwatchDeadman", severity="none") == ["nobody"]
    assert receivers(alertname="A", owner="stranger", severity="page") == ["everything"]
    assert receivers(alertname="A") == ["theirs"]
    assert "max_alerts: 010" in text
    found = yaml.safe_load(text)
    assert found["templates"] == ["/etc/alertmanager/*.tmpl"]
    ours = [route for route in found["route"]["routes"] if route["receiver"] != "everything"]
    assert all({"group_by", "group_wait", "group_interval", "repeat_interval"} <= route.keys() for route in ours)
    assert all("..." not in route["group_by"] for route in ours)
    secret = yaml.safe_load(kubernetes.render_objects(platform)["kubernetes/alertmanager.yaml"])
    assert secret["stringData"]["alertmanager.yaml"] == text


def test_a_demonstration_tells_nobody_of_the_existing_file(tmp_path: Path) -> None:
    platform, _ = read(tmp_path, EXISTING)
    assert "everything" not in render.render_files(platform, sink_url="http://x")["alertmanager/alertmanager.yml"]


@pytest.mark.parametrize(
    ("existing", "said"),
    [
        (EXISTING.replace("name: theirs", "name: ml-page"), "it has a receiver 'ml-page', and Midwatch writes another"),
        ("receivers: [{name: a}]\n", "it has no route with a receiver"),
        ("", "it has no route with a receiver"),
        (
            EXISTING + "mute_time_intervals: [{name: move, time_intervals: [{months: [may]}]}]\n",
            "it has a time interval 'move', and Midwatch writes another",
        ),
    ],
    ids=["receiver", "no route", "empty", "interval"],
)
def test_names_of_both_and_a_file_without_a_root_are_told(tmp_path: Path, existing: str, said: str) -> None:
    times = {"from": "2027-01-01T00:00:00Z", "to": "2027-01-02T00:00:00Z"}
    maintenance = [{"name": "move", **times, "labels": {"model": "fraud"}}]
    platform, document = read(tmp_path, existing, maintenance=maintenance)
    with pytest.raises(InvalidInputError, match=r"alertmanager\.base: ") as caught:
        check.ensure_tuning(platform, document)
    assert said in str(caught.value)
