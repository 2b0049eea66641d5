"""The experiment that a command names: one of the platform's, or a file in Chaos Toolkit's format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from chaos import check, experiments, kinds
from chaos.document import Experiment, extension
from chaos.places.local.plane import LocalPlane
from chaos.places.place import Home, Place
from midwatch import options
from midwatch.errors import InvalidInputError, MidwatchError
from midwatch.spec import base, load
from midwatch.spec.document import read_file
from midwatch.spec.model import Platform

FILES = (".json", ".yaml", ".yml")


def load_platform(file: Path | None, state: Path) -> Platform:
    """The platform of a file, else of the plane that runs in a state folder, else of the default file."""
    if file is None and not (state / "plane.json").exists():
        file = options.default_file()
    platform, document = load.load_with_places(file or LocalPlane(state).platform_file)
    check.ensure_alerts(platform, document)
    return platform


def experiment(name: str, place: Place) -> Experiment:
    """An experiment by its name, or from a file."""
    os.environ.update(place.environment())  # a file may refer to it
    path = Path(name)
    if path.suffix in FILES:
        return _loaded(path)
    known = experiments.documents(load_platform(place.platform_file, place.state))
    if name not in known:
        message, remedy = base.unknown(name, known, "experiment")
        raise MidwatchError(f"{message}; {remedy if known else 'known: none'}")
    return known[name]


def _loaded(path: Path) -> Experiment:
    from chaoslib.exceptions import ChaosException
    from chaoslib.experiment import ensure_experiment_is_valid

    experiment_document = read_file(path).values
    try:
        ensure_experiment_is_valid(experiment_document)
    except (ChaosException, ValueError, AttributeError, TypeError) as error:
        raise InvalidInputError.at(path, f"not a Chaos Toolkit experiment: {str(error).splitlines()[0]}") from error
    if "dry" in experiment_document:
        # Chaos Toolkit ignores a text here, and the actions really run.
        raise InvalidInputError.at(path, "dry has no effect", remedy="remove it; midwatch chaos plan changes nothing")
    return cast(Experiment, experiment_document)


def rows(chosen: Platform, state: Path) -> list[dict[str, Any]]:
    """What is known of each of a platform's experiments, with its last verdict."""
    try:
        results = json.loads((Home(state).folder / "results.json").read_text())
    except (OSError, ValueError):
        results = {}
    return [_row(one, results) for one in experiments.documents(chosen).values()]


def _row(chosen: Experiment, results: Mapping[str, Any]) -> dict[str, Any]:
    about = extension(chosen)
    return {
        "experiment": about["experiment"],
        "kind": about["kind"],
        "model": about["model"],
        "blast_radius": about["blast_radius"],
        "expected_alert": about["expected_alert"],
        "schedule": about["schedule"],
        "does": kinds.table()[about["kind"]].does,
        "last_verdict": results.get(about["experiment"], {}).get("verdict"),
    }
