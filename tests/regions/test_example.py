"""The example of two regions in two clouds: each plane's file is right, and all of them are one platform."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from midwatch.spec import load
from tests.conftest import midwatch_here

FOLDER = Path(__file__).parents[2] / "examples/regions"
PLANES = ("eu-west-1", "europe-west4", "global")


@pytest.mark.parametrize("here", PLANES)
def test_each_plane_is_without_problems(here: str) -> None:
    done = midwatch_here("check", "-f", FOLDER / "platform.yaml", "-f", FOLDER / f"{here}.yaml")
    assert done.returncode == 0, done.stderr


def test_without_an_overlay_check_says_what_is_missing() -> None:
    done = midwatch_here("check", "-f", FOLDER / "platform.yaml")
    assert done.returncode == 2
    assert "regions.here: missing" in done.stderr
    assert "NAME is one of eu-west-1, europe-west4, global" in done.stderr


def test_the_planes_are_of_two_clouds_and_the_view_is_in_neither_region() -> None:
    regions = yaml.safe_load((FOLDER / "platform.yaml").read_text())["regions"]
    clouds = {plane["cloud"] for plane in regions["planes"].values()}
    assert len(clouds) == 2
    assert regions["view"]["cloud"] not in clouds
    assert load.read(FOLDER / "platform.yaml").platform is not None
