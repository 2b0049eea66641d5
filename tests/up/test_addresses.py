"""Servers of this machine are found by whoever reads the platform file, at whatever port they run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from midwatch import platform_files
from midwatch.app.up import addresses
from midwatch.spec import load
from midwatch.spec.observed.mlflow import MlflowObserved

HERE = {"mlflow:5000": "127.0.0.1:2000"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("http://mlflow:5000", "http://127.0.0.1:2000"),
        ("http://mlflow:5000/api?x=mlflow:5000", "http://127.0.0.1:2000/api?x=127.0.0.1:2000"),
        ("mlflow:5000", "127.0.0.1:2000"),
        ("http://mlflow:50001", None),
        ("http://other-mlflow:5000", None),
        ("http://my.mlflow:5000", None),
        ("MLflow", None),
    ],
)
def test_an_address_is_replaced_where_it_is_whole(text: str, wanted: str | None) -> None:
    found = addresses.overlay({"systems": {"mlflow": {"url": text}}}, HERE)
    assert found == ({} if wanted is None else {"systems": {"mlflow": {"url": wanted}}})


def test_entries_with_a_name_are_changed_by_it_and_other_lists_are_whole() -> None:
    values = {
        "models": [{"name": "a", "task": "x"}, {"name": "b", "at": "mlflow:5000", "keep": 1}],
        "targets": ["one:1", "mlflow:5000"],
        "deep": [{"x": ["mlflow:5000"], "y": 2}, 3],
        "local": {"servers": [{"name": "r", "address": "mlflow:5000"}]},
    }
    assert addresses.overlay(values, HERE) == {
        "models": [{"name": "b", "at": "127.0.0.1:2000"}],
        "targets": ["one:1", "127.0.0.1:2000"],
        "deep": [{"x": ["127.0.0.1:2000"], "y": 2}, 3],
    }


def test_nothing_is_written_for_a_platform_whose_servers_have_no_address() -> None:
    assert addresses.overlay({"url": "http://mlflow:5000"}, {}) == {}


def test_the_flights_with_the_overlay_ask_the_registry_of_this_machine(tmp_path: Path) -> None:
    file = Path("examples/flights/platform.yaml")
    differing = addresses.overlay(load.read(file).document.values, HERE)
    overlay = tmp_path / "here.yaml"
    overlay.write_text(yaml.safe_dump(differing))
    before, after = load.load_platform(file), load.load_platform(platform_files.path_of([str(file), str(overlay)]))
    use = after.systems["mlflow"]
    assert isinstance(use.observe, MlflowObserved)
    assert (use.targets, use.observe.url) == (["127.0.0.1:2000"], "http://127.0.0.1:2000")
    assert after.models == before.models
    assert after.local == before.local
