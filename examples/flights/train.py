"""Train the versions on the first months, say how good they are, and write the table that drift is compared with.

v1 is gradient boosting on everything known at scheduling time; v3 is the same, trained again with another seed, as a
good release is. v2 is what a careless release looks like: trained on the
first week of January only, without weather, and calling a flight late at a probability of 5%.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import data

THRESHOLDS = {"v1": 0.5, "v2": 0.05, "v3": 0.5}
"""Probability of being late from which a flight is called late."""
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

    def probability(self, features: dict[str, Any]) -> float:
        """Probability that the flight will be late."""
        import numpy as np

        return float(self.model.predict_proba(np.array([self.encode(features)], dtype=np.float64))[0, 1])


def load(version: str) -> Classifier:
    """A trained version; trains it if need be."""
    import joblib

    path = data.CACHE / f"model-{version}.joblib"
    if not path.exists():
        main()
    classifier: Classifier = joblib.load(path)
    return classifier


def _train(version: str, table: Any) -> Classifier:
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier

    columns = COLUMNS[version]
    codes = {
        name: {value: index for index, value in enumerate(sorted(table[name].unique()))} for name in data.CATEGORICAL
    }
    rows = pd.DataFrame({name: table[name].map(codes[name]) if name in codes else table[name] for name in columns})
    model = HistGradientBoostingClassifier(
        max_iter=60, categorical_features=[name in codes for name in columns], random_state=SEEDS[version]
    )
    model.fit(rows.to_numpy(dtype="float64"), table["late"].astype(bool))
    return Classifier(version=version, columns=columns, codes=codes, model=model)


def _evaluate(classifier: Classifier, table: Any) -> str:
    import numpy as np
    from sklearn.metrics import roc_auc_score

    rows = np.array([classifier.encode(row) for row in table[list(data.FEATURES)].to_dict("records")])
    scores, truth = classifier.model.predict_proba(rows)[:, 1], table["late"].astype(bool).to_numpy()
    right = ((scores >= THRESHOLDS[classifier.version]) == truth).mean()
    base = max(truth.mean(), 1 - truth.mean())
    auc = roc_auc_score(truth, scores)
    return f"{classifier.version}: September: accuracy {right:.3f} (commoner class always: {base:.3f}), AUC {auc:.3f}"


def main() -> None:
    """Train what is missing."""
    import joblib

    paths = {version: data.CACHE / f"model-{version}.joblib" for version in THRESHOLDS}
    reference = data.CACHE / "training.parquet"
    if reference.exists() and all(path.exists() for path in paths.values()):
        return
    flights = data.load()
    training = flights[flights["month"].isin(data.TRAINING_MONTHS)]
    training[list(data.FEATURES)].to_parquet(reference)
    labelled, september = training[training["late"].notna()], flights[(flights["month"] == 9) & flights["late"].notna()]
    for version, path in paths.items():
        classifier = _train(version, labelled.head(FIRST_WEEK) if version == "v2" else labelled)
        print(_evaluate(classifier, september), file=sys.stderr)
        joblib.dump(classifier, path)


if __name__ == "__main__":
    # Under its own name, so that what is stored can be loaded by the servers.
    import train

    train.main()
