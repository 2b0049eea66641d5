"""Maintenance windows that overlap, are equal, or recur: an alert is muted whenever one that has its labels is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.lint import linter
from alerts.routing import configuration, delivery, generate
from midwatch import yamlfile
from midwatch.errors import InvalidInputError
from midwatch.spec import load
from tests.conftest import platform, platform_document

LABELS = {
    "owner": ["ml", "other"],
    "severity": ["page", "ticket"],
    "model": ["fraud", "else"],
    "alertname": ["ModelNoData", "ExporterDown"],
    "region": ["x", "y"],
}
BEGIN = datetime(2026, 12, 30, tzinfo=UTC)
HALF_HOURS = 200
"""Over the end of a month and of a year."""
NIGHT, HOURS = (22, 6), (9, 17)
INTERVALS = {
    "night": {"times": [{"from": "22:00", "to": "06:00"}]},
    "hours": {"times": [{"from": "09:00", "to": "17:00"}]},
}


def moment(half_hours: int) -> datetime:
    return BEGIN + timedelta(minutes=30 * half_hours)


LABEL_SETS = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in LABELS.items()})
ONCE = st.tuples(st.integers(0, HALF_HOURS), st.integers(1, 100)).map(
    lambda ends: {"from": moment(ends[0]).isoformat(), "to": moment(ends[0] + ends[1]).isoformat()}
)
TIMES = st.one_of(ONCE, st.sampled_from(sorted(INTERVALS)).map(lambda name: {"interval": name}))
WINDOWS = st.lists(st.tuples(LABEL_SETS.filter(bool), TIMES), min_size=1, max_size=5)
ALERTS = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in LABELS.items()})


def document(windows: list[tuple[dict[str, str], dict[str, str]]]) -> dict[str, Any]:
    """A platform file with these windows, and the first of them once more."""
    named = [
        {"name": f"w{number}", "labels": labels, **times}
        for number, (labels, times) in enumerate([*windows, windows[0]])
    ]
    owners = {name: {"page": ["oncall"], "ticket": ["chat"]} for name in LABELS["owner"]}
    return platform_document(owners=owners, plane_owner="ml", time_intervals=INTERVALS, maintenance=named)


def is_now(times: dict[str, str], at: datetime) -> bool:
    if "interval" not in times:
        return datetime.fromisoformat(times["from"]) <= at < datetime.fromisoformat(times["to"])
    begin, end = NIGHT if times["interval"] == "night" else HOURS
    return begin <= at.hour < end if begin < end else at.hour >= begin or at.hour < end


@settings(max_examples=60, derandomize=True)
@given(windows=WINDOWS, alerts=st.lists(st.tuples(ALERTS, st.integers(0, HALF_HOURS + 100)), min_size=20, max_size=20))
def test_an_alert_is_muted_just_while_some_window_with_its_labels_is(
    windows: list[tuple[dict[str, str], dict[str, str]]], alerts: list[tuple[dict[str, str], int]]
) -> None:
    text = yamlfile.dump(generate.alertmanager_config(platform(**document(windows))))
    config = configuration.parse(text, "alertmanager.yml")
    for labels, half_hours in alerts:
        at = moment(half_hours)
        (delivered,) = delivery.deliveries(config, labels, at=at)
        muted = any(wanted.items() <= labels.items() and is_now(times, at) for wanted, times in windows)
        assert bool(delivered.muted_by) == muted
        assert delivered.receiver == f"{labels['owner']}-{labels['severity']}", "muted or not, it is its owner's"


@settings(max_examples=10, derandomize=True)
@given(windows=WINDOWS)
def test_check_takes_what_windows_become_whatever_they_are(
    windows: list[tuple[dict[str, str], dict[str, str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("p") / "platform.yaml"
    file.write_text(yaml.safe_dump(document(windows)))
    assert linter.problems(*load.load_with_places(file)) == []


def test_maintenance_in_all_hours_of_an_owner_is_refused_where_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    changed = document([({"model": "fraud"}, {"interval": "hours"}), ({"owner": "ml"}, {"interval": "night"})])
    changed["owners"]["other"]["page_hours"] = "hours"
    file.write_text(yaml.safe_dump(changed))
    with pytest.raises(InvalidInputError) as refused:
        load.load_platform(file)
    assert [one.path for one in refused.value.problems] == ["maintenance[0].interval", "maintenance[2].interval"]
    assert "other is sent pages only in hours" in str(refused.value)
    changed["maintenance"] = [one | {"labels": {"owner": "ml"}} for one in changed["maintenance"]]
    file.write_text(yaml.safe_dump(changed))
    load.load_platform(file)


def test_so_many_different_windows_that_routes_explode_are_refused() -> None:
    windows = [({f"label{number}": "x"}, {"interval": "night"}) for number in range(20)]
    with pytest.raises(InvalidInputError, match="maintenance: over 1000 routes"):
        generate.alertmanager_config(platform(**document(windows)))
