"""Train the versions on the first months, say how good they are, and write the table that drift is compared with.

v1 is gradient boosting on everything known at scheduling time; v3 is the same, trained again with another seed, as a
good release is; v4 comes of a retraining (`retraining.py`). v2 is what a careless release looks like: trained on the
first week of January only, without weather, and calling a flight late at a probability of 5%.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import data

THRESHOLDS = {"v1": 0.5, "v2": 0.05, "v3": 0.5}
"""Probability of being late from which a flight is called late."""
THRESHOLD = 0.5
"""The same for every later version."""
COLUMNS = {
    "v1": data.FEATURES,
    "v2": tuple(name for name in data.FEATURES if name not in data.WEATHER),
    "v3": data.FEATURES,
}
SEEDS = {"v1": 0, "v2": 0, "v3": 1}
FIRST_WEEK = 6_100
"""Flights of the first week: what v2 has seen."""


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A trained version: features by name in, probability of being late out."""

    version: str
    columns: tuple[str, ...]
    codes: dict[str, dict[str, int]]
    model: Any

    def encode(self, features: dict[str, Any]) -> list[float]:
        """One row in the model's order; what was never seen is missing."""
        nan = float("nan")
        row = []
        for name in self.columns:
            value = features.get(name)
            row.append(self.codes[name].get(value, nan) if name in self.codes else nan if value is None else value)
        return row

    def probabilities(self, table: Any) -> Any:
        """The same for the rows of a table (a pandas.DataFrame), as an array."""
        return self.model.predict_proba(_encoded(table, self.columns, self.codes))[:, 1]

    def predict(self, table: Any, params: Any = None) -> Any:  # noqa: ARG002 - MLflow's signature
        """As MLflow asks a python_function."""
        return self.probabilities(table)

    def probability(self, features: dict[str, Any]) -> float:
        """Probability that the flight will be late."""
        import numpy as np

        return float(self.model.predict_proba(np.array([self.encode(features)], dtype=np.float64))[0, 1])


def load(version: str) -> Classifier:
    """A trained version; trains it if need be."""
    path = data.CACHE / f"model-{version}.joblib"
    if not path.exists():
        main()
    return load_file(str(path))


def fit(version: str, table: Any, columns: tuple[str, ...] = data.FEATURES, seed: int = 0) -> Classifier:
    """Train a version on the rows of a table (a pandas.DataFrame), all of which have a label."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    codes = {
        name: {value: index for index, value in enumerate(sorted(table[name].unique()))} for name in data.CATEGORICAL
    }
    model = HistGradientBoostingClassifier(
        max_iter=60, categorical_features=[name in codes for name in columns], random_state=seed
    )
    model.fit(_encoded(table, columns, codes), table["late"].astype(bool))
    return Classifier(version=version, columns=columns, codes=codes, model=model)


def _encoded(table: Any, columns: tuple[str, ...], codes: dict[str, dict[str, int]]) -> Any:
    import pandas as pd

    rows = {name: table[name].map(codes[name]) if name in codes else table[name] for name in columns}
    return pd.DataFrame(rows).to_numpy(dtype="float64")


def measure(classifier: Classifier, table: Any) -> dict[str, float]:
    """How good a version is on labelled rows: accuracy, that of always saying the commoner class, AUC."""
    from sklearn.metrics import roc_auc_score

    scores, truth = classifier.probabilities(table), table["late"].astype(bool).to_numpy()
    threshold = THRESHOLDS.get(classifier.version, THRESHOLD)
    return {
        "accuracy": float(((scores >= threshold) == truth).mean()),
        "commoner_class": float(max(truth.mean(), 1 - truth.mean())),
        "auc": float(roc_auc_score(truth, scores)),
    }


def _load_pyfunc(path: str) -> Classifier:
    """A stored version; MLflow calls it so (flavor python_function)."""
    import joblib

    classifier: Classifier = joblib.load(path)
    return classifier


load_file = _load_pyfunc


def main() -> None:
    """Train what is missing."""
    import joblib

    paths = {version: data.CACHE / f"model-{version}.joblib" for version in THRESHOLDS}
    reference, evaluation = data.CACHE / "training.parquet", data.CACHE / "evaluation.json"
    if reference.exists() and evaluation.exists() and all(path.exists() for path in paths.values()):
        return
    flights = data.load()
    training = flights[flights["month"].isin(data.TRAINING_MONTHS)]
    training[list(data.FEATURES)].to_parquet(reference)
    labelled, september = training[training["late"].notna()], flights[(flights["month"] == 9) & flights["late"].notna()]
    measured = {}
    for version, path in paths.items():
        rows = labelled.head(FIRST_WEEK) if version == "v2" else labelled
        classifier = fit(version, rows, COLUMNS[version], SEEDS[version])
        measured[version] = measure(classifier, september)
        said = ", ".join(f"{name} {value:.3f}" for name, value in measured[version].items())
        print(f"{version}: September: {said}", file=sys.stderr)
        joblib.dump(classifier, path)
    evaluation.write_text(json.dumps(measured))


if __name__ == "__main__":
    # Under its own name, so that what is stored can be loaded by the servers.
    import train

    train.main()
