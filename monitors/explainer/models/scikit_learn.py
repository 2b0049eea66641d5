"""Models of scikit-learn in a file of skops, joblib or pickle. The last two are code that runs when it is read.

So a file of theirs is taken only where nobody else can have written it. skops holds no code, and is read with the types
that it trusts; trees, which it does not trust, for crafted ones could crash, only from a file like that. Contributions
of trees are those of shap's TreeExplainer: exact, path-dependent.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from monitors.explainer.explanation import Floats, Rows
from monitors.explainer.model import Contributions, Loaded, ModelError, as_answers, library

if TYPE_CHECKING:
    from monitors.explainer.remote import Access

_OF_PROBABILITIES = ("RandomForestClassifier", "ExtraTreesClassifier", "DecisionTreeClassifier")
_OF_MARGINS = ("GradientBoostingClassifier", "HistGradientBoostingClassifier")
_OF_VALUES = (
    "RandomForestRegressor",
    "ExtraTreesRegressor",
    "DecisionTreeRegressor",
    "GradientBoostingRegressor",
    "HistGradientBoostingRegressor",
)
"""Estimators whose trees shap computes (shap 0.51, explainers/_tree.py), by what it explains of them."""


@dataclass(frozen=True)
class _Estimator:
    """`asked` is the method that gives the answers; `names` are the columns where the estimator wants a data frame."""

    name: str
    asked: Any
    names: list[str] | None

    def predict(self, rows: Rows, seconds: float) -> Floats:  # noqa: ARG002 - nobody can end it
        """Probabilities, margins or values."""
        try:
            answers = self.asked(self._given(rows))
        except Exception as error:
            raise ModelError(f"{self.name} fails: {type(error).__name__}: {error}") from error
        return as_answers(answers, len(rows), self.name)

    def _given(self, rows: Rows) -> Any:
        if self.names is None:
            return rows
        return (
            library("pandas", "an estimator with names of features").DataFrame(rows, columns=self.names).infer_objects()
        )


@dataclass(frozen=True)
class _Trees:
    estimator: _Estimator
    explainer: Any
    method: str = "shap's TreeExplainer (exact, path-dependent)"

    def predict(self, rows: Rows, seconds: float) -> Floats:
        """Probabilities, margins or values: what the contributions add up to."""
        return self.estimator.predict(rows, seconds)

    def contributions(self, rows: Rows) -> Contributions:
        """Contributions of the trees, by output."""
        found = np.asarray(self.explainer.shap_values(np.asarray(rows, dtype=np.float64), check_additivity=False))
        base = np.atleast_1d(np.asarray(self.explainer.expected_value, dtype=np.float64))
        by_output = found.reshape(len(rows), rows.shape[1], -1)
        return Contributions(attributions=by_output, base=np.broadcast_to(base, (len(rows), base.size)))


def load(where: str, columns: Sequence[str], access: Access) -> Loaded:  # noqa: ARG001 - the signature of every kind
    """Read the file; ModelError when it may not be read, or holds no estimator."""
    estimator = _read(Path(where))
    names = getattr(estimator, "feature_names_in_", None)
    named = None if names is None else [str(name) for name in names]
    kind = type(estimator).__name__
    method = _method(estimator, kind, where)
    features = getattr(estimator, "n_features_in_", len(columns))
    if features != len(columns):
        raise ModelError(f"{where}: has {features} features; the background has {len(columns)} columns")
    asked = _Estimator(f"{where} ({kind})", getattr(estimator, method), named)
    is_by_pairs = getattr(estimator, "decision_function_shape", None) == "ovo" and method == "decision_function"
    is_named = method != "predict" and not is_by_pairs
    outputs = [str(name) for name in getattr(estimator, "classes_", ())] if is_named else []
    return Loaded(model=asked, trees=_trees(estimator, kind, asked), columns=named, outputs=outputs)


def _method(estimator: Any, kind: str, where: str) -> str:
    """The method whose answers are explained; ModelError for an estimator that has none of amounts."""
    if kind in _OF_MARGINS:
        return "decision_function"
    amounts = ("predict_proba", "decision_function") if _is_of_classes(estimator) else ("predict_proba", "predict")
    found = next((name for name in amounts if hasattr(estimator, name)), None)
    if found is None and hasattr(estimator, "predict"):
        said = "which answers with numbers of classes alone: what adds up to such a number means nothing"
        raise ModelError(f"{where}: holds a {kind}, {said}; use one with predict_proba or decision_function")
    if found is None:
        raise ModelError(f"{where}: holds a {kind}, which predicts nothing")
    return found


def _is_of_classes(estimator: Any) -> bool:
    """Whether its `predict` answers with names or numbers of classes, which are no amounts."""
    base = library("sklearn.base", "a file of scikit-learn")
    kinds = (base.is_classifier, base.is_outlier_detector, base.is_clusterer)
    try:
        return any(is_kind(estimator) for is_kind in kinds)
    except (AttributeError, TypeError):  # of an object that is no estimator of scikit-learn
        return False


def _trees(estimator: Any, kind: str, asked: _Estimator) -> _Trees | None:
    """What computes the contributions of trees; None for another estimator, and for trees that shap does not read."""
    if kind not in _OF_PROBABILITIES + _OF_MARGINS + _OF_VALUES:
        return None
    shap = library("shap", f"a {kind}")
    try:
        return _Trees(asked, shap.TreeExplainer(estimator))
    except Exception:  # shap refuses what it does not read, each in its own way: those answers are sampled
        return None


def _read(path: Path) -> Any:
    if path.suffix == ".skops":
        return _of_skops(path)
    if path.suffix not in (".joblib", ".pkl", ".pickle"):
        raise ModelError(f"{path}: is no file of scikit-learn; name one that ends in .skops, .joblib, .pkl or .pickle")
    joblib = library("joblib", "a file of joblib")
    try:
        with path.open("rb") as file:
            ensure_own(path, file)
            return joblib.load(file)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: holds nothing that can be read: {type(error).__name__}: {said}") from error


def _of_skops(path: Path) -> Any:
    skops = library("skops.io", "a file of skops")
    try:
        untrusted = sorted(skops.get_untrusted_types(file=path))
        if foreign := [name for name in untrusted if not name.startswith("sklearn.")]:
            what = ", ".join(foreign[:5])
            raise ModelError(f"{path}: has types that skops does not trust: {what}; save the model in its own format")
        if untrusted:
            with path.open("rb") as file:
                ensure_own(path, file)
        return skops.load(path, trusted=untrusted)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise ModelError(f"{path}: is no file of skops: {type(error).__name__}: {error}") from error


def ensure_own(path: Path, file: IO[bytes]) -> None:
    """ModelError when somebody else could have put code into a file that is open, or can put another in its place."""
    remedy = "pickles are code: make it yours alone (chmod go-w), or save it by skops, ONNX or the library's own format"
    if problem := _writers(os.fstat(file.fileno()), may_be_sticky=False):
        raise ModelError(f"{path}: {problem}; {remedy}")
    for folder in path.resolve().parents:
        if problem := _writers(folder.stat(), may_be_sticky=True):
            raise ModelError(f"{path}: its folder {folder} {problem}; {remedy}")


def _writers(found: os.stat_result, *, may_be_sticky: bool) -> str | None:
    """Who else may write it; None for nobody. In a sticky folder others may write, and not take away."""
    if found.st_uid not in (os.geteuid(), 0):
        return f"belongs to another user ({found.st_uid})"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not (may_be_sticky and found.st_mode & stat.S_ISVTX):
        return "can be written by others"
    return None
