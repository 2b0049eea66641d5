"""The experiment that a command names: one of the platform's, or a file in Chaos Toolkit's format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos import check, experiment_file, experiments, kinds
from chaos.document import Experiment, extension
from chaos.places.local.plane import LocalPlane
from chaos.places.place import Home, Place
from midwatch import options
from midwatch.errors import MidwatchError
from midwatch.spec import base, load
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
        return experiment_file.read(path, place)
    known = experiments.documents(load_platform(place.platform_file, place.state))
    if name not in known:
        message, remedy = base.unknown(name, known, "experiment")
        raise MidwatchError(f"{message}; {remedy if known else 'known: none'}")
    return known[name]


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
