"""Whose plane a platform file is laid out for: its labels, its addresses, what runs there, and what contradicts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from dr.drill_log import DrillLog
from midwatch import jobs, metrics
from midwatch.app import prometheus, prometheus_base
from midwatch.app.render import rendered_files
from midwatch.errors import InvalidInputError
from midwatch.spec.model import Platform
from monitors.canary.question import Question
from monitors.gate.verdict_log import VerdictLog
from tests.alerts.conftest import promtool, value
from tests.conftest import platform_document
from tests.regions.conftest import GLOBAL, plane, regions_section

__all__ = ["promtool"]

At = Callable[..., Platform]


def configuration(platform: Platform) -> Any:
    return yaml.safe_load(rendered_files(platform)["prometheus/prometheus.yml"])


@pytest.mark.parametrize(
    ("here", "labels"),
    [
        ("west", {"region": "west", "cluster": "ml-west", "cloud": "gcp"}),
        (GLOBAL, {"region": GLOBAL, "cluster": "ml-view", "cloud": "azure"}),
    ],
)
def test_every_series_and_alert_of_a_plane_says_where_it_comes_from(at: At, here: str, labels: dict[str, str]) -> None:
    assert configuration(at(here))["global"]["external_labels"] == labels


def test_a_platform_without_regions_has_no_labels_of_a_place(at: At, make_platform: Any) -> None:
    assert "external_labels" not in configuration(make_platform())["global"]


def test_every_plane_tells_every_alertmanager(at: At) -> None:
    for here in ("east", "west", GLOBAL):
        told = [one["static_configs"] for one in configuration(at(here))["alerting"]["alertmanagers"]]
        assert told == [[{"targets": [f"alertmanager.{region}:9093"]}] for region in ("east", "west")]


def test_a_plane_on_this_machine_tells_its_own_alertmanager_alone(at: At) -> None:
    """`midwatch up` of a region's file must not reach the people of that region."""
    text = prometheus.render(at("east"), [], "http://127.0.0.1:9093")
    assert [one["static_configs"] for one in yaml.safe_load(text)["alerting"]["alertmanagers"]] == [
        [{"targets": ["127.0.0.1:9093"]}]
    ]


def test_each_plane_hears_all_others_and_the_view_copies_counts(at: At) -> None:
    heard = {job.name: job.params for job in jobs.of_regions(at("east"))}
    assert heard == {
        f"midwatch-region-{other}": (
            ("match[]", ('{__name__=~"region:heartbeat:timestamp|region:alerts_undelivered:increase3m"}',)),
        )
        for other in ("west", GLOBAL)
    }
    copied = {job.name: job.params[0][1][0] for job in jobs.of_regions(at(GLOBAL))}
    assert sorted(copied) == ["midwatch-region-east", "midwatch-region-west"]
    assert all("slo:(events|bad_events)" in pattern for pattern in copied.values())


@pytest.mark.parametrize(("others", "expected"), [({}, 12.0), ({"b": "0x60"}, 0.0)], ids=["alone", "another is heard"])
def test_a_plane_whose_alerts_reach_nobody_is_heard_of(
    promtool: Any, at: At, others: dict[str, str], expected: float
) -> None:
    rules = yaml.safe_load(rendered_files(at("west"))["prometheus/rules/regions.yml"])["groups"]
    dropped = {"a": "0+1x60"} | others
    series = {f'prometheus_notifications_dropped_total{{instance="{name}"}}': told for name, told in dropped.items()}
    record = metrics.UNDELIVERED.name
    assert promtool(rules, series, [value(record, "10m", record, expected)], "15s") == ""
    told = {alert["labels"]["region"] for alert in rules[0]["rules"] if alert.get("alert") == "RegionMute"}
    assert told == {"east", GLOBAL}


@pytest.mark.parametrize(
    ("undelivered", "heartbeat", "is_told"),
    [("3x40", "0+15x40", True), ("0x40", "0+15x40", False), (None, "0+15x40", True), (None, "0x40", False)],
    ids=["they reach nobody", "they reach somebody", "nothing tells", "it is silent"],
)
def test_a_plane_that_is_heard_and_does_not_see_itself_may_be_mute(
    promtool: Any, at: At, undelivered: str | None, heartbeat: str, *, is_told: bool
) -> None:
    (rules,) = yaml.safe_load(rendered_files(at("west"))["prometheus/rules/regions.yml"])["groups"]
    (mute,) = (one for one in rules["rules"] if one.get("alert") == "RegionMute" and one["labels"]["region"] == "east")
    series = {f'{metrics.COPIED_HEARTBEAT.name}{{from_region="east"}}': heartbeat}
    if undelivered is not None:
        series[f'{metrics.COPIED_UNDELIVERED.name}{{from_region="east"}}'] = undelivered
    told = 'count(ALERTS{alertname="RegionMute", alertstate="firing", region="east"})'
    expected = [value(told, "8m", "{}" if is_told else None)]
    assert promtool([rules | {"rules": [mute]}], series, expected, "15s") == ""


def test_a_planes_own_addresses_are_used(at: At) -> None:
    west = at("west")
    assert (west.prometheus.url, west.alertmanager.url) == (
        "http://prometheus.west:9090",
        "http://alertmanager.west:9093",
    )
    view = at(GLOBAL)
    assert view.prometheus.url == "http://thanos.view:10902"
    (itself,) = (job for job in jobs.of_platform(view) if job.name == jobs.PROMETHEUS)
    assert itself.targets == ("prometheus.view:9090",)


def test_what_may_run_once_only_runs_in_the_primary_plane(at: At) -> None:
    retrained = platform_document()["models"]
    retrained[0] |= {
        "drift": {
            "reference": "reference.parquet",
            "features": {"amount": "numeric"},
            "methods": ["psi", "ks"],
            "retrain": {"webhook": {"url_file": "/run/secrets/url", "secret_file": "/run/secrets/secret"}},
        }
    }
    for here, is_asked_for in (("east", True), ("west", False), (GLOBAL, False)):
        placed = at(here, loop={"interval": "15s"}, models=retrained)
        drift = placed.models[0].drift
        assert (placed.loop is not None) is is_asked_for
        assert drift is not None and (drift.retrain is not None) is is_asked_for


def test_the_view_evaluates_what_is_global_and_renders_nothing_that_runs(at: At) -> None:
    names = rendered_files(at(GLOBAL, incidents={"watch": True}))
    assert {name.partition("/")[0] for name in names} == {"prometheus", "grafana"}
    assert sorted(name for name in names if name.startswith("prometheus/rules/")) == [
        "prometheus/rules/model-fraud.yml",
        "prometheus/rules/plane.yml",
        "prometheus/rules/regions.yml",
    ]
    alerts = {
        rule["alert"]
        for name, text in names.items()
        if name.startswith("prometheus/rules/")
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert "ErrorBudgetBurn" in alerts
    assert not {one for one in alerts if one.startswith(("Exporter", "Model", "Gate", "Drift"))}


def plane_of(name: str) -> dict[str, str]:
    """What no two planes have in common; a gateway has the servers of all, by their paths."""
    return {
        "cluster": f"ml-{name}",
        "prometheus": f"http://gateway/{name}/prometheus",
        "alertmanager": f"http://gateway/{name}/alertmanager",
        "gossip": f"{name}:9094",
    }


def test_servers_of_one_host_are_told_apart_by_their_paths(at: At) -> None:
    section = regions_section(planes={name: plane(name) | plane_of(name) for name in ("east", "west")})
    assert at("east", section).prometheus.url == "http://gateway/east/prometheus"


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        (regions_section(None), {}, "regions.here: missing: nothing says which region's plane this is"),
        (regions_section("wset"), {}, "there is no region 'wset'; did you mean west?"),
        (regions_section(primary="north"), {}, "regions.primary: there is no region 'north'"),
        (
            regions_section(planes={"east": plane("east"), "west": plane("west", cluster="ml-east", cloud="aws")}),
            {},
            "regions.planes.west.cluster: is that of east too",
        ),
        (
            regions_section(
                planes={"east": plane("east"), "west": plane("west", prometheus="http://prometheus.east:9090")}
            ),
            {},
            "regions.planes.west.prometheus: is that of east too",
        ),
        (regions_section(planes={"east": plane("east")}), {}, "regions.planes"),
        (
            regions_section(planes={"east": plane("east"), "west": plane("west"), GLOBAL: plane("west")}),
            {},
            "regions.planes.global: is what the view is called",
        ),
        (
            regions_section("west"),
            {"prometheus": {"url": "http://prometheus.east:9090"}},
            "prometheus.url: http://prometheus.east:9090 is not that of the plane of west",
        ),
        (
            regions_section("west"),
            {"alertmanager": {"url": "http://alertmanager.east:9093"}},
            "alertmanager.url: http://alertmanager.east:9093 is not that of the plane of west",
        ),
        (
            regions_section(
                planes={"east": plane("east"), "west": plane("west", gossip="Alertmanager.EAST:9094")},
            ),
            {},
            "regions.planes.west.gossip: is that of east too",
        ),
        (
            regions_section(view=regions_section()["view"] | {"query": "http://prometheus.east:9090/"}),
            {},
            "regions.view.query: is the Prometheus of east",
        ),
        (regions_section(silent_after="0s"), {}, "regions.silent_after: 0ms, and a heartbeat of a plane that is well"),
        (regions_section(), {"prometheus": {"evaluation_interval": "2m"}}, "set it to 135s or more"),
        (
            regions_section(),
            {"alertmanager": {"group_interval": "15s"}},
            "alertmanager.group_interval: 15s, and the last of 2 Alertmanagers waits 15s",
        ),
        (
            regions_section(planes={name: plane("east") | plane_of(name) for name in ("a", "b", "c", "d", "e")}),
            {},
            "alertmanager.group_interval: 1m, and the last of 5 Alertmanagers waits 1m",
        ),
    ],
    ids=[
        "no-plane",
        "unknown",
        "primary",
        "cluster",
        "prometheus",
        "one-plane",
        "global",
        "url",
        "alertmanager-url",
        "gossip",
        "query",
        "silent-after",
        "evaluation-interval",
        "group-interval",
        "many-alertmanagers",
    ],
)
def test_what_contradicts_itself_is_refused_with_its_place(
    at: At, section: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        at(None, section, **changes)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("{region: east, cluster: ml-west, cloud: gcp}", "external_labels.region is east"),
        ("{region: west, cloud: gcp}", "external_labels.cluster is missing"),
    ],
    ids=["another", "missing"],
)
def test_labels_of_an_existing_configuration_have_to_be_those_of_the_plane(at: At, labels: str, said: str) -> None:
    base = f"global:\n  external_labels: {labels}\n"
    found = list(prometheus_base.find_problems(at("west", prometheus={"base": base})))
    assert len(found) == 1
    assert said in found[0][1]


def test_a_stores_own_regions_are_not_taken_for_those_of_planes(at: At) -> None:
    recovery = {
        "owner": "ml",
        "stores": [{"name": "labels", "files": {"source": "/srv/labels", "backup": "/srv/copies"}}],
    }
    relabeled = {
        job.name: [(one.target, one.action) for one in job.relabel]
        for job in jobs.of_services(at("east", disaster_recovery=recovery))
    }
    assert relabeled[jobs.RECOVERY] == [("side", "replace"), ("", "labeldrop")]
    assert relabeled[jobs.EXPORTER] == []


def test_evidence_says_which_regions_plane_wrote_it(at: At, tmp_path: Any) -> None:
    west = at("west")
    log = DrillLog.of(west, tmp_path / "platform.yaml", tmp_path / "evidence")
    drill = {"run": "r1", "drill": "d", "store": "s", "verdict": "met"}
    sealed = log.keep(drill, tmp_path)
    assert sealed["place"] == west.place_labels == {"region": "west", "cluster": "ml-west", "cloud": "gcp"}
    verdicts = VerdictLog(tmp_path / "gate.jsonl")
    verdicts.append(Question(model="m", baseline="a", canary="b", region="west"), {"verdict": "pass"})
    verdicts.close()
    assert '"region":"west"' in (tmp_path / "gate.jsonl").read_text()
