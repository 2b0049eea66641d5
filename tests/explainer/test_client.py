"""What a model server asks an explanation service with."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from midwatch.client import Explainer
from midwatch.errors import MidwatchError

ANSWER = {"explanations": [{"attributions": {"age": 0.5, "debt": -1.0}, "base": 0.0}]}


def test_attributions_of_a_row_come_from_the_service(predictor: Any, tmp_path: Path) -> None:
    predictor.answer = lambda document: (200, ANSWER)
    (tmp_path / "token").write_text("secret")
    with Explainer(f"{predictor.url}/below", "credit/eu", token_file=tmp_path / "token", timeout=60) as explainer:
        assert explainer.attributions({"age": 3.0, "debt": 1.0}) == {"age": 0.5, "debt": -1.0}
    ((path, headers, document),) = predictor.requests
    assert (path, document) == ("/below/v1/models/credit%2Feu:explain", {"instances": [{"age": 3.0, "debt": 1.0}]})
    assert (headers["authorization"], headers["content-type"]) == ("Bearer secret", "application/json")


@pytest.mark.parametrize(
    ("row", "sent"),
    [
        (np.array([3.0, 1.0]), [3.0, 1.0]),
        ({"age": np.float64(3.0), "debt": np.int64(1)}, {"age": 3.0, "debt": 1}),
        (pd.Series([3.0, 1.0], index=["age", "debt"]), [3.0, 1.0]),
        ([np.float64("nan"), "old"], [None, "old"]),
    ],
    ids=["an array", "scalars by name", "a row of pandas", "a value that is missing"],
)
def test_rows_of_numpy_and_pandas_are_sent_as_their_values(predictor: Any, row: Any, sent: Any) -> None:
    predictor.answer = lambda document: (200, ANSWER)
    with Explainer(predictor.url, "credit", timeout=60) as explainer:
        explainer.attributions(row)
    ((_, _, document),) = predictor.requests
    assert document == {"instances": [sent]}


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (503, {"error": "too many requests wait"}, "503: .*too many requests wait"),
        (200, {"explanations": []}, "is no explanation of one row"),
        (200, {"explanations": [{"attributions": {"age": "much"}}]}, "is no explanation of one row"),
        (200, b"<html>", "is no explanation of one row"),
    ],
)
def test_what_is_no_explanation_raises_an_error(predictor: Any, status: int, answer: Any, said: str) -> None:
    predictor.answer = lambda document: (status, answer)
    with Explainer(predictor.url, "credit", timeout=60) as explainer, pytest.raises(MidwatchError, match=said):
        explainer.attributions([3.0, 1.0])


def test_explanations_of_another_version_than_predicts_are_not_taken(predictor: Any) -> None:
    predictor.answer = lambda document: (200, {**ANSWER, "version": "v6"})
    with Explainer(predictor.url, "credit", version="v6", timeout=60) as explainer:
        assert explainer.attributions([3.0, 1.0]) == {"age": 0.5, "debt": -1.0}
    with (
        Explainer(predictor.url, "credit", version="v7", timeout=60) as explainer,
        pytest.raises(MidwatchError, match="the explainer explains v6, and not v7"),
    ):
        explainer.attributions([3.0, 1.0])


def test_a_service_that_hangs_is_left_after_the_timeout(predictor: Any) -> None:
    goes_on = threading.Event()

    def hang(document: Any) -> Any:
        goes_on.wait(60)
        return 200, ANSWER

    predictor.answer = hang
    with pytest.raises(OSError, match=r"took too long|timed out"):
        Explainer(predictor.url, "credit", timeout=0.1).attributions([3.0, 1.0])
    goes_on.set()


def test_a_forked_process_has_a_connection_of_its_own(predictor: Any) -> None:
    predictor.answer = lambda document: (200, ANSWER)
    explainer = Explainer(predictor.url, "credit", timeout=60)
    explainer.attributions([1.0, 1.0])
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, json.dumps(explainer.attributions([2.0, 1.0])).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as said:
        assert json.load(said) == {"age": 0.5, "debt": -1.0}
    assert explainer.attributions([3.0, 1.0]) == {"age": 0.5, "debt": -1.0}
    explainer.close()


def test_a_url_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(MidwatchError, match="not an http or https URL"):
        Explainer("credit", "credit")
