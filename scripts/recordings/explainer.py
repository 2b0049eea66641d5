"""The explanation service with trees of XGBoost: rows, some of them again, and one that has too few features."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import midwatch
from midwatch import modules
from scripts.recordings import recorder
from scripts.recordings.recorder import Program

SYSTEM = "explainer"
_COLUMNS = ("age", "income", "debt")


def programs() -> Iterator[Program]:
    """Midwatch's own, where XGBoost is."""
    if find_spec("xgboost"):
        yield Program(version=midwatch.__version__, path=Path(sys.executable))


def record(program: Program, folder: Path) -> dict[str, str]:  # noqa: ARG001 - the signature of every system
    """Its exposition before and after the requests."""
    rows = _prepare(folder)
    port = recorder.free_port()
    model, background = f"xgboost:{folder}/model.json", f"{folder}/background.json"
    words = ("--model", "credit", "--version", "v7", "--from", model, "--background", background)
    command = modules.command("midwatch", "explain", "serve", *words, "--listen", f"127.0.0.1:{port}")
    asked = f"http://127.0.0.1:{port}/v1/models/credit:explain"
    with recorder.running(command, folder) as log:
        idle = recorder.wait_for(f"http://127.0.0.1:{port}/metrics", log)
        for instances in ([rows[0]], rows[:20], rows[:2], [[1.0]]):
            recorder.fetch(asked, {"instances": instances})
        busy = recorder.wait_for(f"http://127.0.0.1:{port}/metrics", log, 'result="hit"')
    return {"-idle": idle, "": busy}


def _prepare(folder: Path) -> list[list[float]]:
    """Write a model and its background; the background's rows."""
    import xgboost

    rows = np.random.default_rng(7).normal(size=(400, len(_COLUMNS)))
    matrix = xgboost.DMatrix(rows, rows[:, 0] > rows[:, 1] * rows[:, 2], feature_names=list(_COLUMNS))
    xgboost.train({"objective": "binary:logistic", "nthread": 1}, matrix, 20).save_model(folder / "model.json")
    told = [dict(zip(_COLUMNS, row, strict=True)) for row in rows[:40].tolist()]
    (folder / "background.json").write_text(json.dumps(told))
    listed: list[list[float]] = rows[:40].tolist()
    return listed
