from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from monitors.explainer import background, explainer, models, remote
from monitors.explainer.explainer import Times
from monitors.explainer.explanation import Rows, Stopped
from monitors.explainer.model import ModelError, library
from tests.explainer.conftest import COLUMNS, usual_rows

TIMES = Times(until=1e9, deadline=1e9, clock=lambda: 0.0)


def labelled(rows: Any) -> Any:
    return (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0).astype(int)


def explained_by(source: str, file: Path, **changes: Any) -> explainer.Explainer:
    sample = background.read(file)
    loaded = models.load(source, sample.columns, remote.Access())
    settings = {"model": "credit", "version": "v7", "output": None, "precision": 0.05, **changes}
    return explainer.build(loaded, sample, **settings)


def boosted(folder: Path, names: Any = COLUMNS, **parameters: Any) -> Path:
    import xgboost

    rows = usual_rows(400)
    matrix = xgboost.DMatrix(rows, labelled(rows), feature_names=names and list(names))
    objective = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, **parameters}
    xgboost.train(objective, matrix, 20).save_model(folder / "model.json")
    return folder / "model.json"


def estimators() -> dict[str, Any]:
    from sklearn import ensemble, tree

    return {
        "a forest": ensemble.RandomForestClassifier(12, max_depth=5, random_state=1),
        "extra trees that regress": ensemble.ExtraTreesRegressor(12, max_depth=5, random_state=1),
        "a histogram booster": ensemble.HistGradientBoostingClassifier(max_iter=12),
        "a booster": ensemble.GradientBoostingClassifier(n_estimators=12, random_state=1),
        "a booster that regresses": ensemble.HistGradientBoostingRegressor(max_iter=12),
        "a tree": tree.DecisionTreeClassifier(max_depth=5, random_state=1),
    }


@pytest.mark.parametrize("name", estimators())
def test_trees_of_scikit_learn_have_the_contributions_of_shap(name: str, tmp_path: Path, background_file: Path) -> None:
    import skops.io

    rows = usual_rows(400)
    with threadpoolctl.threadpool_limits(1):
        estimator = estimators()[name].fit(rows, labelled(rows))
    skops.io.dump(estimator, tmp_path / "model.skops")
    made = explained_by(f"scikit-learn:{tmp_path}/model.skops", background_file)
    found = [made.explain(row, TIMES) for row in rows[:5]]
    theirs = np.asarray(library("shap", "a test").TreeExplainer(estimator).shap_values(rows[:5])).reshape(5, 3, -1)[
        :, :, -1
    ]
    assert np.array([one.attributions for one in found]) == pytest.approx(theirs, abs=1e-6)
    assert max(one.additivity_error for one in found) < 1e-12
    assert "TreeExplainer" in made.method
    assert made.exact_seconds > 0


def test_xgboost_has_the_contributions_of_shap(tmp_path: Path, background_file: Path) -> None:
    import xgboost

    file = boosted(tmp_path)
    made = explained_by(f"xgboost:{file}", background_file)
    rows = usual_rows(5)
    theirs = library("shap", "a test").TreeExplainer(xgboost.Booster(model_file=file)).shap_values(rows)
    found = [made.explain(row, TIMES) for row in rows]
    assert np.array([one.attributions for one in found]) == pytest.approx(theirs, abs=1e-6)
    assert max(one.additivity_error for one in found) < 1e-6


def test_a_chosen_class_of_xgboost_is_explained(tmp_path: Path, background_file: Path) -> None:
    import xgboost

    rows = usual_rows(400)
    matrix = xgboost.DMatrix(rows, labelled(rows) + (rows[:, 2] > 1), feature_names=list(COLUMNS))
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 3, "nthread": 1}, matrix, 5)
    booster.save_model(tmp_path / "model.ubj")
    with pytest.raises(ModelError, match="the model has 3 outputs: give --output 0, 1, 2"):
        explained_by(f"xgboost:{tmp_path}/model.ubj", background_file)
    found = explained_by(f"xgboost:{tmp_path}/model.ubj", background_file, output="2").explain(rows[0], TIMES)
    margins = booster.predict(xgboost.DMatrix(rows[:1], feature_names=list(COLUMNS)), output_margin=True)
    assert found.prediction == pytest.approx(margins[0, 2])
    assert found.additivity_error < 1e-6


@pytest.mark.filterwarnings("ignore:LightGBM binary classifier:UserWarning")  # shap's, of its own history
@pytest.mark.parametrize("classes", [2, 3])
def test_lightgbm_has_the_contributions_of_shap(classes: int, tmp_path: Path, background_file: Path) -> None:
    import lightgbm

    rows = usual_rows(400)
    labels = labelled(rows) + (rows[:, 2] > 1 if classes == 3 else 0)
    more = {"objective": "multiclass", "num_class": 3} if classes == 3 else {"objective": "binary"}
    data = lightgbm.Dataset(rows, labels, feature_name=list(COLUMNS))
    booster = lightgbm.train({"verbose": -1, "num_threads": 1, **more}, data, 10)
    booster.save_model(tmp_path / "model.txt")
    made = explained_by(f"lightgbm:{tmp_path}/model.txt", background_file, output="2" if classes == 3 else None)
    found = [made.explain(row, TIMES) for row in rows[:5]]
    theirs = np.asarray(library("shap", "a test").TreeExplainer(booster).shap_values(rows[:5])).reshape(5, 3, -1)[
        :, :, -1
    ]
    assert np.array([one.attributions for one in found]) == pytest.approx(theirs, abs=1e-6)
    assert max(one.additivity_error for one in found) < 1e-12


def test_an_estimator_that_is_no_tree_is_sampled_by_its_probabilities(tmp_path: Path, background_file: Path) -> None:
    import joblib
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    rows = usual_rows(400)
    estimator = LogisticRegression().fit(pd.DataFrame(rows, columns=COLUMNS), np.where(labelled(rows), "bad", "good"))
    joblib.dump(estimator, tmp_path / "model.joblib")
    made = explained_by(f"scikit-learn:{tmp_path}/model.joblib", background_file, output="bad")
    found = made.explain(rows[0], TIMES)
    (truth, _) = estimator.predict_proba(pd.DataFrame(rows[:1], columns=COLUMNS))[0]
    assert (found.prediction, made.output_name) == (pytest.approx(truth), "bad")
    assert "permutations" in made.method


@pytest.mark.parametrize("classes", [2, 3])
def test_an_estimator_without_probabilities_is_explained_by_its_decisions(
    classes: int, tmp_path: Path, background_file: Path
) -> None:
    import joblib
    from sklearn import linear_model, pipeline, preprocessing

    rows = usual_rows(400)
    labels = np.array(["no", "yes", "perhaps"])[labelled(rows) + (rows[:, 2] > 1 if classes == 3 else 0)]
    estimator = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.RidgeClassifier()).fit(rows, labels)
    joblib.dump(estimator, tmp_path / "model.joblib")
    (tmp_path / "model.joblib").chmod(0o644)
    made = explained_by(f"scikit-learn:{tmp_path}/model.joblib", background_file, output="yes")
    decided = estimator.decision_function(rows[:1]).ravel()[-1]
    assert made.explain(rows[0], TIMES).prediction == pytest.approx(decided)
    assert made.output_name == "yes"


def test_numbers_of_classes_are_no_answers_that_add_up(
    make_explainer: Any, tmp_path: Path, background_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import joblib
    from sklearn import cluster

    with threadpoolctl.threadpool_limits(1):
        estimator = cluster.KMeans(3, random_state=1).fit(usual_rows(100))
    joblib.dump(estimator, tmp_path / "model.joblib")
    (tmp_path / "model.joblib").chmod(0o644)
    with pytest.raises(ModelError, match="holds a KMeans, which answers with numbers of classes alone"):
        explained_by(f"scikit-learn:{tmp_path}/model.joblib", background_file)
    make_explainer(lambda rows: np.sign(rows[:, 0]))
    assert "all answers to the background are whole numbers (-1, 1)" in caplog.text


def test_the_one_output_of_two_classes_is_the_second_ones(tmp_path: Path, background_file: Path) -> None:
    file = boosted(tmp_path)
    assert explained_by(f"xgboost:{file}", background_file).output_name == "1"
    assert explained_by(f"xgboost:{file}", background_file, output="1").output_name == "1"
    with pytest.raises(ModelError, match="the model has one output, that of 1: leave --output out"):
        explained_by(f"xgboost:{file}", background_file, output="0")


def test_a_booster_that_was_stopped_early_is_its_rounds_up_to_the_best(
    tmp_path: Path, background_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import xgboost

    rows = usual_rows(400)
    noisy = np.random.default_rng(1).permutation(labelled(rows))
    estimator = xgboost.XGBClassifier(n_estimators=40, early_stopping_rounds=4, learning_rate=0.9, n_jobs=1)
    estimator.fit(rows[:200], noisy[:200], eval_set=[(rows[200:], noisy[200:])], verbose=False)
    estimator.save_model(tmp_path / "model.json")
    found = explained_by(f"xgboost:{tmp_path}/model.json", background_file).explain(rows[0], TIMES)
    assert found.prediction == pytest.approx(estimator.predict(rows[:1], output_margin=True)[0])
    assert found.additivity_error < 1e-6
    rounds = estimator.get_booster().num_boosted_rounds()
    assert f"explained are the first {estimator.best_iteration + 1} of its {rounds} rounds" in caplog.text


def test_a_forest_of_lightgbm_answers_with_the_mean_of_its_trees(tmp_path: Path, background_file: Path) -> None:
    import lightgbm

    rows = usual_rows(400)
    forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(forest, lightgbm.Dataset(rows, rows[:, 0] + 5.0), 10)
    booster.save_model(tmp_path / "model.txt")
    found = explained_by(f"lightgbm:{tmp_path}/model.txt", background_file).explain(rows[0], TIMES)
    assert found.prediction == pytest.approx(booster.predict(rows[:1])[0])
    assert found.base == pytest.approx(5.0, abs=0.3)
    assert found.additivity_error < 1e-12


def test_trees_that_do_not_add_up_are_sampled(make_explainer: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Wrong:
        method = "a wrong method"

        def predict(self, rows: Rows, seconds: float) -> Any:
            return rows[:, :1] * 2

        def contributions(self, rows: Rows) -> Any:
            return SimpleNamespace(attributions=rows[:, :, np.newaxis], base=np.zeros((len(rows), 1)))

    good = make_explainer(lambda rows: rows[:, 0] * 2)
    loaded = SimpleNamespace(model=good.model, trees=Wrong(), columns=None, outputs=())
    made = explainer.build(loaded, good.sample, model="credit", version="v7", output=None, precision=0.05)  # type: ignore[arg-type]
    assert made.trees is None
    assert "a wrong method does not add up to the model's answers" in caplog.text


def whole_numbers(folder: Path) -> Path:
    """A graph of one input of whole numbers, which it adds up."""
    from onnx import TensorProto, helper, save

    nodes = [
        helper.make_node("Cast", ["rows"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats", "axes"], ["score"], keepdims=1),
    ]
    rows = helper.make_tensor_value_info("rows", TensorProto.INT32, [None, len(COLUMNS)])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    whole = helper.make_graph(nodes, "sum", [rows], [score], [axes])
    save(helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "whole.onnx")
    return folder / "whole.onnx"


@pytest.mark.parametrize("number", [float("nan"), 2.5, 2.0**31, -1e30, float("inf")])
def test_a_graph_of_whole_numbers_is_given_no_others(number: float, tmp_path: Path) -> None:
    file = tmp_path / "background.csv"
    file.write_text("age,income,debt\n1,2,3\n4,5,6\n")
    made = explained_by(f"onnx:{whole_numbers(tmp_path)}", file)
    assert made.explain(np.array([-(2.0**31), 2.0, 3.0]), TIMES).prediction == pytest.approx(-(2.0**31))
    with pytest.raises(ModelError, match=r"the input rows takes whole numbers \(int32\), and a row has"):
        made.explain(np.array([1.0, number, 3.0]), TIMES)


@pytest.mark.parametrize("library_name", ["xgboost", "lightgbm"])
def test_a_booster_of_a_background_with_text_is_told_what_it_needs(library_name: str, tmp_path: Path) -> None:
    import lightgbm

    rows = usual_rows(400)
    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(rows, labelled(rows)), 2
    )
    booster.save_model(tmp_path / "model.txt")
    source = f"xgboost:{boosted(tmp_path)}" if library_name == "xgboost" else f"lightgbm:{tmp_path}/model.txt"
    file = tmp_path / "background.csv"
    file.write_text("age,income,debt\n1,low,3\n4,high,6\n")
    with pytest.raises(ModelError, match=r"takes numbers, and a column has text .*'low'.*write categories as"):
        explained_by(source, file)


def test_a_number_that_xgboost_does_not_take_is_the_model_that_fails(tmp_path: Path, background_file: Path) -> None:
    made = explained_by(f"xgboost:{boosted(tmp_path)}", background_file)
    with pytest.raises(ModelError, match=r"XGBoost does not take the row: .*a value too large"):
        made.explain(np.array([1.0, 1e300, 3.0]), TIMES)


def graph(folder: Path, *, by_column: bool) -> Path:
    """A model in ONNX: the sum of the columns, beside a label that is no float."""
    from onnx import TensorProto, checker, helper, save

    names = list(COLUMNS) if by_column else ["rows"]
    width = 1 if by_column else len(COLUMNS)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]) for name in names]
    nodes = (
        [helper.make_node("Concat", names, ["all"], axis=1)]
        if by_column
        else [helper.make_node("Identity", names, ["all"])]
    )
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes.append(helper.make_node("ReduceSum", ["all", "axes"], ["score"], keepdims=1))
    nodes.append(helper.make_node("Cast", ["score"], ["label"], to=TensorProto.INT64))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None, 1]),
        helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1]),
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "sum", inputs, outputs, [axes]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    checker.check_model(made)
    save(made, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("by_column", [False, True], ids=["one input", "an input for each column"])
def test_a_graph_of_onnx_is_sampled(by_column: bool, tmp_path: Path, background_file: Path) -> None:
    made = explained_by(f"onnx:{graph(tmp_path, by_column=by_column)}", background_file)
    row = np.array([1.0, 2.0, 3.0])
    found = made.explain(row, TIMES)
    assert found.attributions == pytest.approx(row - made.sample.rows.mean(axis=0), abs=0.2)
    assert found.additivity_error < 1e-5


def mixed_graph(folder: Path, rows: int | None) -> Path:
    """A graph with an input for each column, of different types and in lines: age * debt where income is true."""
    from onnx import TensorProto, helper, save

    types = {"debt": TensorProto.FLOAT16, "income": TensorProto.BOOL, "age": TensorProto.FLOAT}
    nodes = [
        helper.make_node("Cast", ["debt"], ["owed"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["income"], ["has"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["age", "owed"], ["both"]),
        helper.make_node("Mul", ["both", "has"], ["score"]),
    ]
    inputs = [helper.make_tensor_value_info(name, kind, [rows]) for name, kind in types.items()]
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [rows])
    made = helper.make_graph(nodes, "product", inputs, [score])
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "mixed.onnx")
    return folder / "mixed.onnx"


def test_a_graph_has_inputs_of_lines_and_of_true_and_false(tmp_path: Path) -> None:
    file = tmp_path / "background.csv"
    file.write_text("age,income,debt\n1,true,3\n4,false,6\n")
    made = explained_by(f"onnx:{mixed_graph(tmp_path, None)}", file)
    assert made.explain(made.sample.row([2.0, True, 5.0]), TIMES).prediction == pytest.approx(10)
    with pytest.raises(ModelError, match="the input income takes true and false, and a row has 2"):
        made.explain(made.sample.row([2.0, 2.0, 5.0]), TIMES)
    with pytest.raises(ModelError, match="takes 1 rows at a time, and explaining asks for hundreds; export it with"):
        explained_by(f"onnx:{mixed_graph(tmp_path, 1)}", file)


def test_a_function_of_a_module_is_sampled(
    tmp_path: Path, background_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credit_model.py").write_text("def answer(rows):\n    return rows[:, 0] * 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = explained_by("callable:credit_model:answer", background_file).explain(np.array([1.0, 2.0, 3.0]), TIMES)
    assert found.attributions[1:] == pytest.approx([0, 0])


# Another server's model ----------------------------------------------------------------------------------------------


def test_a_model_behind_the_first_protocol_is_asked_with_rows_that_are_marked(
    predictor: Any, background_file: Path, tmp_path: Path
) -> None:
    predictor.answer = lambda document: (200, {"predictions": [sum(row) for row in document["instances"]]})
    (tmp_path / "token").write_text("secret\n")
    sample = background.read(background_file)
    access = remote.Access(token_file=tmp_path / "token")
    loaded = models.load(f"v1:{predictor.url}/v1/models/credit:predict", sample.columns, access)
    made = explainer.build(loaded, sample, model="credit", version="v7", output=None, precision=0.05)
    found = made.explain(np.array([1.0, 2.0, 3.0]), TIMES)
    assert found.prediction == pytest.approx(6)
    assert {path for path, _, _ in predictor.requests} == {"/v1/models/credit:predict"}
    assert {headers["seldon-skip-logging"] for _, headers, _ in predictor.requests} == {"true"}
    assert {headers["authorization"] for _, headers, _ in predictor.requests} == {"Bearer secret"}
    assert (
        sum(len(document["instances"]) for _, _, document in predictor.requests) == len(sample.rows) + found.rows_asked
    )


def test_a_model_behind_the_second_protocol_is_asked_with_tensors(predictor: Any, background_file: Path) -> None:
    def answer(document: Any) -> Any:
        (tensor,) = document["inputs"]
        scores = np.array(tensor["data"]).reshape(tensor["shape"]).sum(axis=1)
        label = {"name": "label", "shape": [len(scores)], "datatype": "INT64", "data": [1] * len(scores)}
        both = np.stack([-scores, scores], axis=1)
        return 200, {
            "outputs": [
                label,
                {"name": "p", "shape": list(both.shape), "datatype": "FP32", "data": both.ravel().tolist()},
            ]
        }

    predictor.answer = answer
    made = explained_by(f"v2:{predictor.url}/v2/models/credit/infer", background_file)
    found = made.explain(np.array([1.0, 2.0, 3.0]), TIMES)
    assert (found.prediction, made.output_name) == (pytest.approx(6), "1")
    predictor.answer = lambda document: (200, {"outputs": [{"name": "predict", "datatype": "INT64"}]})
    said = r"/infer: answers with INT64, and with no floats, nor when asked for predict_proba \(http.*INT64"
    with pytest.raises(ModelError, match=said):
        explained_by(f"v2:{predictor.url}/v2/models/credit/infer", background_file)


def test_a_classifier_of_mlserver_is_asked_for_its_probabilities(predictor: Any, background_file: Path) -> None:
    def answer(document: Any) -> Any:
        (tensor,) = document["inputs"]
        count = len(tensor["data"])
        if document.get("outputs") != [{"name": "predict_proba"}]:
            return 200, {"outputs": [{"name": "predict", "datatype": "INT64", "shape": [count], "data": [1] * count}]}
        share = 1 / (1 + np.exp(-np.array(tensor["data"])[:, 0]))
        both = np.stack([1 - share, share], axis=1).tolist()
        return 200, {"outputs": [{"name": "p", "datatype": "FP64", "shape": [count, 2], "data": both}]}

    predictor.answer = answer
    made = explained_by(f"v2:{predictor.url}/v2/models/credit/infer", background_file)
    assert made.explain(np.zeros(3), TIMES).prediction == pytest.approx(0.5)
    assert sum("outputs" not in document for _, _, document in predictor.requests) == 1


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (503, {"error": "starts"}, "503"),
        (200, b"<html>", "the answer has no predictions"),
        (200, {"outputs": []}, "the answer has no predictions"),
        (200, {"predictions": [1.0]}, "answers 40 rows with the shape"),
        (200, {"predictions": ["a"] * 40}, "answers with no numbers"),
        (307, {}, "307"),
    ],
)
def test_a_server_that_does_not_predict_is_named(
    predictor: Any, background_file: Path, status: int, answer: Any, said: str
) -> None:
    predictor.answer = lambda document: (status, answer)
    with pytest.raises(ModelError, match=said):
        explained_by(f"v1:{predictor.url}/v1/models/credit:predict", background_file)


def test_a_server_that_is_not_there_is_named(background_file: Path) -> None:
    with pytest.raises(ModelError, match=r"http://127[.]0[.]0[.]1:1/p: no answer"):
        explained_by("v1:http://127.0.0.1:1/p", background_file)


def test_a_server_that_is_slower_than_sampling_may_take_is_explained_by_what_it_was_asked_once(
    predictor: Any, background_file: Path
) -> None:
    predictor.answer = lambda document: (200, {"predictions": [sum(row) for row in document["instances"]]})
    made = explained_by(f"v1:{predictor.url}/v1/models/credit:predict", background_file)
    found = made.explain(np.array([1.0, 2.0, 3.0]), Times(until=0.0, deadline=20.0, clock=lambda: 1.0))
    assert (found.stopped, found.samples) == (Stopped.BUDGET, 8)
    assert found.standard_errors is not None


def test_columns_that_a_library_does_not_take_are_said(make_explainer: Any) -> None:
    def model(rows: Rows) -> Any:
        raise ValueError(f"no columns of {rows.shape[1]}")

    with pytest.raises(ModelError, match="the model does not answer the background: ValueError: no columns of 3"):
        make_explainer(model)


def test_more_features_than_can_be_sampled_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wide_model.py").write_text("def answer(rows):\n    return rows[:, 0]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "background.csv"
    header = ",".join(f"f{place}" for place in range(1001))
    file.write_text("\n".join([header, *[",".join(["1"] * 1001)] * 2]))
    with pytest.raises(ModelError, match="1001 features are too many to be sampled"):
        explained_by("callable:wide_model:answer", file)


# What cannot be loaded -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["joblib", "pkl"])
def test_a_pickle_that_others_can_write_is_not_read(ending: str, tmp_path: Path, background_file: Path) -> None:
    file = tmp_path / f"model.{ending}"
    file.write_bytes(b"cos\nsystem\n(S'touch /nowhere'\ntR.")
    file.chmod(0o664)
    with pytest.raises(ModelError, match="can be written by others; pickles are code"):
        explained_by(f"scikit-learn:{file}", background_file)


def test_a_pickle_in_a_folder_that_others_can_write_is_not_read(tmp_path: Path, background_file: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"")
    folder.chmod(0o777)
    with pytest.raises(ModelError, match=r"its folder .*open can be written by others"):
        explained_by(f"scikit-learn:{folder}/model.pkl", background_file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_pickle_of_another_user_is_not_read(tmp_path: Path, background_file: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(b"")
    os.chown(file, 65534, 65534)
    with pytest.raises(ModelError, match="belongs to another user"):
        explained_by(f"scikit-learn:{file}", background_file)


def test_a_file_of_skops_with_types_of_others_is_not_read(tmp_path: Path, background_file: Path) -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    skops.io.dump(FunctionTransformer(os.getcwd), tmp_path / "model.skops")
    with pytest.raises(ModelError, match="has types that skops does not trust"):
        explained_by(f"scikit-learn:{tmp_path}/model.skops", background_file)


def test_other_columns_than_the_model_has_are_named(tmp_path: Path, background_file: Path) -> None:
    with pytest.raises(ModelError, match="it lacks rent and has debt as well"):
        explained_by(f"xgboost:{boosted(tmp_path, ['age', 'income', 'rent'])}", background_file)
    with pytest.raises(ModelError, match="in another order"):
        explained_by(f"xgboost:{boosted(tmp_path, ['income', 'age', 'debt'])}", background_file)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("xgboost", "is not KIND:WHERE; kinds are callable, lightgbm, onnx, scikit-learn, v1, v2, xgboost"),
        ("pytorch:model.pt", "is not KIND:WHERE"),
        ("callable:json", "is not callable:MODULE:FUNCTION"),
        ("callable:json:nothing", "json has no function nothing"),
        ("callable:no_such_module:f", "no_such_module cannot be imported"),
        ("xgboost:{folder}/missing.json", "no model of XGBoost"),
        ("lightgbm:{folder}/missing.txt", "no model of LightGBM"),
        ("onnx:{folder}/missing.onnx", "no model in ONNX"),
        ("scikit-learn:{folder}/missing.joblib", "cannot be read: No such file"),
        ("scikit-learn:{folder}/missing.skops", "cannot be read: No such file"),
        ("scikit-learn:{folder}/model.json", "is no file of scikit-learn"),
        ("scikit-learn:{folder}/broken.pkl", "holds nothing that can be read"),
        ("scikit-learn:{folder}/broken.skops", "is no file of skops"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_named(source: str, said: str, tmp_path: Path, background_file: Path) -> None:
    for name in ("broken.pkl", "broken.skops"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(ModelError, match=said):
        explained_by(source.format(folder=tmp_path), background_file)


@pytest.mark.parametrize(
    ("source", "module", "remedy"),
    [
        ("xgboost:m", "xgboost", "pip install xgboost"),
        ("lightgbm:m", "lightgbm", "pip install lightgbm"),
        ("onnx:m", "onnxruntime", "midwatch\\[explain\\]"),
        ("scikit-learn:m.skops", "skops.io", "midwatch\\[explain\\]"),
    ],
)
def test_a_library_that_is_missing_is_named_with_how_it_is_had(
    source: str, module: str, remedy: str, background_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ModelError, match=remedy):
        explained_by(source, background_file)
