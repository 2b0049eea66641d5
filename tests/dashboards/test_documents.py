"""The dashboards as Grafana loads them: every panel, variable and link, walked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from alerts.objectives import tiers
from dashboards import pages, reader, render, runbooks, style
from dashboards.pages import objectives
from dashboards.panels import PanelFactory
from midwatch import grafana, metrics, promql, signals
from midwatch.spec.model import Platform
from midwatch.spec.slo import Slo
from tests.conftest import platform, platform_document

DRIFT = {
    "reference": "r.npz",
    "window": "1m",
    "features": {"x": "numeric"},
    "retrain": {"webhook": {"url_file": "u", "secret_file": "s"}},
}
FAIR = {
    "attribute": "country",
    "within": "product",
    "measure": "demographic_parity",
    "difference": "5%",
    "public": True,
}
DRILL = {
    "recover_within": "2h",
    "drill": {"copies": "fraud", "url": "http://drill/", "requests": "r.jsonl", "inject": {"feature": "x", "shift": 1}},
}


def whole_document(**changes: Any) -> dict[str, Any]:
    """A platform that has everything a dashboard can show."""
    fraud = {
        "name": "fraud",
        "owner": "ml",
        "task": "classification",
        "positive": "yes",
        "groups": ["country", "product"],
        "slos": [
            {"name": "availability", "sli": "availability", "objective": "99.9%"},
            {"name": "latency", "sli": {"latency": {"threshold": "250ms"}}, "objective": "99%"},
            {"name": "accuracy", "sli": {"outcome": "correct"}, "objective": "80%", "window": "7d"},
        ],
        "drift": DRIFT,
        "loop": {"recover_within": "2h"},
        "fairness": [FAIR, FAIR | {"difference": None, "ratio": "80%"}],
        "explanations": {"by_group": True},
    }
    price = {"name": "price", "owner": "ml", "task": "regression", "slos": fraud["slos"][:1]}
    price |= {"drift": DRIFT, "loop": DRILL}
    kafka = {"brokers": ["kafka:9092"], "topics": ["events"]}
    return platform_document(**{"models": [fraud, price], "loop": {}, "exporter": {"kafka": kafka}} | changes)


def file_document() -> dict[str, Any]:
    """The same as a file may have it: nobody says where a registry is, so there is no drill of the loop."""
    document = whole_document()
    document["models"][1]["loop"] = {"recover_within": DRILL["recover_within"]}
    return document


def whole(**changes: Any) -> Platform:
    return Platform.model_validate(whole_document(**changes))


def with_canary() -> Platform:
    """The same platform, whose first model has canaries."""
    document = whole_document()
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors", "negligible": "1%"}]}
    return Platform.model_validate(document)


def with_servers() -> Platform:
    """The same platform with a language model, whose server counts its requests, and every promise of quality."""
    document = whole_document()
    fraud, price = document["models"]
    chat = {"name": "chat", "owner": "ml", "task": "generation", "serving": "vllm"}
    yes = {"class": "yes"}
    promised = {
        "precise": {"precision": yes},
        "complete": {"recall": yes},
        "both": {"f1": yes},
        "quiet": {"false_positive_rate": yes},
        "honest": {"calibration": {"at_most": "10%", "min_events": 1}},
        "labelled": {"labels": "arrived"},
    }
    amounts = {
        "near": {"absolute_error": {"within": 5}},
        "mean": {"mean_absolute_error": {"at_most": 2, "min_events": 1}},
    }
    fraud = fraud | {"slos": [*fraud["slos"], *(_slo(name, sli) for name, sli in promised.items())]}
    price = price | {"slos": [*price["slos"], *(_slo(name, sli) for name, sli in amounts.items())]}
    return Platform.model_validate({**document, "models": [fraud, price, chat]})


def _slo(name: str, sli: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "sli": sli, "objective": "90%"}


PAGES = [page.name for page in pages.every_page(PanelFactory(platform=whole()))]


@pytest.fixture(scope="module")
def documents() -> dict[str, dict]:
    return {made["uid"].rsplit("-", 1)[-1]: made for made in render.documents(whole())}


def panels(document: dict) -> Iterator[dict]:
    for panel in document["panels"]:
        yield from panel.get("panels", ()) if panel["type"] == "row" else [panel]


def every_panel(documents: dict[str, dict]) -> list[dict]:
    return [panel for document in documents.values() for panel in panels(document)]


def test_the_same_platform_gives_the_same_bytes() -> None:
    assert render.render_files(whole()) == render.render_files(whole())
    assert render.render_kubernetes(whole()) == render.render_kubernetes(whole())


def test_uids_stay_and_differ_for_platforms_with_long_names() -> None:
    names = ["a" * 63, "a" * 62 + "b", "a"]
    uids = [grafana.dashboard_uid(name, page) for name in names for page in PAGES]
    assert len(set(uids)) == len(uids)
    assert all(8 <= len(uid) <= grafana.MAX_UID for uid in uids)


def without_annotation_fields(document: dict) -> dict:
    """Grafana's model leaves an annotation's query to its data source: those fields are not in it."""
    kept = {"name", "datasource", "enable", "iconColor"}
    listed = [{key: one[key] for key in kept} for one in document["annotations"]["list"]]
    return document | {"annotations": {"list": listed}}


def missing(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours:
            yield from missing(ours[key], theirs.get(key, "missing"), f"{place}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from missing(one, other, f"{place}[{index}]")
    elif ours != theirs:
        yield f"{place}: {ours!r} became {theirs!r}"


@pytest.mark.parametrize("page", PAGES)
def test_grafanas_own_model_of_11_6_reads_every_dashboard_and_loses_nothing(documents, page: str) -> None:
    register_default_plugins()
    document = without_annotation_fields(documents[page])
    read = json.loads(json.dumps(Dashboard.from_json(document), cls=JSONEncoder))
    assert list(missing(document, read)) == []


def test_every_panel_has_a_unit_a_note_and_a_runbook_that_exists(documents) -> None:
    for panel in every_panel(documents):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        shows, act, runbook = panel["description"].split("\n\n")
        assert shows.endswith("."), panel["title"]
        assert act.startswith("**When it is bad:** "), panel["title"]
        name = runbook.removeprefix("[Runbook: ").partition("]")[0]
        assert Path("alerts/runbooks", f"{name}.md").is_file(), name
        assert panel["links"][0]["url"] == f"https://runbooks.invalid/{name}"


def test_every_panel_is_a_question_or_a_noun(documents) -> None:
    nouns = {"Pages firing", "Tickets firing", "Objectives breached", "Versions serving", "Requests", "Alerts known"}
    for panel in every_panel(documents):
        assert panel["title"].endswith("?") or panel["title"] in nouns, panel["title"]


def test_no_panel_is_angular(documents) -> None:
    today = {"timeseries", "stat", "table", "barchart", "state-timeline", "status-history", "heatmap", "logs"}
    assert {panel["type"] for panel in every_panel(documents)} == today


def test_no_colour_is_said_by_red_against_green(documents) -> None:
    def colours(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("color", "fixedColor", "iconColor") and isinstance(inner, str):
                    yield inner
                else:
                    yield from colours(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from colours(inner)

    ours = {style.GOOD, style.WATCH, style.BAD, style.UNDECIDED, style.BASELINE, style.CANARY, "transparent"}
    assert set(colours(list(documents.values()))) <= ours


def test_a_state_has_a_text_beside_its_colour(documents) -> None:
    for panel in every_panel(documents):
        for mapping in panel["fieldConfig"]["defaults"].get("mappings", []):
            options = mapping["options"]
            results = options.values() if mapping["type"] == "value" else [options["result"]]
            assert all(result["text"] for result in results), panel["title"]


def test_a_timeline_keeps_the_texts_of_its_states(documents) -> None:
    """Grafana replaces them where colours go by threshold."""
    for panel in every_panel(documents):
        if panel["type"] == "state-timeline":
            assert panel["fieldConfig"]["defaults"]["color"]["mode"] != "thresholds", panel["title"]
            assert panel["fieldConfig"]["defaults"]["mappings"], panel["title"]


def test_every_variable_that_is_named_is_there(documents) -> None:
    for document in documents.values():
        assert reader.unknown_variables(document) == {}


@pytest.mark.parametrize("page", PAGES)
def test_a_viewer_chooses_source_window_and_where_it_applies_model_and_version(documents, page: str) -> None:
    names = [one["name"] for one in documents[page]["templating"]["list"]]
    assert names[0] == "datasource" and "window" in names
    if page in ("model", "drift"):
        assert {"model", "version"} <= set(names)
    assert all(
        target["datasource"]["uid"].startswith("${") for panel in panels(documents[page]) for target in panel["targets"]
    )


def test_pages_link_to_one_another_with_variables_and_time(documents) -> None:
    for document in documents.values():
        siblings, alerts, *_ = document["links"]
        assert siblings["includeVars"] and siblings["keepTime"]
        assert siblings["tags"] == ["midwatch:test"] and "midwatch:test" in document["tags"]
        assert alerts["url"].startswith("http://127.0.0.1:9093")


def test_the_fleets_rows_lead_to_their_model_with_version_and_time(documents) -> None:
    (table,) = (panel for panel in panels(documents["fleet"]) if panel["title"] == "Which model is worst off?")
    (override,) = (one for one in table["fieldConfig"]["overrides"] if one["matcher"]["options"] == "model")
    url = override["properties"][0]["value"][0]["url"]
    assert url.startswith(
        "/d/midwatch-test-model?var-model=${__data.fields.model}&var-version=${__data.fields.version}"
    )
    assert url.endswith("${__url_time_range}")
    assert table["options"]["sortBy"] == [{"displayName": "Trouble", "desc": True}]


def test_an_alert_finds_its_dashboard_by_address() -> None:
    url = grafana.dashboard_url(whole(), grafana.Page.MODEL, model="{{ $labels.model }}", version="v1&x")
    before = "http://127.0.0.1:3000/d/midwatch-test-model?from=now-3h&to=now"
    assert url == before + "&var-model={{ $labels.model | urlquery }}&var-version=v1%26x"


def test_logs_and_traces_are_those_of_the_model_chosen() -> None:
    places = {"logs": '{app="$model"}', "traces": '{resource.service.name="$model" && duration > 1s}'}
    documents = render.documents(whole(grafana=places))
    shown = {
        panel["type"]: panel
        for panel in panels(documents[1])
        if panel["title"].startswith(("What do its s", "Which re"))
    }
    assert shown["logs"]["targets"][0]["expr"] == places["logs"]
    assert shown["table"]["targets"][0]["query"] == places["traces"]


def test_the_latency_heatmap_asks_for_exemplars(documents) -> None:
    (heatmap,) = (panel for panel in panels(documents["model"]) if panel["type"] == "heatmap")
    (target,) = heatmap["targets"]
    assert target["exemplar"] and target["format"] == "heatmap"
    assert "sum by (le)" in target["expr"]


def test_what_a_platform_does_not_have_is_not_shown() -> None:
    small = [section["title"] for section in render.documents(platform())[1]["panels"] if section["type"] == "row"]
    assert "How far off is it?" not in small and "Inputs" not in small
    large = [section["title"] for section in render.documents(whole())[1]["panels"] if section["type"] == "row"]
    assert {"How far off is it?", "Inputs", "Groups"} <= set(large)


def test_promises_come_from_the_spec(documents) -> None:
    drawn = {}
    for panel in every_panel(documents):
        references = set(reader._references(panel))
        drawn[panel["title"]] = [one["expr"] for one in panel["targets"] if one["refId"] in references]
    assert drawn["How many requests fail?"] == [
        '1 - max by (slo) (slo:objective:ratio{model="$model", slo=~"availability"})'
    ]
    assert drawn["How slow is it?"] == ['max by (slo) (slo:latency_threshold:seconds{model="$model"})']
    assert drawn["Is it right?"] == ['max by (slo) (slo:objective:ratio{model="$model", slo=~"accuracy"})']
    assert drawn["How long did recovery take?"] == ['max(dr_objective_seconds{kind="rto"})']
    assert drawn["How much was lost?"] == ['max(dr_objective_seconds{kind="rpo"})']
    # 2% of the budget in an hour: 14.4 for 30 days (SRE Workbook). Accuracy is promised for 7 days: its windows differ.
    promised = 'max by (slo) (slo:objective:ratio{model="$model", slo=~"availability|latency"})'
    assert drawn["Will it wake somebody?"] == [f"clamp((1 / (1 - {promised}) + 1) / 2, 0, 14.4)"]


@pytest.mark.parametrize(
    ("window", "burn_rate", "factors"),
    [
        ("30d", {}, [14.4, 6, 3, 1]),
        ("28d", {}, [13.44, 5.6, 2.8, 14 / 15]),
        ("7d", {}, [None] * 4),
        ("30d", {"page_quick": False, "page_slow": {"budget": "10%", "over": "6h"}}, [None, 12, 3, 1]),
        ("30d", {"page_quick": {"budget": "1%", "over": "30m"}}, [None, 6, 3, 1]),
    ],
    ids=["30d", "28d", "other windows", "one off, one of its own", "a window that is not shown"],
)
def test_burn_rates_that_alert_are_those_of_the_objective(window: str, burn_rate: dict, factors: list) -> None:
    slo = Slo.model_validate(
        {"name": "a", "sli": "availability", "objective": "99%", "window": window, "burn_rate": burn_rate}
    )
    found = [pair.factor(slo) for pair in objectives.BURNING]
    assert [None if one is None else float(one) for one in found] == [
        None if one is None else pytest.approx(one) for one in factors
    ]


def test_the_rules_alert_where_the_dashed_line_is() -> None:
    """The same numbers, worked out twice: those of the rules are in alerts.objectives.tiers."""
    slo = Slo.model_validate({"name": "a", "sli": "availability", "objective": "99.9%"})
    rules = {tier.name: tier.burn_rate for tier in tiers.tiers_of(slo)}
    assert rules == {pair.tier: pair.factor(slo) for pair in objectives.BURNING}


def test_titles_make_ids_that_stay_when_panels_come_and_go() -> None:
    small = {panel["title"]: panel["id"] for panel in panels(render.documents(platform())[1])}
    large = {panel["title"]: panel["id"] for panel in panels(render.documents(whole())[1])}
    assert small.items() <= large.items()


def test_a_verdict_needs_a_name() -> None:
    with pytest.raises(promql.ExpressionError, match="no verdict"):
        signals.verdict(metrics.CANARY_VERDICT, {}, {}, "model")


def test_two_hundred_models_make_the_same_few_dashboards_below_200_kb() -> None:
    models = [
        {
            "name": f"model-{number}",
            "owner": "ml",
            "task": "classification",
            "positive": "yes",
            "groups": ["country", "product"],
            "drift": DRIFT,
            "fairness": [FAIR],
            "explanations": {},
            "slos": [{"name": f"answers-{number % 10}", "sli": "availability", "objective": "99.9%"}],
        }
        for number in range(200)
    ]
    files = render.render_files(platform(models=models, loop={}))
    sizes = {path: len(text.encode()) for path, text in files.items() if path.endswith(".json")}
    assert len(sizes) == len(PAGES)
    assert max(sizes.values()) < 200_000


def test_logs_and_traces_open_with_the_model_and_the_time_chosen(documents) -> None:
    chosen = {"model": "fraud", "version": "v1", "logs": "l", "traces": "t", "__from": "1", "__to": "2"}
    links = {one["title"]: one["url"] for one in documents["model"]["links"]}
    for title, kind in (("Logs", "loki"), ("Traces", "tempo")):
        url = urlsplit(reader.filled(links[title], chosen))
        (pane,) = json.loads(parse_qs(url.query)["panes"][0]).values()
        (query,) = pane["queries"]
        assert query["datasource"] == {"type": kind, "uid": kind[0]}
        assert pane["range"] == {"from": "1", "to": "2"}
        assert "service" in query.get("expr", query.get("query")) and '"fraud"' in query.get("expr", query.get("query"))


def test_an_alert_in_the_fleet_leads_to_its_runbook_and_its_model(documents) -> None:
    (table,) = (panel for panel in panels(documents["fleet"]) if panel["title"] == "What fires, and whose is it?")
    links = {one["matcher"]["options"]: one["properties"][0]["value"] for one in table["fieldConfig"]["overrides"]}
    assert links["alertname"][0]["url"] == "https://runbooks.invalid/${__data.fields.alertname}"
    assert "var-model=${__data.fields.model}" in links["model"][0]["url"]


OWN_PAGES = {
    "CANARY": "CanaryFailed",
    "DRILL": "DrillBreached",
    "DRILL_AGE": "DrillOverdue",
    "RESTORABLE": "RecoveryPointAtRisk",
    "STANDBY": "StandbyLost",
    "STORE": "RecoveryStoreUnknown",
    "BACKUP_AGE": "BackupStale",
    "BACKUP_SIZE": "BackupShrinking",
    "EXPERIMENT": "ChaosExperimentDeviated",
    "EXPERIMENT_AGE": "ChaosExperimentOverdue",
    "FAULT_LEFT": "ChaosFaultLeftBehind",
}


@pytest.mark.parametrize("name", OWN_PAGES)
def test_panels_point_to_the_runbook_of_their_own_alert_as_soon_as_there_is_one(name: str) -> None:
    if Path("alerts/runbooks", f"{OWN_PAGES[name]}.md").is_file():
        assert getattr(runbooks, name) == OWN_PAGES[name]
