"""Every dashboard of a platform, as files for Grafana's provisioning and as ConfigMaps for its sidecar."""

from __future__ import annotations

import json
from collections.abc import Callable

import yaml

from dashboards import document, provisioning
from dashboards.document import Document, Page
from dashboards.house import House
from dashboards.pages import canary, drift, fleet, model, objectives, plane, resilience, systems
from midwatch.spec import model as spec

PAGES: tuple[Callable[[House], Page], ...] = (
    fleet.build,
    model.build,
    objectives.build,
    drift.build,
    canary.build,
    resilience.build,
    plane.build,
)
"""What makes each dashboard, in the order they are read."""


def documents(platform: spec.Platform) -> list[Document]:
    """The dashboards, as Grafana loads them."""
    house = House(platform=platform)
    made = [*(build(house) for build in PAGES), *systems.pages(house)]
    return [document.rendered(platform, page) for page in made]


def render_files(platform: spec.Platform) -> dict[str, str]:
    """Text of each file by its path below the output folder."""
    return {
        **{f"grafana/dashboards/{made['uid']}.json": text(made) for made in documents(platform)},
        "grafana/provisioning/dashboards/midwatch.yml": yaml_text(provisioning.provider(platform)),
        "grafana/provisioning/datasources/midwatch.yml": yaml_text(provisioning.datasources(platform)),
    }


def render_kubernetes(platform: spec.Platform) -> dict[str, str]:
    """ConfigMaps, by path: Grafana's sidecar finds them by their labels in any namespace it watches."""
    made = {
        f"kubernetes/grafana/{one['uid']}.yaml": yaml_text(
            provisioning.config_map(
                one["uid"], provisioning.DASHBOARD_LABEL, f"{one['uid']}.json", text(one), platform.platform
            )
        )
        for one in documents(platform)
    }
    name = f"midwatch-{platform.platform}-datasources"
    sources = yaml_text(provisioning.datasources(platform))
    made[f"kubernetes/grafana/{name}.yaml"] = yaml_text(
        provisioning.config_map(name, provisioning.DATASOURCE_LABEL, "midwatch.yml", sources, platform.platform)
    )
    return made


def text(made: Document) -> str:
    """The document as it is written: keys sorted, one line for each value, so that a change is a small difference."""
    return json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def yaml_text(made: object) -> str:
    """A YAML document; texts of several lines as blocks."""
    return yaml.dump(made, Dumper=_Dumper, sort_keys=False, width=2**20, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks: a dashboard inside a ConfigMap stays readable in a difference."""


def _block(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _block)
