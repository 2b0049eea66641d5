"""What Grafana is provisioned with: sources that lead from one to the next, folder, provider, ConfigMaps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from dashboards import provisioning, render
from midwatch import grafana
from midwatch.app.render import Target, rendered_files
from midwatch.grafana import DataSource
from midwatch.spec import load
from tests.dashboards.test_documents import PAGES, whole

PLACES = {"loki": "http://loki:3100", "tempo": "http://tempo:3200"}


def sources() -> dict[str, dict]:
    text = render.render_files(whole(grafana=PLACES))["grafana/provisioning/datasources/midwatch.yml"]
    return {one["type"]: one for one in yaml.safe_load(text)["datasources"]}


def test_there_is_a_source_of_each_kind_at_the_platforms_addresses() -> None:
    found = sources()
    assert {kind: one["url"] for kind, one in found.items()} == {
        "prometheus": "http://127.0.0.1:9090",
        "loki": "http://loki:3100",
        "tempo": "http://tempo:3200",
        "alertmanager": "http://127.0.0.1:9093",
    }
    assert {one["uid"] for one in found.values()} == {grafana.data_source_uid("test", kind) for kind in DataSource}


def test_each_source_leads_to_the_next() -> None:
    found = sources()
    exemplars = found["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert exemplars == [{"name": "trace_id", "datasourceUid": found["tempo"]["uid"]}]
    assert found["prometheus"]["jsonData"]["alertmanagerUid"] == found["alertmanager"]["uid"]
    assert found["tempo"]["jsonData"]["tracesToLogsV2"]["datasourceUid"] == found["loki"]["uid"]
    assert found["tempo"]["jsonData"]["tracesToMetrics"]["datasourceUid"] == found["prometheus"]["uid"]
    assert {one["datasourceUid"] for one in found["loki"]["jsonData"]["derivedFields"]} == {found["tempo"]["uid"]}


@pytest.mark.parametrize(
    "line",
    ['{"message": "x", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}', "traceID=4bf92f3577b34da6a3ce929d0e0e4736 x"],
    ids=["ours", "logfmt"],
)
def test_a_trace_id_in_a_log_line_is_found(line: str) -> None:
    (field,) = (one for one in sources()["loki"]["jsonData"]["derivedFields"] if one["matcherType"] == "regex")
    match = re.search(field["matcherRegex"], line)
    assert match is not None and match[1] == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_dollar_that_is_meant_stands_twice() -> None:
    """Grafana replaces $NAME and ${NAME} by environment variables in provisioning files."""
    text = render.render_files(whole())["grafana/provisioning/datasources/midwatch.yml"]
    assert re.findall(r"(?<!\$)(?:\$\$)*\$(?!\$)", text.replace("$$", "")) == []


def test_grafanas_steps_fit_prometheus_scrapes() -> None:
    platform = whole(prometheus={"scrape_interval": "5s"})
    made = provisioning.datasources(platform)["datasources"][0]
    assert made["jsonData"]["timeInterval"] == "5s"


def test_the_provider_loads_into_the_folder_that_push_uses() -> None:
    (made,) = provisioning.provider(whole(), "/somewhere")["providers"]
    assert (made["folder"], made["folderUid"]) == ("Midwatch test", grafana.folder_uid("test"))
    assert made["options"] == {"path": "/somewhere"}
    assert made["allowUiUpdates"] is False


def test_a_cluster_gets_config_maps_that_the_sidecar_finds() -> None:
    files = rendered_files(whole(), Target.KUBERNETES)
    maps = [yaml.safe_load(text) for path, text in files.items() if path.startswith("kubernetes/grafana/")]
    dashboards = [one for one in maps if "grafana_dashboard" in one["metadata"]["labels"]]
    (datasources,) = (one for one in maps if "grafana_datasource" in one["metadata"]["labels"])
    assert len(dashboards) == len(PAGES)
    files = render.render_files(whole())
    for one in dashboards:
        assert one["metadata"]["annotations"] == {"grafana_folder": "Midwatch test"}
        ((name, text),) = one["data"].items()
        assert text == files[f"grafana/dashboards/{name}"]
        assert json.loads(text)["uid"] == one["metadata"]["name"]
        assert len(text) < 2**20, "a ConfigMap holds a mebibyte"
    ((_, text),) = datasources["data"].items()
    assert text == files["grafana/provisioning/datasources/midwatch.yml"]


@pytest.mark.parametrize("address", ["grafana:3000", "http://grafana/", "ftp://x"], ids=["no scheme", "slash", "ftp"])
def test_an_address_that_is_none_is_refused_with_its_place(load_text, make_document, address: str) -> None:
    text = yaml.safe_dump(make_document(grafana={"url": address}))
    with pytest.raises(load.InvalidInputError, match=r"grafana\.url"):
        load_text(text)


def test_the_compose_file_mounts_what_render_writes() -> None:
    compose = yaml.safe_load(Path("examples/grafana/compose.yaml").read_text())
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", ())]
    rendered = {f"./build/{Path(path).parts[0]}" for path in rendered_files(whole())}
    rendered.discard("./build/systemd")  # units are for hosts without containers
    assert rendered <= {"/".join(mount.split(":")[0].split("/")[:3]) for mount in mounts}
    assert any(f":{provisioning.PATH}:" in mount for mount in mounts)
    for mount in mounts:
        source = mount.split(":")[0]
        if source.startswith("./") and not source.startswith("./build/"):
            assert Path("examples/grafana", source).exists(), source
    assert set(compose["services"]) >= {"grafana", "loki", "tempo", "collector"}


def test_every_config_of_the_compose_file_is_yaml() -> None:
    for path in Path("examples/grafana").glob("*.yaml"):
        assert yaml.safe_load(path.read_text()), path
