"""The view over all regions on a real Thanos: a part of the regions is never taken for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from midwatch import alertmanager, silent_regions
from midwatch.app import live
from midwatch.app.status import read
from midwatch.app.status.records import Overview, Standing, State
from midwatch.prometheus import Client, PartialError
from midwatch.spec import load
from midwatch.spec.model import Platform
from tests.regions.conftest import GLOBAL, PATIENCE_SECONDS, Planes, until

pytestmark = pytest.mark.timeout(3 * PATIENCE_SECONDS)


def platform_at(view: Planes, tmp_path: Any, here: str = GLOBAL) -> Platform:
    file = tmp_path / f"{here}.yaml"
    file.write_text(yaml.safe_dump(view.document(here)))
    return load.load_platform(file)


def status(platform: Platform) -> Overview:
    return read.overview(
        read.Sources(
            prometheus=Client.of(platform.prometheus, retries=0),
            prometheus_url=platform.prometheus.url,
            alertmanager=alertmanager.Client("http://127.0.0.1:9"),
            platform=platform,
        )
    )


@contextmanager
def sees_all(platform: Platform) -> Iterator[Client]:
    assert platform.regions is not None
    client, regions = Client.of(platform.prometheus, retries=0), platform.regions
    until(lambda: _is_whole(client, regions))
    yield client


def _is_whole(client: Client, regions: Any) -> bool:
    try:
        return silent_regions.of_view(client, regions) == ()
    except PartialError:  # before all sidecars are there
        return False


def test_the_view_sees_every_region_and_tells_their_budgets_apart(view: Planes, tmp_path: Any) -> None:
    platform = platform_at(view, tmp_path)
    with sees_all(platform) as client:
        until(lambda: len(client.query("slo:objective:ratio{slo='latency'}")) == 3)
        seen = status(platform)
    assert seen.silent_regions == ()
    latency = [one for subject in seen.models for one in subject.objectives if one.name == "latency"]
    assert sorted(one.group["region"] for one in latency) == ["east", GLOBAL, "west"]
    assert all(one.objective == 0.99 for one in latency)


@pytest.mark.parametrize(
    ("here", "cluster", "said"),
    [
        ("west", "ml-west", []),
        ("west", "ml-east-2", ["it runs with the external label cluster: ml-west, and is the plane of west"]),
        (GLOBAL, "ml-west", []),
    ],
    ids=["right", "other-cluster", "view"],
)
def test_labels_that_a_prometheus_runs_without_are_found(
    view: Planes, tmp_path: Any, here: str, cluster: str, said: list[str]
) -> None:
    document = view.document(here)
    document["regions"]["planes"]["west"]["cluster"] = cluster
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(document))
    platform = load.load_platform(tmp_path / "platform.yaml")
    assert [one.message for one in live.place_problems(platform)] == said


def test_a_region_that_is_gone_is_not_known_and_never_calm_with_a_warning_or_without(
    view: Planes, tmp_path: Any
) -> None:
    platform = platform_at(view, tmp_path)
    with sees_all(platform) as client:
        view.kill("sidecar", "west")
        for is_warned in (True, False):
            until(lambda is_warned=is_warned: _warns(client) is is_warned)
            assert {one.labels["region"] for one in client.taking_parts(print).query("region:heartbeat:timestamp")} == {
                "east",
                GLOBAL,
            }
            seen = status(platform)
            assert seen.silent_regions == ("west",)
            assert seen.state is not State.CALM
            assert "nothing is known of west: its plane is not seen" in seen.reasons
            unknown = [one for subject in seen.models for one in subject.objectives if one.group["region"] == "west"]
            assert unknown and all(one.standing is Standing.UNKNOWN for one in unknown)


def _warns(client: Client) -> bool:
    """Whether the view says that its answer is a part: it does so until the store fails its health check."""
    try:
        client.query("region:heartbeat:timestamp")
    except PartialError:
        return True
    return False
