"""Panels drawn from a live Prometheus: each kind, what cannot be drawn, and what a change has changed."""

from __future__ import annotations

import copy
import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import reader, render
from dashboards.preview import answers, compare, drawings, fields, kinds, shown, transformations, units
from dashboards.preview.answers import Answer, Series
from dashboards.preview.compare import ChangeKind
from dashboards.preview.shown import Status
from dashboards.schema import panels as schema_panels
from dashboards.verify import TimeRange
from tests.conftest import midwatch_here
from tests.dashboards.test_documents import file_document, whole

NAN = math.nan


def requests(model: str, version: str) -> str:
    return f'ml_requests_total{{model="{model}",version="{version}",outcome="ok"}}'


SERIES = {
    requests("fraud", "v1"): lambda point: point * 10,
    requests("fraud", "v2"): lambda point: point,
    requests("price", "<b>v1</b>"): lambda point: point,
    'ml_request_duration_seconds_bucket{model="fraud",version="v1",le="0.1"}': lambda point: point * 8,
    'ml_request_duration_seconds_bucket{model="fraud",version="v1",le="+Inf"}': lambda point: point * 10,
    'ml_drift_windows_total{model="fraud",version="v1",verdict="stable"}': lambda point: point,
    'ml_drift_windows_total{model="fraud",version="v1",verdict="drift"}': lambda point: max(0, point - 30),
    'ml_drift_effect{model="fraud",version="v1",feature="x",method="ks"}': lambda _: 0.1,
    'ml_drift_votes{model="fraud",version="v1"}': lambda point: point // 30,
    'ml_drift_quorum{model="fraud"}': lambda _: 2,
    'ml_drift_detected{model="fraud",version="v1"}': lambda point: point // 30,
}


@pytest.fixture(scope="module")
def dashboards(past) -> dict[str, shown.ShownDashboard]:
    """The pages of models, drift and the fleet."""
    previewer = previewing(past)
    documents = {one["uid"].rsplit("-", 1)[1]: one for one in render.documents(whole())}
    return {name: previewer.show(documents[name]) for name in ("model", "drift", "fleet")}


def previewing(past, most: int = 500, **chosen: str) -> shown.Previewer:
    time = TimeRange(end=past.end, since=600, scrape=15, points=120)
    return shown.Previewer(answers.Bounded(past.client, most), time, chosen)


def of(dashboard: shown.ShownDashboard, title: str) -> list[shown.Shown]:
    return [one for one in dashboard.panels if one.panel.title == title]


def test_lines_have_names_units_and_the_promise_as_a_dashed_line(dashboards) -> None:
    first, second = of(dashboards["model"], "How much traffic does it get?")
    assert (first.values["model"], second.values["model"]) == ("fraud", "price")
    chart = first.drawing.chart
    assert {line.name for line in chart.lines} == {"v1", "v2"}
    assert chart.unit == "per_second"
    votes = of(dashboards["drift"], "How many methods vote for drift?")[0].drawing.chart
    assert [(line.name, line.is_dashed) for line in votes.lines] == [("v1", False), ("quorum", True)]


def test_states_a_table_and_a_heatmap_are_drawn(dashboards) -> None:
    said = of(dashboards["drift"], "What did each window say?")[0].drawing
    assert isinstance(said, drawings.Strips)
    assert {one.text for strip in said.strips for one in strip.stretches} <= {"● stable", "▲ drift"}
    assert [text for text, _ in said.legend] == ["● stable", "▲ drift"]
    effects = of(dashboards["drift"], "How far is each feature from the reference?")
    assert [(one.values["method"], one.drawing.strips[0].name) for one in effects] == [("ks", "x")]
    table = of(dashboards["fleet"], "Which model is worst off?")[0].drawing
    assert isinstance(table, drawings.Rows)
    assert {row[0].text for row in table.rows} == {"fraud", "price"}


def test_a_panel_without_data_says_so_and_why(dashboards) -> None:
    empty = next(one for one in dashboards["model"].panels if one.status is Status.EMPTY)
    assert "no series for these labels: ml_request_duration_seconds_bucket" in empty.reason
    assert empty.queries["A"]
    assert shown.judge([empty], strict=False) == 3


def test_what_loki_is_asked_is_not_drawn_and_says_so(dashboards) -> None:
    other = [one for one in dashboards["model"].panels if one.panel.datasource != "prometheus"]
    assert {one.status for one in other} == {Status.NOT_DRAWN}
    assert all("is not asked" in one.reason for one in other)


def test_prometheus_is_asked_a_bounded_number_of_times(past) -> None:
    document = next(one for one in render.documents(whole()) if one["uid"].endswith("drift"))
    found = previewing(past, most=12).show(document)
    assert "not asked: 12 queries were" in found.panels[-1].reason
    assert shown.judge(found.panels, strict=False) == 1


def test_every_kind_of_panel_that_our_dashboards_have_is_drawn() -> None:
    modelled = {one.model_fields["type"].annotation.__args__[0] for one in schema_panels._Panel.__subclasses__()}
    assert modelled - {"logs"} <= kinds.drawers().keys()
    assert {"gauge", "bargauge"} <= kinds.drawers().keys()


# Each kind by itself --------------------------------------------------------------------------------------------------


def series(ref: str, *values: float, format: str = "time_series", **labels: str) -> Series:  # noqa: A002 - Grafana's word
    return Series(ref=ref, labels=labels, name="/".join(labels.values()) or ref, values=values, format=format)


def drawn(kind: str, *found: Series, panel: dict[str, Any] | None = None) -> Any:
    refs = dict.fromkeys(one.ref for one in found)
    document = {"title": "t", "targets": [{"refId": ref} for ref in refs], **(panel or {})}
    times = [60.0 * place for place in range(len(found[0].values))]
    return kinds.drawers()[kind](Answer(panel=document, times=times, series=found, queries={}))


def config(**defaults: Any) -> dict[str, Any]:
    return {"fieldConfig": {"defaults": defaults, "overrides": []}}


STEPS = {"mode": "absolute", "steps": [{"value": None, "color": "#0072B2"}, {"value": 0.5, "color": "#D55E00"}]}


def test_a_gauge_is_filled_by_its_range_and_coloured_by_its_threshold() -> None:
    panel = config(unit="percentunit", min=0, max=1, thresholds=STEPS)
    for kind in ("gauge", "bargauge"):
        low, high = drawn(kind, series("A", 0.25, v="1"), series("A", 0.75, v="2"), panel=panel).figures
        assert (low.text, low.filled, low.colour) == ("25%", 0.25, "#0072B2")
        assert (high.text, high.filled, high.colour) == ("75%", 0.75, "#D55E00")


def test_buckets_of_a_histogram_are_told_apart_the_largest_on_top() -> None:
    rows = drawn(
        "heatmap",
        series("A", 1, 2, format="heatmap", le="0.1"),
        series("A", 5, 6, format="heatmap", le="+Inf"),
        panel={"options": {"yAxis": {"unit": "s"}}},
    ).strips
    assert [(row.name, row.last) for row in rows] == [("beyond", "4"), ("≤ 100 ms", "2")]
    assert rows[0].stretches[0].opacity == 1.0


def test_equal_states_are_one_stretch_and_what_is_unknown_is_a_gap() -> None:
    strip = drawn("state-timeline", series("A", 1, 1, NAN, 1, 2)).strips[0]
    assert [(one.x, one.width, one.text) for one in strip.stretches] == [
        (0, 400, "1"),
        (600, 200, "1"),
        (800, 200, "2"),
    ]
    assert len(drawn("status-history", series("A", 1, 1, NAN, 1, 2)).strips[0].stretches) == 4


def test_stacked_lines_stand_on_each_other_and_many_are_left_out_by_number() -> None:
    panel = config(custom={"stacking": {"mode": "normal"}})
    lines = drawn("timeseries", series("A", 1, NAN, v="1"), series("A", 2, 2, v="2"), panel=panel).chart.lines
    assert [line.values for line in lines] == [[1, 0], [3, 2]]
    many = drawn("timeseries", *(series("A", place, v=str(place)) for place in range(25)))
    assert (len(many.chart.lines), many.note) == (20, "5 lines more in Grafana, with smaller values")
    assert many.chart.lines[0].name == "5"


def test_bars_stand_beside_each_other_by_the_named_column() -> None:
    panel = {"options": {"xField": "group"}, "transformations": [{"id": "merge"}, renaming(A="before", B="now")]}
    chart = drawn("barchart", series("A", 1, group="x"), series("B", 2, group="x"), panel=panel).chart
    assert (chart.names, [(one.name, one.values) for one in chart.series]) == (["x"], [("before", [1]), ("now", [2])])


def renaming(**names: str) -> dict[str, Any]:
    columns = {f"Value #{ref}": name for ref, name in names.items()}
    return {"id": "organize", "options": {"renameByName": columns, "excludeByName": {"Time": True}}}


def test_tables_are_joined_renamed_and_sorted_and_states_keep_their_text() -> None:
    panel = {
        "transformations": [{"id": "merge"}, renaming(A="Accuracy", B="Says")],
        "options": {"sortBy": [{"displayName": "Accuracy", "desc": True}]},
        "fieldConfig": {
            "defaults": {},
            "overrides": [
                {
                    "matcher": {"id": "byName", "options": "Says"},
                    "properties": [
                        {
                            "id": "mappings",
                            "value": [
                                {
                                    "type": "range",
                                    "options": {
                                        "from": None,
                                        "to": 0,
                                        "result": {"text": "▼", "color": "#D55E00", "index": 0},
                                    },
                                },
                                {"type": "value", "options": {"1": {"text": "●", "color": "#0072B2", "index": 1}}},
                            ],
                        }
                    ],
                },
                {
                    "matcher": {"id": "byName", "options": "Accuracy"},
                    "properties": [{"id": "unit", "value": "percentunit"}],
                },
            ],
        },
    }
    found = [
        series("A", 0.5, model="a"),
        series("A", 0.9, model="b"),
        series("B", 1, model="a"),
        series("B", -1, model="b"),
    ]
    table = drawn("table", *found, panel=panel)
    assert table.header == ["model", "Accuracy", "Says"]
    assert [[cell.text for cell in row] for row in table.rows] == [["b", "90%", "▼"], ["a", "50%", "●"]]
    assert table.rows[0][2].colour == "#D55E00"


def test_a_transformation_that_is_not_known_is_named() -> None:
    with pytest.raises(transformations.UnknownTransformationError, match="groupBy"):
        drawn("table", series("A", 1, model="a"), panel={"transformations": [{"id": "groupBy"}]})


def test_sorting_keeps_what_has_no_value_last() -> None:
    rows = [{"x": NAN}, {"x": 1.0}, {}, {"x": 2.0}]
    assert [row.get("x") for row in transformations.ordered(rows, "x", is_descending=True)][:2] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [("percent", 25, "25%"), ("ms", 1500, "1.5 s"), ("d", 2, "2 d"), ("none", 3, "3"), ("celsius", 3, "3 celsius")],
)
def test_values_are_said_by_grafanas_units(unit: str, value: float, text: str) -> None:
    assert units.said(value, unit) == text
    assert fields.look_of(config(unit=unit)).text(value) == text


# What a change has changed --------------------------------------------------------------------------------------------


def edited(document: dict[str, Any]) -> dict[str, Any]:
    """A page with a query and a threshold changed, a panel renamed, one removed and one added."""
    after = copy.deepcopy(document)
    first, second, third, *_ = [one for one in after["panels"] if one["type"] != "row"]
    first["targets"][0]["expr"] += " * 2"
    first["fieldConfig"]["defaults"]["thresholds"]["steps"].append({"value": 9, "color": "#D55E00"})
    second["title"], second["id"] = "Renamed", 17
    after["panels"].remove(third)
    after["panels"].append(
        {**copy.deepcopy(first), "id": 18, "title": "New", "targets": [{**first["targets"][0], "expr": "up"}]}
    )
    return after


def test_a_change_is_told_panel_by_panel() -> None:
    document = next(one for one in render.documents(whole()) if one["uid"].endswith("objectives"))
    panels = list(reader.panels(document))
    found = compare.changes([document], [edited(document)])
    assert {(one.kind, one.panel.title) for one in found} >= {
        (ChangeKind.CHANGED, "Renamed"),
        (ChangeKind.ADDED, "New"),
    }
    (changed,) = [one for one in found if one.after and one.after.id == panels[0].id]
    assert [one.what for one in changed.differences] == ["query A", "thresholds"]
    assert changed.differences[0].after == f"{changed.differences[0].before} * 2"
    (renamed,) = [one for one in found if one.after and one.after.title == "Renamed"]
    assert [(one.what, one.before) for one in renamed.differences] == [("title", renamed.before.title)]
    assert [one.panel.title for one in found if one.kind is ChangeKind.REMOVED] == [
        [one for one in document["panels"] if one["type"] != "row"][2]["title"]
    ]
    moved = copy.deepcopy(document)
    for panel in moved["panels"]:
        panel["gridPos"]["y"] += 1
    assert compare.changes([document], [moved]) == []


def test_a_whole_dashboard_comes_and_goes() -> None:
    first, second, *_ = render.documents(whole())
    found = compare.changes([first], [second])
    assert {(one.kind, one.dashboard["uid"]) for one in found} == {
        (ChangeKind.ADDED, second["uid"]),
        (ChangeKind.REMOVED, first["uid"]),
    }


@pytest.fixture
def platform(tmp_path: Path) -> Path:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(file_document()))
    return file


def preview(platform: Path, past, *options: object) -> subprocess.CompletedProcess[str]:
    words = ("dashboards", "preview", "-f", platform, "-o", platform.parent / "out", "--prometheus", past.url)
    return midwatch_here(*words, "--dashboard", "drift", "--since", "10m", "--json", *options)


def test_the_command_writes_pages_and_one_document(past, platform: Path) -> None:
    done = preview(platform, past)
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit"]) == (0, 0)
    page = Path(document["dashboards"][0]["file"]).read_text()
    assert "What did each window say?" in page
    assert not re.search(r"""(src|href)=["']https?:|\sstyle=|\son\w+=""", page)
    assert (platform.parent / "out/index.html").read_text().count("Drift · test") > 0
    assert 0 < document["queries"] < 100
    assert preview(platform, past, "--strict").returncode == 1


def test_the_command_compares_with_rendered_files_and_with_git(past, platform: Path) -> None:
    before = platform.parent / "before"
    before.mkdir()
    for document in render.documents(whole()):
        if document["uid"].endswith("drift"):
            (before / "drift.json").write_text(json.dumps(edited(document)))
    git = ("git", "-C", str(platform.parent), "-c", "user.name=x", "-c", "user.email=x@x")
    for words in (("init", "-q"), ("add", "platform.yaml", "before"), ("commit", "-qm", "x")):
        subprocess.run([*git, *words], check=True, capture_output=True)
    for against in (str(before), "HEAD:before"):
        document = json.loads(preview(platform, past, "--against", against).stdout)
        kinds_of = [one["kind"] for one in document["dashboards"][0]["changes"]]
        assert sorted(set(kinds_of)) == ["added", "changed", "removed"]
        page = (platform.parent / "out" / "midwatch-test-drift.html").read_text()
        assert page.count('class="sides"') >= 2
        assert "Panels that were removed, as they were" in page
    document = json.loads(preview(platform, past, "--against", "HEAD").stdout)
    assert document["dashboards"][0]["changes"] == []


@pytest.mark.parametrize(
    "panels",
    [[{"id": 1, "type": "timeseries", "title": "x", "targets": [{"expr": "up"}]}], {"a": 1}, [None]],
    ids=["without a refId", "no list", "no panel"],
)
def test_a_dashboard_of_somebody_else_is_named_with_what_to_do(past, platform: Path, panels: Any) -> None:
    before = platform.parent / "before"
    before.mkdir()
    (before / "theirs.json").write_text(json.dumps({"uid": "theirs", "title": "Theirs", "panels": panels}))
    done = preview(platform, past, "--against", str(before))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "theirs.json: " in done.stderr
    assert "take it out of the folder" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--against", "no-such-revision"], "--against no-such-revision: "),
        (["--against", "-x"], "is neither a folder nor a revision in Git"),
        (["--dashboard", "drfit"], "--dashboard drfit: there is none; known: midwatch-test-fleet"),
        (["--since", "soon"], "--since"),
        (["--var", "model"], "write NAME=VALUE"),
    ],
    ids=["revision", "option", "dashboard", "time", "variable"],
)
def test_what_cannot_be_meant_is_one_line(past, platform: Path, options: list[str], said: str) -> None:
    done = preview(platform, past, *options)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert said in done.stderr


def test_a_prometheus_that_is_away_is_inconclusive(platform: Path) -> None:
    words = (
        "dashboards",
        "preview",
        "-f",
        platform,
        "-o",
        platform.parent / "out",
        "--prometheus",
        "http://127.0.0.1:9",
    )
    done = midwatch_here(*words)
    assert (done.returncode, "nothing was drawn" in done.stderr) == (3, True)
