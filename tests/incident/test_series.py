"""Changes that series show: the table of what is watched, and what of a series is a change."""

from __future__ import annotations

import re
from types import SimpleNamespace

import promql_parser
import pytest

from midwatch import catalogue, metrics
from midwatch.app.incident import watched
from midwatch.app.incident.asked import Asked
from midwatch.app.incident.sources import series
from midwatch.app.incident.watched import Look
from midwatch.prometheus import Line
from midwatch.spec import system_rules
from monitors.incident.records import Change, Kind
from tests.conftest import platform

LOOK = Look(first=0.0, last=600.0, step=60.0)

KNOWN_ELSEWHERE = {
    "prometheus_config_last_reload_success_timestamp_seconds",
    "alertmanager_config_last_reload_success_timestamp_seconds",
}
"""Metrics of Prometheus and Alertmanager that nothing else here asks for."""


def line(*values: float | None, **labels: str) -> Line:
    return Line(labels=labels, points=tuple((60.0 * at, value) for at, value in enumerate(values) if value is not None))


@pytest.mark.parametrize("row", series.WATCHED, ids=lambda row: row.what)
def test_every_watched_expression_is_promql_over_metrics_and_labels_that_exist(row: series.Watch) -> None:
    text = row.expr.replace("{job}", "j").replace("{step}", "1m").replace("{ours}", "A")
    promql_parser.parse(text)
    assert row.system == "" or row.system in system_rules.shipped()
    names = set(re.findall(r"\b[a-z][a-z_]+_[a-z_]+\b(?=[{\[)* ]|$)", text)) & set(catalogue.names())
    names |= {name for name in KNOWN_ELSEWHERE if name in text}
    assert names or "ALERTS" in text or "1 - up" in text
    kept = set(re.search(r"by \(([^)]*)\)", text).group(1).split(", ")) if " by (" in text else set()
    words = set(re.findall(r"\{(\w+)\}", row.what + row.undo)) - {"before", "after"}
    assert words | set(row.places) <= kept, "what is said of a change comes from labels that the answer has"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 0, 1, 1, 0, 0), [(60.0, 120.0, 240.0)]),
        ((None, None, 1, 1, 1, 1, 1, 1, 1, 1, 1), [(60.0, 120.0, None)]),
        ((1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1), [(120.0, 180.0, None)]),
        ((1, 1, 1), []),
    ],
    ids=["up and down", "not there before", "what was there at first is no change", "always"],
)
def test_what_rises_has_a_begin_between_two_looks_and_an_end(
    values: tuple[float | None, ...], expected: list[tuple[float, float, float | None]]
) -> None:
    found = [(turn.at, turn.latest, turn.ended) for turn in watched.risen(line(*values), LOOK)]
    assert found == expected


def test_what_appears_is_new_only_once_and_not_at_the_first_look() -> None:
    assert [turn.latest for turn in watched.appeared(line(None, None, 1, None, 1), LOOK)] == [120.0]
    assert list(watched.appeared(line(1, 1), LOOK)) == []


def test_each_other_value_is_a_change_with_what_was_before() -> None:
    assert [(turn.before, turn.after, turn.latest) for turn in watched.altered(line(3, 3, 5, 3), LOOK)] == [
        (3, 5, 120.0),
        (5, 3, 180.0),
    ]


def test_a_time_that_was_due_passes_at_that_time_and_is_over_with_the_next() -> None:
    due = line(130.0, 130.0, 130.0, 130.0, 900.0)
    assert [(turn.at, turn.ended) for turn in watched.passed(due, LOOK)] == [(130.0, 240.0)]
    assert list(watched.passed(line(130.0, 130.0, 700.0, 700.0), LOOK)) == [], "it was renewed in time"


def test_a_time_in_the_window_is_when_it_happened_to_the_second() -> None:
    assert [turn.at for turn in watched.stamped(line(-50.0, -50.0, 115.5, 115.5), LOOK)] == [115.5]


def asked(client: object) -> Asked:
    systems = {"kubernetes": {"owner": "ml", "targets": ["x:1"]}}
    return Asked(
        platform=platform(systems=systems),
        client=client,  # type: ignore[arg-type]
        start=0.0,
        end=600.0,
        step=60.0,
        first=0.0,
    )


def test_a_change_has_its_command_with_names_that_a_shell_takes_as_words() -> None:
    hostile = line(3, 5, namespace="ml", deployment="a; rm -rf $HOME")
    row = next(one for one in series.WATCHED if "spec_replicas" in one.expr)
    client = SimpleNamespace(query_range=lambda *_, **__: [hostile])
    (change,) = (one for one in series._changes(row, asked(client)) if isinstance(one, Change))
    assert change.kind is Kind.SCALING
    assert change.what == "a; rm -rf $HOME was scaled from 3 to 5 replicas"
    assert change.undo == "kubectl -n ml scale deployment 'a; rm -rf $HOME' --replicas=3"
    assert change.scope == {"namespace": "ml", "deployment": "a; rm -rf $HOME"}


def test_another_digest_of_the_platform_file_is_a_change_of_the_model_that_it_is_about() -> None:
    first = platform()
    later = platform(models=[first.models[0].model_copy(update={"runbook": "https://runbooks.example.com/x"})])
    assert first.digests.keys() == {"", "fraud"}
    assert first.digests[""] == later.digests[""]
    assert first.digests["fraud"] != later.digests["fraud"]
    before = line(1, 1, 1, model="fraud", digest=first.digests["fraud"])
    after = line(None, None, None, 1, 1, model="fraud", digest=later.digests["fraud"])
    row = next(one for one in series.WATCHED if metrics.PLATFORM_FILE.name in one.expr and "{model}" in one.what)
    client = SimpleNamespace(query_range=lambda *_, **__: [before, after])
    (change,) = (one for one in series._changes(row, asked(client)) if isinstance(one, Change))
    assert (change.kind, change.scope, change.latest) == (Kind.CONFIGURATION, {"model": "fraud"}, 180.0)
    assert later.digests["fraud"] in change.what


def test_what_is_said_of_no_model_has_a_digest_of_its_own_and_layout_has_none() -> None:
    assert platform().digests == platform().digests
    calmer = platform(incidents={"lookback": "3h"})
    assert calmer.digests["fraud"] == platform().digests["fraud"]
    assert calmer.digests[""] != platform().digests[""]


def test_more_series_than_are_looked_at_are_said() -> None:
    row = next(one for one in series.WATCHED if "spec_replicas" in one.expr)
    many = [line(3, 3, namespace="ml", deployment=str(number)) for number in range(series.MOST_SERIES + 1)]
    client = SimpleNamespace(query_range=lambda *_, **__: many)
    (left,) = series._changes(row, asked(client))
    assert "2001 series" in left.reason


def test_only_systems_that_the_platform_has_are_asked() -> None:
    sources = [question.source for question in series.questions(asked(None))]
    assert any("was scaled" in source for source in sources)
    assert not any("Karpenter" in source for source in sources)
