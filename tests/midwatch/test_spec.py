"""Platform files: what is good is read, and each mistake is named with its place and what to do."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midwatch.app import init
from midwatch.errors import InvalidInputError
from midwatch.spec import load, values

TEN_MISTAKES = """\
apiVersion: midwatch/v1
platform: Flights
owner: x
owners:
  ml: {page: [oncal], ticket: chat}
channels:
  oncall: {webhook: {}}
models:
  - name: m
    owner: ml
    task: classificaton
    slos:
      - {name: a, sli: availabilty, objective: 101%, window: 30}
      - {name: b, sli: {latency: {treshold: 250ms}}, objective: 99%}
    drift: {reference: r, features: {x: numerc}, quorum: "2"}
"""


def problems(path: Path) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        load.load_platform(path)
    return [str(problem).replace(str(path), "f") for problem in caught.value.problems]


def broken(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "platform.yaml"
    path.write_text(text)
    return problems(path)


def test_ten_mistakes_and_more_are_all_named_with_line_and_remedy(tmp_path: Path) -> None:
    found = broken(tmp_path, TEN_MISTAKES)
    expected = [
        "f:2: platform: 'Flights' is not a name; write small letters",
        "f:3: owner: unknown key; did you mean owners?",
        "f:5: owners.ml.ticket: 'chat' is not a list",
        "f:7: channels.oncall.webhook: needs exactly one of url and url_file",
        "f:11: models[0].task: 'classificaton' is not one of classification, regression or generation; did you mean",
        "f:13: models[0].slos[0].objective: 101% is not between 0% and 100%",
        "f:13: models[0].slos[0].sli: 'availabilty' is not one of availability",
        "f:13: models[0].slos[0].window: 30 is not a duration",
        "f:14: models[0].slos[1].sli.latency.threshold: missing",
        "f:14: models[0].slos[1].sli.latency.treshold: unknown key; did you mean threshold?",
        "f:15: models[0].drift.features.x: 'numerc' is not one of numeric or categorical; did you mean numeric?",
        "f:15: models[0].drift.quorum: '2' is not a whole number",
    ]
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"owners": {"ml": {"page": ["oncal"], "ticket": ["chat"]}}}, "no channel 'oncal'; did you mean oncall?"),
        ({"models": [{"name": "a", "owner": "m", "task": "regression"}]}, "there is no owner 'm'; did you mean ml?"),
        (
            {"models": [{"name": "a", "owner": "ml", "task": "regression"}] * 2},
            "models[1].name: a second model 'a'",
        ),
        (
            {
                "models": [
                    {
                        "name": "a",
                        "owner": "ml",
                        "task": "regression",
                        "slos": [{"name": "x", "sli": {"outcome": "correct"}, "objective": "9%"}],
                    }
                ]
            },
            "a regression has no correct or wrong outcome",
        ),
        (
            {
                "models": [
                    {
                        "name": "a",
                        "owner": "ml",
                        "task": "classification",
                        "slos": [{"name": "x", "sli": {"latency": {"threshold": "300ms"}}, "objective": "9%"}],
                    }
                ]
            },
            "300ms is not a bound of the model's latency_buckets",
        ),
        (
            {
                "models": [
                    {
                        "name": "a",
                        "owner": "ml",
                        "task": "classification",
                        "drift": {"reference": "r", "features": {"x": "numeric"}, "quorum": 3},
                    }
                ]
            },
            "3 votes of 2 methods",
        ),
    ],
    ids=["channel", "owner", "model twice", "outcome of a regression", "threshold between buckets", "quorum"],
)
def test_names_and_values_that_lead_nowhere_are_named(tmp_path: Path, make_document, change, said: str) -> None:
    found = broken(tmp_path, yaml.safe_dump(make_document(**change), sort_keys=False))
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize("how", ["hash", "drop"])
@pytest.mark.parametrize("feature", ["customer", "customer:hour", "seen:age:customer"])
def test_a_feature_that_is_hidden_and_judged_for_drift_is_refused(
    tmp_path: Path, make_document, how: str, feature: str
) -> None:
    document = make_document(exporter={"personal": {how: ["customer"], "key_file": "key"}})
    document["models"][0]["drift"] = {"reference": "r", "features": {feature: "numeric", "amount": "numeric"}}
    (found,) = broken(tmp_path, yaml.safe_dump(document, sort_keys=False))
    assert "customer is" in found
    assert f"models[0].drift.features.{feature}: " in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("a: 1\n---\nb: 2\n", "2 documents"),
        ("- 1\n", "not a mapping"),
        ("a: [1\n", "not YAML"),
        ("platform: x\nplatform: y\n", "written twice, first on line 1"),
        ("a: " + "[" * 5000 + "]" * 5000, "f:1: nested deeper than 100 levels"),
        ("a: " + "{b: " * 100_000 + "1" + "}" * 100_000, "f:1: nested deeper than 100 levels"),
        ("b: 1\na:\n  " + "- " * 100_000 + "1\n", "f:3: nested deeper than 100 levels"),
        ("? " * 50_000 + "a", "f:1: nested deeper than 100 levels"),
        ("a: &a [*a]\n", "nested too deeply"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"b{i}: &b{i} [{', '.join(['*' + ('a' if i == 0 else f'b{i - 1}')] * 9)}]\n" for i in range(9)),
            "values",
        ),
    ],
    ids=[
        "empty",
        "two documents",
        "list",
        "no yaml",
        "twice",
        "deep",
        "mappings",
        "lines",
        "keys",
        "itself",
        "alias bomb",
    ],
)
def test_files_that_are_no_platform_file_are_refused_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in line for line in broken(tmp_path, text))


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    assert problems(path) == ["f:2: not UTF-8 text; save the file as UTF-8"]


def test_a_folder_is_merged_by_kind_and_says_where_things_stand(tmp_path: Path, make_document) -> None:
    document = make_document()
    models = document.pop("models")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "b.yaml").write_text(yaml.safe_dump({"models": models}))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"models": [{**models[0], "name": "second"}]}))
    assert [model.name for model in load.load_platform(tmp_path).models] == ["fraud", "second"]
    (tmp_path / "c.yaml").write_text("models:\n  - {name: second, owner: nobody, task: regression}\n")
    with pytest.raises(InvalidInputError) as caught:
        load.load_platform(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'c.yaml'}:2: models[1].owner: there is no owner 'nobody'")


def test_a_missing_file_says_what_writes_one(tmp_path: Path) -> None:
    assert problems(tmp_path / "x.yaml") == [
        f"{tmp_path}/x.yaml: there is no such file; midwatch init writes one to start from"
    ] or (problems(tmp_path / "x.yaml") == ["f: there is no such file; midwatch init writes one to start from"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["99%", "5m"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["models", "name", "slos", "owners", "sli", "drift"]), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_no_yaml_whatever_makes_a_traceback(tmp_path: Path, value) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump({"models": value} if not isinstance(value, dict) else value))
    with pytest.raises(InvalidInputError):
        load.load_platform(path)


def test_the_starter_passes_and_is_never_written_over(tmp_path: Path) -> None:
    init.init(tmp_path)
    assert load.load_platform(tmp_path / "platform.yaml").platform == "my-platform"
    with pytest.raises(Exception, match="is there already"):
        init.init(tmp_path)


@pytest.mark.parametrize("text", ["1", "5 m", "", "m5", "-5m", "1h2", "5y", None, 5], ids=repr)
def test_what_is_not_a_duration_is_refused(text) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        values.parse_duration(text)


def test_percentages_are_exact_and_objectives_are_exclusive() -> None:
    assert values.parse_percentage("99.95%") == Decimal("0.9995")
    for text in ("0%", "100%"):
        with pytest.raises(ValueError, match="exclusive"):
            values.parse_objective(text)


@pytest.mark.parametrize("seconds", [0.25, 1, 90, 3600, 86400, 2592000])
def test_durations_are_written_as_they_are_read(seconds: float) -> None:
    assert values.parse_duration(values.format_duration(seconds)) == seconds
