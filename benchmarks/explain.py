"""Explanations: latency and exactness of the service on one core, and what attributions cost the exporter.

The service is one process on the first core, whoever asks it on the other; every row is another one, so nothing is in
the cache. Runs of the exporter with attributions and without take turns, since a machine is never as fast as before.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import yaml

from benchmarks import exporter, load
from benchmarks.figure import Figure
from midwatch import modules
from monitors.explainer import background, explainer, models, remote
from monitors.explainer.model import library

FEATURES, ROWS = 50, 4000
COLUMNS = [f"feature_{place}" for place in range(FEATURES)]
MOST_DIFFERENCE = 1e-6
EXPLAINED_OF_60 = 3
"""Five percent of a batch's predictions."""

Trained = tuple[str, Any]
"""What `--from` says of a model, and the model as shap takes it."""


def _data() -> tuple[Any, Any]:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(ROWS, FEATURES))
    return rows, (rows[:, 0] + rows[:, 1] * rows[:, 2] + rng.normal(size=ROWS) > 0).astype(int)


def _xgboost(folder: Path, trees: int) -> Trained:
    import xgboost

    rows, labels = _data()
    matrix = xgboost.DMatrix(rows, labels, feature_names=COLUMNS)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 6}, matrix, trees)
    booster.save_model(folder / "xgboost.json")
    return f"xgboost:{folder}/xgboost.json", booster


def _lightgbm(folder: Path, trees: int) -> Trained:
    import lightgbm

    rows, labels = _data()
    data = lightgbm.Dataset(rows, labels, feature_name=COLUMNS)
    booster = lightgbm.train({"objective": "binary", "num_leaves": 31, "verbose": -1}, data, trees)
    booster.save_model(folder / "lightgbm.txt")
    return f"lightgbm:{folder}/lightgbm.txt", booster


def _histograms(folder: Path, trees: int) -> Trained:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return _kept(HistGradientBoostingClassifier(max_iter=trees, max_leaf_nodes=31), folder / "histograms.skops")


def _forest(folder: Path, trees: int) -> Trained:
    from sklearn.ensemble import RandomForestClassifier

    return _kept(RandomForestClassifier(trees, max_depth=8, random_state=1), folder / "forest.skops")


def _kept(estimator: Any, file: Path) -> Trained:
    import skops.io

    skops.io.dump(estimator.fit(*_data()), file)
    return f"scikit-learn:{file}", estimator


MODELS: dict[str, Callable[[Path, int], Trained]] = {
    "XGBoost, depth 6": _xgboost,
    "LightGBM, 31 leaves": _lightgbm,
    "HistGradientBoosting, 31 leaves": _histograms,
    "random forest, depth 8": _forest,
}


@contextmanager
def _serving(source: str, file: Path) -> Iterator[exporter.Server]:
    """A service on the first core."""
    words = ("--model", "m", "--version", "v", "--from", source, "--background", str(file))
    command = modules.command("midwatch", "explain", "serve", *words, "--listen", "127.0.0.1:0")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
    try:
        url = next(line["url"] for line in map(json.loads, process.stderr or ()) if "url" in line)
        yield exporter.Server(process, int(url.rsplit(":", 1)[1]))
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _latencies(port: int, rows: Any) -> list[float]:
    """Seconds of each explanation, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    taken = []
    for row in rows.tolist():
        begun = time.perf_counter()
        connection.request("POST", "/v1/models/m:explain", json.dumps({"instances": [row]}))
        answer = connection.getresponse()
        content = answer.read()
        taken.append(time.perf_counter() - begun)
        if answer.status != 200:
            raise RuntimeError(content.decode())
    return taken


def _explained(folder: Path, smoke: bool) -> Iterator[Figure]:
    rows, _ = _data()
    trees, asked = (20, 20) if smoke else (500, 500)
    file = folder / "background.parquet"
    pyarrow.parquet.write_table(pa.table({name: rows[:100, place] for place, name in enumerate(COLUMNS)}), file)
    for name, train in MODELS.items():
        source, theirs = train(folder, trees)
        with _serving(source, file) as server:
            _latencies(server.port, rows[:5])
            before = server.cpu_seconds()
            taken = _latencies(server.port, rows[200 : 200 + asked])
            spent = (server.cpu_seconds() - before) / asked * 1000
        p99 = statistics.quantiles(taken, n=100)[98] * 1000
        peer = f"median {statistics.median(taken) * 1000:.1f} ms, CPU {spent:.1f} ms"
        yield Figure(
            name=f"explained: {trees} trees, {name}: p99", target=50, measured=p99, unit="ms", better="less", peer=peer
        )
        difference = _difference(source, theirs, file, rows[:20])
        yield Figure(
            name="their greatest difference from shap",
            target=MOST_DIFFERENCE,
            measured=difference,
            unit="",
            better="less",
        )


def _difference(source: str, theirs: Any, file: Path, rows: Any) -> float:
    sample = background.read(file)
    loaded = models.load(source, sample.columns, remote.Access())
    made = explainer.build(loaded, sample, model="m", version="v", output=None, precision=0.05)
    times = explainer.Times(until=float("inf"), deadline=float("inf"), clock=time.monotonic)
    ours = np.array([made.explain(row, times).attributions for row in rows])
    told = np.asarray(library("shap", "the comparison").TreeExplainer(theirs).shap_values(rows, check_additivity=False))
    return float(np.abs(ours - told.reshape(len(rows), FEATURES, -1)[:, :, -1]).max())


def _counted(folder: Path, smoke: bool) -> Iterator[Figure]:
    """Rates of one exporter, with attributions and without, in turns."""
    pairs, seconds = (1, 1) if smoke else (5, 4)
    model = {"name": "flight-delay", "owner": "ml", "task": "classification", "explanations": {"features": FEATURES}}
    document = {
        "apiVersion": "midwatch/v1",
        "platform": "bench",
        "owners": {"ml": {"page": ["hook"], "ticket": ["hook"]}},
        "channels": {"hook": {"webhook": {"url": "http://127.0.0.1:1/x"}}},
        "models": [model],
    }
    (folder / "platform.yaml").write_text(yaml.safe_dump(document))
    shares, works = [], []
    for number in range(pairs):
        plain, explained = (
            _rate(folder / f"state-{number}-{count}", folder / "platform.yaml", seconds, count)
            for count in (0, EXPLAINED_OF_60)
        )
        shares.append(explained.rate / plain.rate)
        works.append(plain.cpu_microseconds / explained.cpu_microseconds)
    name = f"exporter: 5% of predictions with {FEATURES} attributions, by its rate without"
    peer = f"by CPU {statistics.median(works):.0%}; {pairs} pairs, {min(shares):.0%} to {max(shares):.0%}"
    yield Figure(name=name, target=80, measured=statistics.median(shares) * 100, unit="%", better="more", peer=peer)


def _rate(state: Path, file: Path, seconds: float, explained: int) -> exporter.Rate:
    with exporter.serving(state, "--file", str(file)) as server:
        return exporter.rate(server, load.batches, seconds, 60, 40, None, explained)


def run(*, smoke: bool) -> Sequence[Figure]:
    """All figures of explanations."""
    with tempfile.TemporaryDirectory(prefix="midwatch-bench-") as name:
        return [figure for part in (_explained, _counted) for figure in part(Path(name), smoke)]
