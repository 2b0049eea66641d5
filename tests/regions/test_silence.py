"""Planes of two regions and of the view, as real programs: whoever is gone is missed by the others, and told once."""

from __future__ import annotations

import pytest

from tests.regions.conftest import GLOBAL, PATIENCE_SECONDS, REGIONS, Planes, until

pytestmark = pytest.mark.timeout(3 * PATIENCE_SECONDS)  # an interval of a group is a minute already


def test_a_silent_plane_is_one_page_that_says_the_region(planes: Planes) -> None:
    before = {where: planes.looked(where) for where in REGIONS}
    planes.kill("prometheus", "west")
    page = planes.told.wait_for(alertname="RegionSilent", region="west")
    assert page["commonLabels"] == {
        "alertname": "RegionSilent",
        "severity": "page",
        "owner": "ml",
        "region": "west",
        "cluster": "ml-west",
        "cloud": "gcp",
    }
    # East and the view both say so to both Alertmanagers.
    assert len(page["alerts"]) == 1
    until(lambda: all(planes.looked(where) > before[where] for where in REGIONS))
    assert len(planes.told.of(alertname="RegionSilent", region="west")) == 1


def test_the_view_is_missed_by_what_is_left_and_the_other_alertmanager_tells(planes: Planes) -> None:
    planes.kill("alertmanager", "east")
    planes.kill("prometheus", GLOBAL)
    page = planes.told.wait_for(alertname="RegionSilent", region=GLOBAL)
    assert page["commonLabels"]["cluster"] == "ml-view"
    assert len(planes.told.of(alertname="RegionSilent", region=GLOBAL)) == 1
