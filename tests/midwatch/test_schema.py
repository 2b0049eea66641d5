"""The JSON schema of the platform file: what Midwatch reads passes in an editor, and what it refuses does not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from midwatch.app import init
from midwatch.spec import schema
from midwatch.spec.model import Platform
from tests.conftest import midwatch_here

ROOT = Path(__file__).parents[2]
STARTER = ROOT / "midwatch/app/starter.yaml"
FILES = [STARTER, *sorted(ROOT.glob("examples/*/platform.yaml"))]


class Yaml12(yaml.SafeLoader):
    """What an editor reads: only true and false are truth values (YAML 1.2, 10.3.2)."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":bool")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(?:true|false)$"), list("tf"))


@pytest.fixture(scope="module")
def validator() -> Any:
    document = schema.document()
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


@pytest.mark.parametrize("loader", [yaml.SafeLoader, Yaml12], ids=["YAML 1.1", "YAML 1.2"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_starter_and_the_examples_are_right_in_an_editor(validator: Any, file: Path, loader: type) -> None:
    document = yaml.load(file.read_text(), loader)
    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"platfrom": "x"},
        {"exporter": {"label_retention": 24}},
        {"exporter": {"label_retention": "a day"}},
        {"exporter": {"sample": "1"}},
        {"exporter": {"max_body": 16}},
        {"models": []},
        {"prometheus": {"scrape_intervall": "15s"}},
    ],
    ids=str,
)
def test_what_is_refused_is_wrong_in_an_editor_too(validator: Any, make_document: Any, change: dict[str, Any]) -> None:
    document = make_document(**change)
    assert not validator.is_valid(document)
    with pytest.raises(ValueError, match="validation error"):
        Platform.model_validate(document)


def test_defaults_are_written_as_people_write_them() -> None:
    exporter = schema.document()["$defs"]["Exporter"]["properties"]
    shown = {name: exporter[name]["default"] for name in ("label_retention", "future", "sample", "max_body")}
    assert shown == {"label_retention": "1d", "future": "5m", "sample": "100%", "max_body": "16MiB"}


def test_a_new_platform_file_names_the_schema_beside_it(tmp_path: Path) -> None:
    init.init(tmp_path)
    first = (tmp_path / "platform.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=platform.schema.json"
    done = midwatch_here("schema")
    assert (tmp_path / "platform.schema.json").read_text() == done.stdout
    assert json.loads(done.stdout)["$schema"] == schema.DIALECT


def test_a_systems_version_is_text_in_an_editor_as_it_is_for_midwatch(validator: Any, make_document: Any) -> None:
    def errors(version: Any) -> list[Any]:
        system = {"owner": "ml", "targets": ["vault:8200"], "version": version}
        return list(validator.iter_errors(make_document(systems={"vault": system})))

    assert errors("1.15") == []
    assert errors([1, 15])
    assert errors(1.15)
