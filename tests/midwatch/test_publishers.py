"""A section that nothing would be published of is refused with its place: its alerts would look like calm for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.app.render import rendered_files
from midwatch.errors import InvalidInputError
from midwatch.spec import load
from tests.conftest import platform_document

Change = Callable[[dict[str, Any]], object]


def whole() -> dict[str, Any]:
    """A platform whose sections all have their publishers."""
    written = platform_document(loop={}, gate={"webhook_secret_file": "/run/secrets/mlflow"})
    written["systems"] = {
        "mlflow": {"owner": "ml", "targets": ["mlflow:9090"], "observe": {"url": "http://mlflow:5000"}},
        "tekton": {"owner": "ml", "targets": ["tekton:9090"], "observe": {"namespaces": ["ml"]}},
    }
    written["models"][0] |= {
        "drift": {"reference": "r", "features": {"amount": "numeric"}, "retrain": {"webhook": WEBHOOK}},
        "canary": {"criteria": [{"metric": "errors"}]},
        "promotion": {},
        "regression": {"metrics": {"accuracy": {}}, "pipeline": "ml/train"},
        "loop": {"experiment": "training"},
    }
    return written


WEBHOOK = {"url_file": "u", "secret_file": "s"}


def problems(folder: Path, written: dict[str, Any]) -> list[tuple[str, str, str]]:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(written))
    try:
        load.load_platform(file)
    except InvalidInputError as error:
        return [(one.path or "", one.message, one.remedy or "") for one in error.problems]
    return []


def without_drift(written: dict[str, Any]) -> None:
    """Nothing is retrained, and nothing has to be: what is left compares trainings that somebody starts."""
    for key in ("drift", "loop"):
        del written["models"][0][key]


def test_a_loop_may_be_there_for_nothing_but_the_histories(tmp_path: Path) -> None:
    assert problems(tmp_path, whole()) == []
    written = whole()
    without_drift(written)
    assert problems(tmp_path, written) == []
    files = rendered_files(load.load_platform(tmp_path / "platform.yaml"))
    assert "ModelRegressed" in "".join(files.values())
    jobs = yaml.safe_load(files["prometheus/prometheus.yml"])["scrape_configs"]
    assert "midwatch-loop" in {job["job_name"] for job in jobs}, "what publishes the verdicts is scraped"


def without_loop(written: dict[str, Any]) -> None:
    without_drift(written)
    del written["loop"]


def without_canary(written: dict[str, Any]) -> None:
    written["models"][0]["promotion"] = {"needs": ["evaluation"]}
    del written["models"][0]["canary"]


@pytest.mark.parametrize(
    ("change", "path", "said", "remedy"),
    [
        (without_loop, "models[0].regression", "ModelRegressed could never fire", "add loop: {}"),
        (without_canary, "models[0].promotion", "no gate runs that would promote", "add canary to fraud"),
        (
            lambda written: written["models"][0].pop("promotion"),
            "gate.webhook_secret_file",
            "takes no delivery",
            "add promotion",
        ),
        (
            lambda written: written["systems"]["tekton"]["observe"].update(namespaces=["other"]),
            "models[0].regression.pipeline",
            "nobody asks Tekton for the runs of ml/train",
            "add ml to systems.tekton.observe.namespaces",
        ),
        (
            lambda written: written["systems"].pop("tekton"),
            "models[0].regression.pipeline",
            "nobody asks Tekton for the runs of ml/train",
            "add ml to systems.tekton.observe.namespaces",
        ),
        (
            lambda written: written["systems"].pop("mlflow"),
            "models[0].regression.metrics",
            "nobody says where the registry is",
            "add systems.mlflow.observe",
        ),
        (
            lambda written: written["systems"].pop("mlflow"),
            "models[0].loop.experiment",
            "nobody says where MLflow is",
            "add systems.mlflow.observe",
        ),
    ],
    ids=["loop", "gate", "webhook", "namespace", "tekton", "registry", "experiment"],
)
def test_a_section_whose_publisher_is_not_there_is_refused_with_what_to_do(
    tmp_path: Path, change: Change, path: str, said: str, remedy: str
) -> None:
    written = whole()
    change(written)
    found = problems(tmp_path, written)
    assert any(where == path and said in message and remedy in then for where, message, then in found), found


def test_a_model_that_the_registry_section_does_not_have_is_named_wherever_it_is_looked_up(tmp_path: Path) -> None:
    written = whole()
    written["models"].append({"name": "price", "owner": "ml", "task": "regression"})
    written["systems"]["mlflow"]["observe"]["models"] = {"price": "prices"}
    found = problems(tmp_path, written)
    assert {where for where, message, _ in found if "is called in the registry" in message} == {
        "models[0].regression.metrics",
        "models[0].promotion",
    }
