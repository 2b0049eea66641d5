"""A retraining as a pipeline: check the data, train, evaluate, scan, compare groups, register; each can refuse.

It trains on the months before, computed by the feature pipeline of today, and on what was served and labelled since the
drift began; it is evaluated on the last of those rows, which it has not seen, beside the version that serves. What each
task found is in MLflow: metrics with the digest of the rows they were measured on, and a tag for each check.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import data
import features as pipeline
import train
import warehouse
from mlflow_rest import LoggedModel, Mlflow

MODEL = "flight-delay"
EXPERIMENT = "flight-delay-retraining"
"""MLflow's experiment of these runs."""
CHAMPION = "v1"
"""The version that serves."""

LEAST_ROWS = 1500
"""Labelled rows since the drift began: a third of them shows a difference of four points."""
HELD_OUT = 0.3
"""Share of those rows, the last ones, that nothing is trained on."""
MOST_SKEW = 0.2
"""Kolmogorov-Smirnov distance between a feature as it was served and as it is trained on: other units are above 0.3."""
MOST_WORSE = 0.02
"""What accuracy may lose on flights from before the drift, as today's pipeline computes them."""
SIGNIFICANT = 0.01
"""Probability of so many more right answers by chance, above which it is not called better (exact McNemar test)."""
MOST_WORSE_GROUP, LEAST_OF_GROUP = 0.05, 100
"""What accuracy may lose for a carrier with so many rows."""
COMPARED = ("distance", "visib", "wind_speed", "temp")
"""Features that are compared as they were served and as they are trained on."""

PACKAGES = ("numpy", "sklearn")
NAMES = {("builtins", "slice"), ("functools", "partial"), ("train", "Classifier")}
"""What the file of a model may name: anything of these packages, and these names of others."""

_T = TypeVar("_T")


class RefusedError(Exception):
    """A task says that this must not become a version."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is trained on and what is held out, with the digest of each table."""

    training: Any
    held_out: Any
    before: Any
    release: str

    @property
    def digest(self) -> str:
        """Of what is trained on."""
        return digest(self.training)

    @property
    def held_out_digest(self) -> str:
        """Of what is held out."""
        return digest(self.held_out[[*data.FEATURES, "late"]])


class Retraining:
    """One run for one episode of drift. `folder` has the warehouse."""

    def __init__(self, mlflow: Mlflow, folder: Path, episode: str, request: str) -> None:
        self._mlflow, self._folder = mlflow, folder
        tags = {"midwatch.episode": episode, "request": request, "mlflow.source.name": "retraining.py"}
        self._experiment = mlflow.experiment(EXPERIMENT)
        self._run = mlflow.start_run(self._experiment, f"retrain-{episode}", tags)
        self._episode = episode
        self._checks: dict[str, str] = {}

    def run(self) -> str:
        """Do it all; the number of the version that was registered. RefusedError when a task stops it."""
        try:
            model, release = self._trained()
        except BaseException:
            self._mlflow.end_run(self._run, "FAILED")
            raise
        self._mlflow.end_run(self._run, "FINISHED")
        tags = {"midwatch.episode": self._episode, "owner": "ml-serving", "feature-release": release}
        checks = {f"midwatch.{name}": said for name, said in self._checks.items() if name != "evaluation"}
        return self._mlflow.register(MODEL, self._run, model, {**tags, **checks})

    def _trained(self) -> tuple[LoggedModel, str]:
        rows = self._task("data_validation", self._validated)
        fitting = _begin_reference(rows)
        classifier = train.fit("v4", rows.training)
        self._log_rows(rows)
        found = self._task("evaluation", lambda: self._evaluated(classifier, rows))
        content = pickle.dumps(classifier)
        self._task("security_scan", lambda: scan(content))
        self._task("bias_check", lambda: self._unbiased(classifier, rows))
        model = self._mlflow.log_model(self._experiment, self._run, MODEL)
        write_model(model.artifacts, content, self._run.id)
        self._mlflow.finish_model(model)
        self._measured(model.id, found, rows)
        if fitting.wait():
            raise RefusedError("what drift of the new version is compared with could not be fitted")
        return model, rows.release

    def _task(self, name: str, task: Callable[[], _T]) -> _T:
        """Do a task, and write down how it ended and how long it took."""
        begun = time.perf_counter()
        try:
            done = task()
        except Exception as error:
            self._checks[name] = "failed"
            self._mlflow.tag_run(self._run, f"midwatch.{name}", f"failed: {error}"[:400])
            raise
        self._checks[name] = "passed"
        self._mlflow.tag_run(self._run, f"midwatch.{name}", "passed")
        self._mlflow.log_metrics(self._run, {f"{name}_seconds": time.perf_counter() - begun})
        return done

    # Tasks ---------------------------------------------------------------------------------------------------------

    def _validated(self) -> Rows:
        """Rows to train on, unless they are too few, or not in the units that the model will be asked in."""
        from scipy.stats import ks_2samp

        release = pipeline.of_today(self._folder)
        kept = warehouse.load(self._folder)
        served = warehouse.in_release(kept, release)
        if release == pipeline.IMPERIAL or len(served) < LEAST_ROWS:
            raise RefusedError(
                f"{len(served)} labelled rows since the pipeline's release {release}; {LEAST_ROWS} are needed"
            )
        split = int(len(served) * (1 - HELD_OUT))
        months = pipeline.of_table(data.training(), release)
        for name in COMPARED:
            distance = ks_2samp(months[name].dropna(), served[name].dropna()).statistic
            if distance > MOST_SKEW and name in ("distance", "visib"):
                raise RefusedError(f"{name} is served otherwise than it is trained on: distance {distance:.2f}")
        return Rows(
            training=_joined(months, served.head(split)),
            held_out=served.iloc[split:],
            before=warehouse.recomputed(kept, release),
            release=release,
        )

    def _evaluated(self, classifier: train.Classifier, rows: Rows) -> dict[str, float]:
        """Figures on the rows held out; refused unless more of them are right than with the version that serves."""
        from scipy.stats import binomtest

        truth = rows.held_out["late"].to_numpy()
        new = (classifier.probabilities(rows.held_out) >= train.THRESHOLD) == truth
        old = (rows.held_out["prediction"] == "late").to_numpy() == truth
        only_new, only_old = int((new & ~old).sum()), int((old & ~new).sum())
        by_chance = binomtest(only_new, max(1, only_new + only_old), alternative="greater").pvalue
        found = train.measure(classifier, rows.held_out) | {
            "accuracy_of_champion": float(old.mean()),
            "right_only_new": only_new,
            "right_only_champion": only_old,
            "p_value_better": float(by_chance),
        }
        if by_chance > SIGNIFICANT:
            raise RefusedError(
                f"not better on {len(truth)} rows: {only_new} right by it alone, {only_old} by {CHAMPION} alone"
            )
        if len(rows.before):
            truth = rows.before["late"].to_numpy()
            now = float(((classifier.probabilities(rows.before) >= train.THRESHOLD) == truth).mean())
            then = float(((rows.before["prediction"] == "late").to_numpy() == truth).mean())
            found |= {"accuracy_before_drift": now, "accuracy_before_drift_of_champion": then}
            if now < then - MOST_WORSE:
                raise RefusedError(f"on flights from before the drift {now:.1%} are right, {then:.1%} were")
        return found

    def _unbiased(self, classifier: train.Classifier, rows: Rows) -> None:
        """Refused when a carrier with enough rows is served worse than before."""
        table = rows.held_out
        truth = table["late"].to_numpy()
        right = table.assign(
            new=(classifier.probabilities(table) >= train.THRESHOLD) == truth,
            old=(table["prediction"] == "late").to_numpy() == truth,
        )
        by_carrier = right.groupby("carrier").agg(rows=("new", "size"), new=("new", "mean"), old=("old", "mean"))
        judged = by_carrier[by_carrier["rows"] >= LEAST_OF_GROUP]
        worst = (judged["new"] - judged["old"]).min()
        if worst < -MOST_WORSE_GROUP:
            raise RefusedError(f"accuracy of carrier {(judged['new'] - judged['old']).idxmin()} falls by {-worst:.1%}")
        self._mlflow.log_metrics(self._run, {"worst_change_of_a_carrier": float(worst), "carriers": len(judged)})

    # What is written down ------------------------------------------------------------------------------------------

    def _log_rows(self, rows: Rows) -> None:
        source = str(self._folder / warehouse.FILE)
        self._mlflow.log_dataset(self._run, "training", rows.digest, source, len(rows.training))

    def _measured(self, model: str, found: dict[str, float], rows: Rows) -> None:
        about = {"model_id": model, "dataset_name": "drifted-window", "dataset_digest": rows.held_out_digest}
        self._mlflow.log_metrics(self._run, found, **about)


def _begin_reference(rows: Rows) -> subprocess.Popen[bytes]:
    """Fit what windows of the new version are compared with, flights as it is trained on them, beside the training."""
    table, reference = data.CACHE / "training-v4.parquet", data.CACHE / "reference-v4.npz"
    rows.training[list(data.FEATURES)].to_parquet(table)
    command = [sys.executable, "-P", "-m", "midwatch", "drift", "fit", str(table), "-o", str(reference)]
    return subprocess.Popen([*command, "--features", data.WATCHED, "--window-rows", "1250"], stdout=subprocess.DEVNULL)


def _joined(months: Any, served: Any) -> Any:
    import pandas as pd

    columns = [*data.FEATURES, "late"]
    return pd.concat([months[columns], served[columns]], ignore_index=True)


def digest(table: Any) -> str:
    """A digest of rows, as short as MLflow has room for."""
    import pandas as pd

    return hashlib.sha256(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes()).hexdigest()[:32]


def scan(content: bytes) -> None:
    """Load a pickled model with nothing at hand but NAMES and PACKAGES; RefusedError when it names anything else."""

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if module.split(".", maxsplit=1)[0] not in PACKAGES and (module, name) not in NAMES:
                raise RefusedError(f"the model's file names {module}.{name}")
            return super().find_class(module, name)

    Restricted(io.BytesIO(content)).load()


def write_model(folder: Path, content: bytes, run_id: str) -> None:
    """A folder in MLflow's format, that `mlflow.pyfunc` can load with this folder on the path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.pkl").write_bytes(content)
    columns = ", ".join(
        f'{{"type": "{"string" if one in data.CATEGORICAL else "double"}", "name": "{one}", "required": false}}'
        for one in data.FEATURES
    )
    (folder / "MLmodel").write_text(
        f"""flavors:
  python_function: {{loader_module: train, data: model.pkl}}
run_id: {run_id}
signature:
  inputs: '[{columns}]'
  outputs: '[{{"type": "double", "name": "probability", "required": true}}]'
"""
    )
