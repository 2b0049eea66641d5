"""All problems of a file are told at once, of form, of values and of names, without those that only follow."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.errors import InvalidInputError
from midwatch.spec import load, values
from midwatch.spec.model import Platform

THREE_PASSES = """\
apiVersion: midwatch/v1
platform: shop
platform: shop
owners:
  ml: {page: [oncal], ticket: [oncall]}
channels:
  oncall: {webhook: {url: "http://127.0.0.1:1"}}
exporter: {label_retention: 24}
models:
  - name: m
    owner: mk
    task: classificaton
    slos:
      - {name: a, sli: availability, objctive: 99%}
  - name: n
    owner: ml
    task: regression
    positive: yes-please
"""


def problems(file: Path, document: dict[str, Any] | str) -> list[str]:
    file.write_text(document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(InvalidInputError) as caught:
        load.load_platform(file)
    return [str(problem).removeprefix(f"{file}:").partition(" ")[2] for problem in caught.value.problems]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "platform.yaml"


def test_what_took_three_passes_is_told_in_one(file: Path) -> None:
    assert problems(file, THREE_PASSES) == [
        "platform: written twice, first on line 2; keep one",
        "owners.ml.page[0]: there is no channel 'oncal'; did you mean oncall?",
        "exporter.label_retention: 24 is not a duration; write a number and a unit, such as 250ms, 15m or 30d",
        "models[0].owner: there is no owner 'mk'; known: ml",
        "models[0].task: 'classificaton' is not one of classification, regression or generation; "
        "did you mean classification?",
        "models[0].slos[0].objctive: unknown key; did you mean objective?",
        "models[0].slos[0].objective: missing; add objective",
        "models[1].positive: a regression has no positive class; remove it",
    ]


def test_with_a_sound_section_beside_a_wrong_one_values_that_disagree_are_told_too(file: Path, make_document) -> None:
    document = make_document(local={"server": []})
    document["models"][0] |= {"task": "regression", "slos": []}
    assert problems(file, document) == [
        "models[0].positive: a regression has no positive class; remove it",
        "local.server: unknown key; did you mean servers?",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"channels": {"oncall": {"webhook": {}}, "chat": {"webhook": {"url": "http://x"}}}},
            ["needs exactly one of url"],
        ),
        ({"channels": {"oncall": {"pagerdutty": {}}, "chat": {"webhook": {"url": "http://x"}}}}, ["unknown key"]),
        ({"owners": {"ml": {"page": "oncall", "ticket": ["chat"]}}}, ["not a list"]),
        ({"owners": {"Ml": {"page": ["oncall"], "ticket": ["chat"]}}}, ["is not a name; write small letters"]),
        ({"owners": {}}, ["at least 1"]),
        ({"channels": None}, ["channels: no value; write a mapping"]),
        ({"prometheus": {"scrape_interval": "soon"}}, ["not a duration"]),
        ({"models": [{"name": "Fraud", "owner": "ml", "task": "regression"}]}, ["is not a name; write small letters"]),
        ({"models": ["fraud", {"name": "n", "owner": "nobody", "task": "regression"}]}, ["not a mapping", "'nobody'"]),
        ({"models": "fraud"}, ["not a list"]),
    ],
    ids=[
        "channel without address",
        "unknown channel",
        "owner's pages",
        "owner's name",
        "no owner",
        "no channels",
        "interval",
        "model's name",
        "no model",
        "no list",
    ],
)
def test_what_only_follows_from_a_mistake_is_not_told(file: Path, make_document, change: dict, said: list[str]) -> None:
    found = problems(file, make_document(**change))
    assert len(found) == len(said), found
    assert all(any(words in line for line in found) for words in said), found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": {"chat": None}}, "channels.chat: no value; write a mapping"),
        ({"owners": {"ml": {"page": [], "ticket": ["chat"]}}}, "owners.ml.page: empty; write at least 1"),
        ({"platform": None}, "platform: no value; write text"),
        ({"rule_files": True}, "rule_files: true is not a list"),
        ({"prometheus": {"timeout": None}}, "timeout: no value; write a number and a unit, such as 250ms, 15m or 30d"),
        ({"exporter": {"max_waiting": 0}}, "exporter.max_waiting: 0 is not at least 1"),
        ({"platform": "p" * 64}, "is not of at most 63 characters"),
        ({"grafana": {"url": "localhost"}}, "grafana.url: 'localhost' is not an address; write it with http://"),
        ({"systems": {"vault": {"owner": "ml", "targets": ["x"]}}}, "targets[0]: 'x' is not HOST:PORT; write"),
        ({"systems": {"vault": {"owner": "ml", "targets": []}}}, "systems.vault.targets: empty; write at least 1"),
        ({"stream": {"kafka": {"servers": ["k:0"], "topics": ["t"]}}}, "servers[0]: 'k:0' has no port from 1 to 65535"),
        ({"stream": {"kafka": {"servers": ["k:1"], "topics": ["a b"]}}}, "topics[0]: 'a b' is not a topic of Kafka;"),
        ({"exporter": {"kafka": {"brokers": ["a,b:1"], "topics": ["t"]}}}, "brokers[0]: 'a,b:1' is not HOST:PORT;"),
        (
            {"chaos": {"experiments": [{"kind": None}]}},
            "experiments[0].kind: no value; write one of kill_replica",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_plain_words(file: Path, make_document, change: dict, said: str) -> None:
    assert any(said in line for line in problems(file, make_document(**change)))


def test_every_pattern_of_the_platform_file_has_words() -> None:
    texts = re.findall(r"'pattern': ('(?:[^'\\]|\\.)*')", str(Platform.model_json_schema(by_alias=True)))
    written = {values.DURATION_PATTERN, values.PERCENTAGE_PATTERN, values.SIZE_PATTERN}
    patterns = {ast.literal_eval(text) for text in texts} - written
    assert {one for one in patterns if one not in load._PATTERNS} == {
        one for one in patterns if r"\d{1,5}" in one or "v?" in one
    }


def test_a_maintenance_with_a_misspelt_key_is_told_in_words(file: Path, make_document) -> None:
    assert "maintenance[0].nam: unknown key; did you mean name?" in problems(
        file, make_document(maintenance=[{"nam": "x"}])
    )


def test_a_value_that_nothing_stands_in_for_hides_nothing_of_the_rest(file: Path, make_document) -> None:
    document = make_document(
        owners={"ml": {"page": ["oncall"], "ticket": ["onkall"]}},
        systems={
            "vault": {"owner": "nobody", "targets": ["no-port"], "settings": {"seald_for": "1m"}},
            "vautl": {"owner": "ml", "targets": ["vault:8200"], "version": "newest"},
        },
        disaster_recovery={
            "owner": "ml",
            "stores": [{"name": "s", "local_postgres": {}}, {"name": "t"}],
            "drills": [{"name": "d", "store": "s", "fault": "kill_primry"}],
        },
    )
    said = problems(file, document)
    for wanted in (
        "owners.ml.ticket[0]: there is no channel 'onkall'",
        "systems.vault.owner: there is no owner 'nobody'",
        "systems.vault.targets[0]: ",
        "systems.vautl.version: ",
        "disaster_recovery.stores[0]: needs exactly one of",
        "disaster_recovery.stores[1]: needs exactly one of",
        "disaster_recovery.drills[0].fault: 'kill_primry' is not one of",
    ):
        assert any(one.startswith(wanted) for one in said), (wanted, said)


def test_a_file_that_is_no_yaml_hides_neither_its_neighbours_problems_nor_adds_any(
    tmp_path: Path, make_document
) -> None:
    document = make_document()
    (tmp_path / "channels.yaml").write_text("channels: {oncall: [\n")
    (tmp_path / "owners.yaml").write_text("owners: {ml: ]\n")
    del document["channels"], document["owners"]
    document["models"][0]["tusk"] = "x"
    (tmp_path / "rest.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidInputError) as caught:
        load.load_platform(tmp_path)
    files = [(Path(problem.file).name, problem.path) for problem in caught.value.problems]
    assert files == [("channels.yaml", ""), ("owners.yaml", ""), ("rest.yaml", "models[0].tusk")]


def test_a_file_with_a_thousand_models_and_a_mistake_in_each_is_read_soon(file: Path, make_document) -> None:
    document = make_document()
    model = document["models"][0]
    document["models"] = [{**model, "name": f"m{number}", "tusk": 1, "owner": "nobody"} for number in range(1000)]
    assert len(problems(file, document)) == 2000
