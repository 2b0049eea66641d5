"""Planes of several regions as they are rendered for their clusters: each is whole, and what runs once is in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.app.objects import Identity, of_files
from midwatch.app.render import rendered_objects
from midwatch.spec import load
from tests.install.programs import whole_document
from tests.regions.conftest import GLOBAL, regions_section

WORKLOADS = ("StatefulSet", "Deployment", "CronJob")


def identities(folder: Path, document: dict[str, Any], here: str, primary: str) -> set[Identity]:
    """Objects of a plane but the scrapes of the others' heartbeats; rendering refuses two of one name."""
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document | {"regions": regions_section(here, primary=primary)}))
    rendered = rendered_objects(*load.load_with_places(file))
    return {one.identity for one in of_files(rendered) if one.identity.kind != "ScrapeConfig"}


@pytest.mark.parametrize("has_loop", [True, False])
def test_another_primary_plane_gets_all_that_runs_once_and_the_former_keeps_none(
    tmp_path: Path, has_loop: bool
) -> None:
    document = whole_document()
    if not has_loop:  # exporters ask for retrainings then
        del document["loop"]
    planes = {
        (here, primary): identities(tmp_path, document, here, primary)
        for here, primary in [("east", "east"), ("east", "west"), ("west", "west")]
    }
    assert planes["east", "east"] == planes["west", "west"]
    once = planes["east", "east"] - planes["east", "west"]
    assert not planes["east", "west"] - planes["east", "east"]
    names = {one.name for one in once if one.kind in WORKLOADS}
    assert names >= {"drill-test-lose", "guard-test-features", "midwatch-recovery-exporter"}
    assert ("midwatch-loop" in names) is has_loop
    asks = {one.name for one in once if one.kind == "Role" and one.namespace == "training"}
    assert asks == {"midwatch-loop.test" if has_loop else "midwatch-exporter.test"}


def test_nothing_that_runs_is_rendered_for_the_view(tmp_path: Path) -> None:
    document = whole_document()
    assert not {
        one for one in identities(tmp_path, document, GLOBAL, "east") if one.kind in (*WORKLOADS, "NetworkPolicy")
    }
