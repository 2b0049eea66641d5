"""Models whose drift is judged, their predictions, and what the exporter's judge says of them."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from exporters.drift import references, state
from exporters.drift.judge import Judge
from exporters.stream.drift.judging import Judging, Pieces
from midwatch.client.events import Prediction
from midwatch.spec import load
from midwatch.spec.drift import Feature
from monitors.drift import fitting, reference, reference_file

START = 1_700_000_000.0
KINDS = {"x": Feature.NUMERIC, "n": Feature.NUMERIC, "colour": Feature.CATEGORICAL, "prediction": Feature.CATEGORICAL}
COLOURS = ("red", "green", "True", "7")


@cache
def fitted() -> reference.Reference:
    draw = np.random.default_rng(1)
    columns = {
        "x": draw.normal(size=4000),
        "n": draw.integers(0, 5, 4000).astype(np.float64),
        "colour": draw.choice(COLOURS, 4000).tolist(),
        "prediction": draw.choice(["a", "b"], 4000).tolist(),
    }
    return fitting.fit(columns, KINDS, window_rows=200)


def write_platform(folder: Path, document: dict[str, Any]) -> Path:
    """A platform of a model whose windows end by time, and one whose windows end by a count and look at rows."""
    reference_file.save(fitted(), folder / "r.npz")
    features = {name: kind.value for name, kind in KINDS.items()}
    drift = {"reference": "r.npz", "window": "10s", "min_samples": 50, "features": features}
    (one,) = document["models"]
    document["models"] = [
        one | {"drift": drift | {"version_references": "own-{version}.npz"}},
        one | {"name": "churn", "drift": drift | {"rows": 120, "panes": 2, "methods": ["ks", "psi", "mmd"]}},
        one | {"name": "unwatched"},
    ]
    document["exporter"] = {"caps": {"versions": 2}}
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def events_of(seed: int, count: int, start: float, shift: float) -> list[Prediction]:
    """Predictions in the order of their arrival: some late, some errors, some with values that are odd or missing."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        features = {"x": draw.gauss(shift, 1), "n": draw.randrange(5), "colour": draw.choice(COLOURS)}
        odd = {"x": draw.choice([None, "text", True, 3]), "n": None, "colour": draw.choice(["new", 7, True, 0.5, None])}
        name = draw.choice(sorted(features))
        if draw.random() < 0.01:
            features[name] = odd[name]
        elif draw.random() < 0.01:
            del features[name]
        is_error = draw.random() < 0.05
        one = Prediction(
            id=f"{seed}-{number}",
            model=draw.choice(["fraud", "churn", "unwatched"]),
            version=draw.choice(["v1", "v1", "v2", "v3", "v4"]),
            ts=start + number * 10 / count - draw.choice([0] * 9 + [25]),
            outcome="error" if is_error else "ok",
            prediction=None if is_error else draw.choice(["a", "b"]),
            features=features,
        )
        found.append(one)
    return found


def batches() -> list[tuple[list[Prediction], float]]:
    """What comes by batches, and until when everything has been read."""
    made = [events_of(seed, 400, START + 10 * seed, shift) for seed, shift in enumerate([0.0, 0.0, 1.0, 0.5])]
    return [(events, events[-1].ts) for events in made]


def exporters_judge(file: Path) -> Judge:
    platform, base = load.load_platform(file), file.parent
    own = base / "exporter"
    own.mkdir()
    models, of_version = references.Unwatched(platform, base).usable(), references.OfVersions(platform, base)
    return Judge(platform, base, own, models, state.Saved(), of_version)


def streams_judge(file: Path, sink: Pieces) -> Judging:
    folder = file.parent / "stream"
    folder.mkdir(exist_ok=True)
    return Judging(load.load_platform(file), file.parent, folder, sink)


def said(judge: Judge) -> list[tuple[str, list[tuple[str, str]], float]]:
    return sorted((name, sorted(labels.items()), value) for name, labels, value in judge.board.samples())


def said_by(judging: Judging) -> list[tuple[str, list[tuple[str, str]], float]]:
    return sorted(
        (metric.name, sorted(labels.items()), value)
        for metric, labels, value in judging.samples()
        if not metric.name.startswith("midwatch_")
    )


def verdicts(judge: Judge) -> set[str]:
    return {labels["verdict"] for name, labels, _ in judge.board.samples() if name == "ml_drift_windows_total"}
