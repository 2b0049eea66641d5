"""Routing in process: what amtool says, and what it does not know: time, inhibition, grouping."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from alerts.routing import configuration, delivery, matchers
from benchmarks import routing_cases
from midwatch.errors import InvalidInputError
from tests.conftest import need_program

CONFIG = """
route:
  receiver: default
  group_by: [alertname]
  group_interval: 3m
  repeat_interval: 10m
  routes:
    - matchers: [severity="page"]
      receiver: phone
      continue: true
      mute_time_intervals: [upgrade]
      group_by: ['...']
    - matchers: [severity=~"page|ticket"]
      receiver: chat
      active_time_intervals: [office]
receivers:
  - name: default
  - name: phone
    webhook_configs: [{url: "http://127.0.0.1:1/"}]
  - name: chat
    webhook_configs: [{url: "http://127.0.0.1:1/"}]
inhibit_rules:
  - {source_matchers: [severity="page"], target_matchers: [severity=~"page|ticket"], equal: [slo]}
time_intervals:
  - name: office
    time_intervals:
      - {times: [{start_time: "08:00", end_time: "16:00"}], weekdays: ["monday:friday"], location: Europe/Oslo}
  - name: upgrade
    time_intervals: [{days_of_month: ["-1"], months: ["february"]}]
"""


@pytest.fixture
def config() -> configuration.Config:
    return configuration.parse(CONFIG, "a.yml")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("seed", range(10))
def test_receivers_are_those_that_amtool_names(seed: int, tmp_path: Path) -> None:
    need_program("amtool")
    text = routing_cases.config(seed)
    file = tmp_path / "alertmanager.yml"
    file.write_text(text)
    config = configuration.load(file)
    for labels in routing_cases.labels(seed, 8):
        assert delivery.receivers(config, labels) == routing_cases.amtool_receivers(file, labels), labels


@pytest.mark.parametrize(
    ("when", "awake"),
    [
        ("2026-07-01T06:00:00+00:00", True),  # 08:00 in Oslo, where it is summer
        ("2026-12-01T06:00:00+00:00", False),
        ("2026-12-01T15:00:00+00:00", False),  # 16:00 is over
        ("2026-12-01T14:59:59+00:00", True),
        ("2026-12-06T09:00:00+00:00", False),  # a Sunday
    ],
)
def test_an_active_interval_is_in_its_own_time_zone(config: configuration.Config, when: str, awake: bool) -> None:
    (only,) = delivery.deliveries(config, {"severity": "ticket"}, at=at(when))
    assert (only.receiver, only.is_told, only.inactive) == ("chat", awake, () if awake else ("office",))


def test_a_muted_route_still_matches(config: configuration.Config) -> None:
    phone, chat = delivery.deliveries(config, {"severity": "page"}, at=at("2026-02-28T09:00:00+00:00"))
    assert (phone.receiver, phone.muted_by, phone.is_told) == ("phone", "upgrade", False)
    assert chat.receiver == "chat"
    phone, _ = delivery.deliveries(config, {"severity": "page"}, at=at("2028-02-28T09:00:00+00:00"))
    assert phone.muted_by is None, "2028 has a 29th of February"


def test_an_inhibition_silences_what_it_names_and_a_missing_label_equals_an_empty_one(
    config: configuration.Config,
) -> None:
    page, ticket = {"severity": "page", "slo": "a"}, {"severity": "ticket", "slo": "a"}
    (found,) = delivery.deliveries(config, ticket, firing=[page])
    assert found.inhibited_by is not None
    assert not found.is_told
    assert delivery.inhibited_by(config, {"severity": "ticket", "slo": "b"}, [page]) is None
    assert delivery.inhibited_by(config, {"severity": "ticket"}, [{"severity": "page", "slo": ""}]) is not None


def test_an_alert_that_both_sides_match_is_not_inhibited_by_another_such(config: configuration.Config) -> None:
    assert delivery.inhibited_by(config, {"severity": "page", "b": "1"}, [{"severity": "page", "b": "2"}]) is None


def test_groups_and_rounded_repeats_are_told(config: configuration.Config) -> None:
    phone, chat = delivery.deliveries(config, {"severity": "page", "alertname": "A", "x": "1"})
    assert phone.group == {"severity": "page", "alertname": "A", "x": "1"}
    assert chat.group == {"alertname": "A"}
    assert chat.repeats_every == 720.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{foo = "bar", dings != "bums", }', [("foo", "=", "bar"), ("dings", "!=", "bums")]),
        ("foo=bar,dings!=bums", [("foo", "=", "bar"), ("dings", "!=", "bums")]),
        (r'quote="She said: \"Hi, ladies!\""', [("quote", "=", 'She said: "Hi, ladies!"')]),
        ('statuscode=~"5.."', [("statuscode", "=~", "5..")]),
        (r'a="\d"', [("a", "=", r"\d")]),
        ('"ünï"="x"', [("ünï", "=", "x")]),
    ],
)
def test_matchers_are_read_as_alertmanager_reads_them(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert [(one.name, one.operator, one.value) for one in matchers.parse(text)] == expected


@pytest.mark.parametrize("text", ['a="b', 'a=b"c', "=x", 'a==~"("', 'a=~"("'])
def test_matchers_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(matchers.MatcherError):
        matchers.parse(text)


def test_what_alertmanager_would_not_load_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    file.write_text(
        "route:\n  receiver: a\n  matchers: [a=b]\n  routes:\n  - receiver: b\n    mute_time_intervals: [x]\n"
        '  - matchers: [a=~"("]\n    group_wait: soon\nreceivers:\n- name: a\n- name: a\n'
    )
    with pytest.raises(InvalidInputError) as caught:
        configuration.load(file)
    text = str(caught.value)
    for expected in (
        ":1:",
        "may not have matchers",
        "no receiver 'b'",
        "no time interval 'x'",
        "RE2",
        "soon",
        "second receiver",
    ):
        assert expected in text, (expected, text)
    file.write_text("route: [")
    with pytest.raises(InvalidInputError, match="not YAML"):
        configuration.load(file)
