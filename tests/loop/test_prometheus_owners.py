"""What a real Prometheus says of the new version: when it ran, answered, was judged, had all traffic and was well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from midwatch.prometheus import Client
from monitors.loop import service
from monitors.loop.better import Verdict
from monitors.loop.episode import Record, Step
from monitors.loop.owner import Place
from monitors.loop.owners import drift, gate, serving
from tests.canary.arms import prometheus_with
from tests.loop.parts import document, episode, place, platform, registered, seen

REGISTERED, DEPLOYED, BEGUN, JUDGED, ALL = 100_300, 100_310, 100_320, 100_400, 100_500
END = 101_000
SCRAPE = 5
Points = list[tuple[float, float]]


def scraped(start: int, end: int = END) -> range:
    return range(start, end, SCRAPE)


def key(name: str, **labels: str) -> tuple[tuple[str, str], ...]:
    return tuple({"__name__": name, "model": "fraud", **labels}.items())


def past() -> dict[tuple[tuple[str, str], ...], Points]:
    """A canary that passes and gets all traffic; its first window afterwards drifts, the next ones are calm."""
    old = [(float(at), float(min(at, ALL) - 99_000)) for at in scraped(100_000)]
    new = [(float(at), float((at - BEGUN) // 5 + 1 + max(0, at - ALL))) for at in scraped(BEGUN)]
    ends = {at: at // 60 * 60 for at in scraped(ALL + 60)}
    drifted = {at: float(end < ALL + 180) for at, end in ends.items()}
    return {
        key("ml_requests_total", version="v3", outcome="ok"): old,
        key("ml_requests_total", version="v4", outcome="ok"): new,
        key("ml_build_info", version="v4", revision="r", framework="f"): [(at, 1.0) for at in scraped(DEPLOYED)],
        key("canary_verdict", baseline="v3", canary="v4", verdict="fail"): [
            (at, float(at < 100_200)) for at in scraped(100_000)
        ],
        key("canary_verdict", baseline="v3", canary="v4", verdict="pass"): [
            (at, float(at >= JUDGED)) for at in scraped(100_200)
        ],
        key("canary_verdict", baseline="v2", canary="v3", verdict="fail"): [(at, 1.0) for at in scraped(100_200)],
        key("canary_verdict", baseline="v3", canary="v6", verdict="pass"): [(at, 1.0) for at in scraped(100_200)],
        key("canary_verdict", baseline="v3", canary="v7", verdict="pass"): [
            (at, float(not REGISTERED < at < JUDGED)) for at in scraped(100_200)
        ],
        key("ml_drift_window_end_timestamp_seconds", version="v4"): [(at, float(end)) for at, end in ends.items()],
        key("ml_drift_detected", version="v4"): list(drifted.items()),
    }


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("loop")
    written: dict[str, Any] = document()
    criteria = [{"metric": "errors", "tolerated_ratio": 1.1, "unacceptable_ratio": 1.5}]
    written["models"][0]["canary"] = {"criteria": criteria}
    with prometheus_with(SimpleNamespace(series=past()), folder) as url:  # type: ignore[arg-type]
        yield place(platform(folder, written), Client(url))


def said(owner: Any, now: float, *records: Record) -> dict[str, tuple[str, float | None]]:
    found = owner.look(episode(registered(REGISTERED), *records), now)
    return {one.step.value: (one.result.value, one.at) for one in found}


def test_a_version_runs_when_its_server_says_so_and_is_a_canary_once_it_answered(where: Place) -> None:
    owner = serving.build(where)
    assert said(owner, 100_305) == {}
    assert said(owner, 100_318) == {"deployed": ("done", DEPLOYED)}
    assert said(owner, 100_450) == {"deployed": ("done", DEPLOYED), "canary_begun": ("done", BEGUN)}


def test_all_traffic_is_its_own_when_others_have_none(where: Place) -> None:
    owner, known = serving.build(where), (seen(Step.DEPLOYED, DEPLOYED), seen(Step.CANARY_BEGUN, BEGUN))
    assert said(owner, 100_450, *known) == {}
    assert said(owner, 100_560, *known) == {"all_traffic": ("done", None)}


def test_no_traffic_says_nothing_of_anybodys_share(where: Place) -> None:
    known = (seen(Step.DEPLOYED, DEPLOYED), seen(Step.CANARY_BEGUN, BEGUN), seen(Step.ALL_TRAFFIC, ALL))
    assert said(serving.build(where), END + 1000, *known) == {}


def test_a_version_that_answers_nothing_any_more_was_taken_back_if_it_had_failed_or_all_traffic(where: Place) -> None:
    """Here the old one is looked at, whose traffic ended."""
    owner = serving.build(where)
    of_old = registered(REGISTERED).facts | {"served_as": "v3"}
    old = seen(Step.REGISTERED, 100_000, source="mlflow", id="3", facts=of_old)
    known = (old, seen(Step.DEPLOYED, 100_000), seen(Step.CANARY_BEGUN, 100_000))
    of = lambda *more: {  # noqa: E731 - said once, of another version
        one.step.value: one.result.value
        for one in owner.look(episode(*known, *more), 100_600)  # type: ignore[union-attr]
    }
    assert of() == {}
    assert of(seen(Step.ALL_TRAFFIC, 100_010)) == {"rolled_back": "done"}


def test_a_verdict_counts_that_was_given_on_this_version_after_it_was_registered(where: Place) -> None:
    owner = gate.build(where)
    assert said(owner, 100_390) == {}
    assert said(owner, 100_600) == {"canary_judged": ("done", JUDGED)}


def test_a_verdict_that_stood_before_the_version_was_registered_is_of_another_canary_with_its_name(
    where: Place,
) -> None:
    """As of a Rollout whose pods have the hash of an earlier release, or a registry that counts anew."""

    def registered_as(served_as: str) -> Record:
        return seen(Step.REGISTERED, REGISTERED, source="mlflow", id="6", facts={"served_as": served_as})

    owner = gate.build(where)
    assert not isinstance(owner, str)
    assert owner.look(episode(registered_as("v6")), 100_600) == []
    assert owner.look(episode(registered_as("v7")), 100_390) == []
    (judged,) = owner.look(episode(registered_as("v7")), 100_600)
    assert (judged.id, judged.at) == ("v7", JUDGED)


def test_a_version_is_well_after_two_calm_windows_that_began_with_all_traffic(where: Place) -> None:
    owner, known = drift.build(where), seen(Step.ALL_TRAFFIC, ALL)
    assert said(owner, 100_600) == {}  # it has not got all traffic
    assert said(owner, 100_590, known) == {}  # one window, which drifted
    assert said(owner, 100_690, known) == {}  # one calm window
    assert said(owner, 100_750, known) == {"well": ("done", 100_740.0)}


def test_a_version_that_goes_on_to_drift_is_not_well(where: Place) -> None:
    known = seen(Step.ALL_TRAFFIC, ALL)
    assert said(drift.build(where), 100_670, known) == {"well": ("failed", 100_620.0)}


def test_labels_are_compared_on_the_traffic_that_both_versions_served(where: Place, tmp_path: Path) -> None:
    loop = service.Loop(service.Options(platform=where.platform, base=tmp_path, state=tmp_path))
    compare = loop._compared(where.model, where.client)
    known = (registered(REGISTERED), seen(Step.CANARY_BEGUN, BEGUN))
    assert compare(episode(*known)) is None  # it has not got all traffic
    said = compare(episode(*known, seen(Step.ALL_TRAFFIC, ALL)))
    assert said is not None  # there are no labels here
    assert (said.old, said.new, said.verdict) == ("v3", "v4", Verdict.UNKNOWN)
