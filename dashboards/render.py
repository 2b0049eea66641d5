"""Every dashboard of a platform, as files for Grafana's provisioning and as ConfigMaps for its sidecar."""

from __future__ import annotations

import json

from dashboards import build, pages, provisioning
from dashboards.build import Document
from dashboards.panels import PanelFactory
from midwatch import yamlfile
from midwatch.spec.model import Platform


def documents(platform: Platform) -> list[Document]:
    """The dashboards in the order in which people read them, as Grafana loads them."""
    factory = PanelFactory(platform=platform)
    return [build.build_document(platform, page) for page in pages.every_page(factory)]


def render_files(platform: Platform) -> dict[str, str]:
    """Text of each file by its path below the output folder."""
    return {
        **{f"grafana/dashboards/{document['uid']}.json": json_text(document) for document in documents(platform)},
        "grafana/provisioning/dashboards/midwatch.yml": yamlfile.dump_blocks(provisioning.provider(platform)),
        "grafana/provisioning/datasources/midwatch.yml": yamlfile.dump_blocks(provisioning.datasources(platform)),
    }


def render_kubernetes(platform: Platform) -> dict[str, str]:
    """ConfigMaps, by path: Grafana's sidecar finds them by their labels in any namespace it watches."""
    config_maps = [
        provisioning.config_map(
            document["uid"],
            provisioning.DASHBOARD_LABEL,
            f"{document['uid']}.json",
            json_text(document),
            platform.platform,
        )
        for document in documents(platform)
    ]
    config_maps.append(
        provisioning.config_map(
            f"midwatch-{platform.platform}-datasources",
            provisioning.DATASOURCE_LABEL,
            "midwatch.yml",
            yamlfile.dump_blocks(provisioning.datasources(platform)),
            platform.platform,
        )
    )
    return {f"kubernetes/grafana/{one['metadata']['name']}.yaml": yamlfile.dump_blocks(one) for one in config_maps}


def json_text(document: Document) -> str:
    """The document as it is written: keys sorted, one line for each value, so that a change is a small difference."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
