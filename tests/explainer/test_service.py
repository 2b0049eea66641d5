from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monitors.explainer import workers
from monitors.explainer.service import Limits, Service
from tests.explainer.conftest import COLUMNS, Asked

FIRST, SECOND = "/v1/models/credit:explain", "/v2/models/credit/explain"
ROW = {"age": 1.0, "income": -2.0, "debt": 0.5}


def run(wanted: Coroutine[Any, Any, None]) -> None:
    asyncio.run(wanted)


def test_a_row_is_explained_with_all_that_says_how_well_it_is_known(asked: Any) -> None:
    async def story(service: Asked) -> None:
        service.work()
        answer = await service.ask(FIRST, {"instances": [ROW]})
        assert answer.status == 200
        (explanation,) = answer.content["explanations"]
        assert set(explanation["attributions"]) == set(COLUMNS)
        assert explanation["base"] + sum(explanation["attributions"].values()) == pytest.approx(-3.0)
        assert explanation["prediction"] == -3.0
        assert explanation["stopped"] == "precise"
        assert explanation["samples"] >= 32
        assert max(explanation["standard_errors"].values()) >= 0
        about = {key: answer.content[key] for key in ("model", "version", "output")}
        assert about == {"model": "credit", "version": "v7", "output": ""}
        assert "permutations" in answer.content["method"]
        assert len(answer.content["background"]) == 12
        assert await service.sample("ml_explanation_requests_total", outcome="ok") == 1
        assert await service.sample("ml_explanations_total", stopped="precise") == 1
        samples = await service.sample("ml_explanation_rows_asked_total")
        assert samples == explanation["samples"] * 2 * len(COLUMNS)

    run(story(asked()))


@pytest.mark.parametrize(
    "inputs",
    [
        [{"name": "input-0", "shape": [1, 3], "datatype": "FP64", "data": list(ROW.values())}],
        [{"name": "input-0", "shape": [1, 3], "datatype": "FP64", "data": [list(ROW.values())]}],
        [{"name": name, "shape": [1, 1], "datatype": "FP64", "data": [ROW[name]]} for name in reversed(COLUMNS)],
        [{"name": name, "shape": [1, 1], "datatype": "FP64", "data": [[ROW[name]]]} for name in COLUMNS],
    ],
    ids=["a flat tensor", "a nested tensor", "a tensor for each column", "nested tensors for each column"],
)
def test_the_second_protocol_has_the_same_numbers_as_tensors(asked: Any, inputs: Any) -> None:
    async def story(service: Asked) -> None:
        service.work()
        first = (await service.ask(FIRST, {"instances": [ROW]})).content["explanations"][0]
        answer = (await service.ask("/v2/models/credit/versions/v7/infer", {"id": "a1", "inputs": inputs})).content
        outputs = {one["name"]: one for one in answer["outputs"]}
        assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a1", "credit", "v7")
        assert outputs["attributions"]["data"] == list(first["attributions"].values())
        assert outputs["attributions"]["shape"] == [1, 3]
        assert outputs["explanation"]["datatype"] == "BYTES"

    run(story(asked()))


def test_a_row_that_was_explained_is_not_explained_again(asked: Any) -> None:
    async def story(service: Asked) -> None:
        service.work()
        first = await service.ask(FIRST, {"instances": [ROW, {**ROW, "age": 2.0}]})
        rows = await service.sample("ml_explanation_rows_asked_total")
        again = await service.ask(FIRST, {"instances": [{**ROW, "age": 2.0}, ROW]})
        assert again.content["explanations"] == first.content["explanations"][::-1]
        assert await service.sample("ml_explanation_rows_asked_total") == rows
        assert await service.sample("ml_explanation_cache_lookups_total", result="hit") == 2

    run(story(asked()))


def test_the_cache_has_a_bound_in_bytes(asked: Any) -> None:
    async def story(service: Asked) -> None:
        service.work()
        for age in range(6):
            await service.ask(FIRST, {"instances": [{**ROW, "age": float(age)}]})
        assert await service.sample("ml_explanation_cache_bytes") <= 2000
        await service.ask(FIRST, {"instances": [{**ROW, "age": 0.0}]})
        assert await service.sample("ml_explanation_cache_lookups_total", result="hit") == 0
        await service.ask(FIRST, {"instances": [{**ROW, "age": 0.0}]})
        assert await service.sample("ml_explanation_cache_lookups_total", result="hit") == 1

    run(story(asked(cache=2000)))


def test_more_requests_than_may_wait_are_refused_with_a_time_to_come_again(asked: Any) -> None:
    async def story(service: Asked) -> None:
        waiting = [service.begin(FIRST, {"instances": [{**ROW, "age": float(age)}]}) for age in range(3)]
        refused = await service.ask(FIRST, {"instances": [ROW]})
        assert refused.status == 503
        assert refused.headers == "retry-after: 1\r\n"
        service.work()
        assert [(await one).status for one in waiting] == [200] * 3
        assert (await service.ask(FIRST, {"instances": [ROW]})).status == 200
        assert await service.sample("ml_explanation_refusals_total", reason="busy") == 1
        assert await service.sample("ml_explanation_requests_total", outcome="error") == 1

    run(story(asked(threads=1, waiting=2)))


def test_a_model_that_hangs_holds_up_no_answer_beyond_the_deadline(asked: Any) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def model(rows: Any) -> Any:
        if hangs.is_set():
            goes_on.wait(60)
        return rows[:, 0]

    async def story(service: Asked) -> None:
        hangs.set()
        service.work()
        first, second = (service.begin(FIRST, {"instances": [{**ROW, "age": age}]}) for age in (1.0, 2.0))
        assert [(await first).status, (await second).status] == [504, 504]
        assert "retry-after" in (await first).headers
        assert await service.sample("ml_explanation_refusals_total", reason="deadline") == 2
        hangs.clear()
        goes_on.set()
        assert (await service.ask_in_time(FIRST, {"instances": [ROW]})).status == 200

    run(story(asked(model, deadline=0.3)))


@pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready", "/v1/models/credit", "/v2/models/credit/ready"])
def test_a_service_all_of_whose_threads_are_held_up_is_not_ready(
    asked: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "HELD_UP_SECONDS", 0.0)
    hangs, goes_on = threading.Event(), threading.Event()

    def model(rows: Any) -> Any:
        if hangs.is_set():
            goes_on.wait(60)
        return rows[:, 0]

    async def story(service: Asked) -> None:
        hangs.set()
        service.work()
        assert (await service.ask(path)).status == 200
        assert (await service.ask(FIRST, {"instances": [ROW]})).status == 504
        answer = await service.ask(path)
        assert (answer.status, answer.content["error"]) == (
            503,
            "the model holds up all 1 threads beyond their deadline; restart the service",
        )
        assert (await service.ask("/healthz")).status == 200
        hangs.clear()
        goes_on.set()
        assert (await service.ask_in_time(FIRST, {"instances": [ROW]})).status == 200
        assert (await service.ask(path)).status == 200

    run(story(asked(model, deadline=0.3)))


def test_trees_that_take_longer_than_the_deadline_are_said_to(
    make_explainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_explainer(lambda rows: rows[:, 0])
    Service(replace(made, exact_seconds=1.5), Limits(deadline=2.0))
    assert caplog.text == ""
    Service(replace(made, exact_seconds=3.0), Limits(deadline=2.0))
    assert (
        "a row took 3 s to explain at the start, and the deadline is 2 s: requests will be answered 504" in caplog.text
    )


def test_a_function_that_leaves_the_program_leaves_the_thread_to_others(asked: Any) -> None:
    leaves = threading.Event()

    def model(rows: Any) -> Any:
        if leaves.is_set():
            raise SystemExit(1)
        return rows[:, 0]

    async def story(service: Asked) -> None:
        leaves.set()
        service.work()
        assert (await service.ask(FIRST, {"instances": [ROW]})).status == 500
        leaves.clear()
        assert (await service.ask(FIRST, {"instances": [ROW]})).status == 200

    run(story(asked(model)))


def test_a_model_that_fails_is_said_to(asked: Any) -> None:
    fails = threading.Event()

    def model(rows: Any) -> Any:
        return np.full(len(rows), np.nan) if fails.is_set() else rows[:, 0]

    async def story(service: Asked) -> None:
        fails.set()
        service.work()
        answer = await service.ask(FIRST, {"instances": [ROW]})
        assert answer.status == 502
        assert "NaN" in answer.content["error"]
        assert await service.sample("ml_explanation_refusals_total", reason="model_failed") == 1

    run(story(asked(model)))


def test_another_model_behind_the_same_name_shows_in_the_additivity_error(asked: Any) -> None:
    is_new = threading.Event()

    def model(rows: Any) -> Any:
        return rows @ (np.array([3.0, -1.0, 1.0]) if is_new.is_set() else np.array([1.0, 2.0, 0.0])) + is_new.is_set()

    async def story(service: Asked) -> None:
        service.work()
        await service.ask(FIRST, {"instances": [ROW]})
        assert await service.sample("ml_explanation_additivity_error_ratio_bucket", le="0.0001") == 1
        is_new.set()
        await service.ask(FIRST, {"instances": [{**ROW, "age": 5.0}]})
        assert await service.sample("ml_explanation_additivity_error_ratio_bucket", le="0.0001") == 1
        assert await service.sample("ml_explanation_additivity_error_ratio_count") == 2

    run(story(asked(model)))


@pytest.mark.parametrize(
    ("path", "document", "status", "said"),
    [
        (FIRST, b"{", 400, "the body is no JSON"),
        (FIRST, [1], 400, "the body is no JSON object"),
        (FIRST, {"rows": []}, 400, "instances is no list of rows"),
        (FIRST, {"instances": [ROW] * 101}, 400, "instances has 101 rows; at most 100 are explained at once"),
        (FIRST, {"instances": [ROW, {"age": 1}]}, 400, "instances[1] lacks income, debt; it needs 3 features"),
        (FIRST, {"instances": [{**ROW, "agee": 1}]}, 400, "instances[0] has agee, which the background does not have"),
        (FIRST, {"instances": [[1, 2]]}, 400, "instances[0] has 2 values; the background has 3 columns"),
        (FIRST, {"instances": [{**ROW, "age": "old"}]}, 400, "instances[0] age is no number"),
        (FIRST, {"instances": [{**ROW, "age": 10**400}]}, 400, "instances[0] age is too large a number"),
        (FIRST, {"instances": ["a"]}, 400, "instances[0] is neither an object of features nor a list of their values"),
        (FIRST, None, 405, "ask by POST"),
        (
            SECOND,
            {"inputs": [{"name": "a", "shape": [3], "datatype": "FP64", "data": [1, 2, 3]}]},
            400,
            "the shape of a",
        ),
        (SECOND, {"inputs": [{"name": "a"}]}, 400, "inputs is no list of tensors"),
        (SECOND, {"inputs": [{"name": name, "data": [1]} for name in "abc"]}, 400, "inputs are neither one tensor"),
        ("/v1/models/other:explain", {"instances": [ROW]}, 404, "credit v7 is all that is explained here"),
        ("/v2/models/credit/versions/v6/explain", {"inputs": []}, 404, "credit v7 is all that is explained here"),
        ("/", None, 404, "ask /v1/models/credit:explain"),
    ],
)
def test_a_request_that_cannot_be_explained_is_answered_with_what_is_wrong(
    asked: Any, path: str, document: Any, status: int, said: str
) -> None:
    async def story(service: Asked) -> None:
        answer = await service.ask(path, document)
        assert answer.status == status
        assert answer.content["error"].startswith(said)
        assert await service.sample("ml_explanation_refusals_total", reason="invalid") == (status == 400)
        assert await service.sample("ml_explanation_requests_total", outcome="error") == 0

    run(story(asked()))


def test_a_path_may_be_percent_encoded(asked: Any) -> None:
    async def story(service: Asked) -> None:
        service.work()
        assert (await service.ask("/v1/models/%63redit%3Aexplain", {"instances": [ROW]})).status == 200

    run(story(asked()))


def test_tensors_as_bytes_are_refused(asked: Any) -> None:
    async def story(service: Asked) -> None:
        answer = await service.ask(SECOND, {"inputs": []}, inference_header_content_length="12")
        assert answer.status == 415

    run(story(asked()))


def test_a_kserve_client_finds_what_it_looks_for_before_it_asks(asked: Any) -> None:
    async def story(service: Asked) -> None:
        assert (await service.ask("/v1/models/credit")).content == {"name": "credit", "ready": True}
        assert (await service.ask("/v2/models/credit/ready")).content == {"name": "credit", "ready": True}
        about = (await service.ask("/v2/models/credit")).content
        assert [one["name"] for one in about["inputs"]] == list(COLUMNS)
        assert about["versions"] == ["v7"]
        assert (await service.ask("/v2/health/ready")).status == 200

    run(story(asked()))
