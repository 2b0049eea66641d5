"""Payloads as model servers send them: rows, features, classes, and what language models say about their answers."""

from __future__ import annotations

import gzip
import json
import math
import struct
from typing import Any

import pytest

from exporters.events import payloads
from exporters.events.inference_log import UnreadableError

LIMIT = 2**20


def as_bytes(document: object) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def request(document: object, *names: str) -> Any:
    return payloads.read_request(as_bytes(document), names, LIMIT)


def response(document: object, *classes: str) -> Any:
    return payloads.read_response(as_bytes(document), frozenset(classes), LIMIT)


def in_binary(side: str, datatype: str, shape: list[int], data: bytes, name: str = "x") -> bytes:
    tensor = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
    return json.dumps({side: [tensor]}).encode() + data


def sent_as_events(*documents: object, end: bytes = b"data: [DONE]\n\n") -> bytes:
    return b"".join(b"data: " + as_bytes(document) + b"\n\n" for document in documents) + end


def test_gzip_is_known_by_its_first_bytes() -> None:
    assert request(gzip.compress(b'{"instances":[[1,2]]}'), "a", "b").rows == [{"a": 1, "b": 2}]
    members = gzip.compress(b'{"predictions":') + gzip.compress(b"[3]}")
    assert response(members).answers == [(3, None)]


JPEG = bytes.fromhex("ffd8ffe000104a464946") + bytes(range(256))


@pytest.mark.parametrize("shape", [[1], [1, 1]])
def test_an_image_in_bytes_is_a_row_without_features(shape: list[int]) -> None:
    body = in_binary("inputs", "BYTES", shape, struct.pack("<I", len(JPEG)) + JPEG)
    assert request(body, "a") == (1, [{}])
    answered = in_binary("outputs", "BYTES", shape, struct.pack("<I", len(JPEG)) + JPEG)
    assert response(answered).answers == [(None, None)]


def test_texts_and_images_in_one_tensor_are_told_apart() -> None:
    elements = b"".join(struct.pack("<I", len(part)) + part for part in (b"cat", JPEG))
    assert request(in_binary("inputs", "BYTES", [2], elements), "x").rows == [{"x": "cat"}, {}]


def test_bf16_is_the_upper_half_of_an_fp32() -> None:
    values = b"".join(struct.pack("<f", value)[2:] for value in (1.5, -2.0, math.nan))
    assert request(in_binary("inputs", "BF16", [3], values), "x").rows == [{"x": 1.5}, {"x": -2.0}, {"x": None}]


def test_nan_and_infinities_in_json_are_missing_values() -> None:
    assert request(b'{"instances":[[NaN,1],[-Infinity,2]]}', "a", "b").rows == [
        {"a": None, "b": 1},
        {"a": None, "b": 2},
    ]
    assert request(b'{"instances":[["a, NaN",1],[NaN,2]]}', "a", "b").rows[0] == {"a": "a, NaN", "b": 1}
    output = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[NaN,0.5]}]}'
    assert response(output).answers == [(None, None), (0.5, None)]
    in_both = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4,"y":NaN}}]}'
    assert request(in_both + struct.pack("<f", 2.5), "x").rows == [{"x": 2.5}]


def test_v1_by_column_has_the_features_of_its_columns() -> None:
    assert request({"inputs": {"a": [1, 2], "b": [["x"], ["y"]], "one": [3]}}) == (
        2,
        [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
    )
    assert request({"inputs": [[1, 2], [3, 4]]}, "a", "b").rows == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert response({"outputs": ["late", "fine"]}).answers == [("late", None), ("fine", None)]
    columns = {"scores": [[0.2, 0.8], [0.9, 0.1]], "classes": ["late", "fine"]}
    assert response({"outputs": columns}).answers == [("late", 0.8), ("fine", 0.1)]


def test_predictions_that_are_one_object_are_one_row() -> None:
    assert response({"predictions": {"prediction": "late", "score": 0.8}}).answers == [("late", 0.8)]
    assert response({"predictions": {"cat": 0.9, "dog": 0.1}}).answers == [(None, None)]
    assert response({"predictions": 0.25}).answers == [(0.25, None)]


def test_a_score_beyond_a_probability_is_none() -> None:
    assert response({"predictions": [{"prediction": "a", "score": 17.0}]}).answers == [("a", None)]


@pytest.mark.parametrize(
    ("asked", "answered", "count", "answers"),
    [
        ({"data": {"names": ["a"], "ndarray": [[1], [2]]}}, {"data": {"ndarray": [["x"], ["y"]]}}, 2, ["x", "y"]),
        (
            {"data": {"tensor": {"shape": [2, 1], "values": [1, 2]}}},
            {"data": {"tensor": {"shape": [2, 2], "values": [0.1, 0.9, 0.8, 0.2]}}},
            2,
            [1, 0],
        ),
        ({"strData": "a text"}, {"strData": "an answer"}, 1, [None]),
        ({"binData": "aGVsbG8="}, {"jsonData": {"any": "thing"}}, 1, [None]),
    ],
    ids=["ndarray", "tensor", "strData", "binData and jsonData"],
)
def test_seldons_messages_are_read(asked, answered, count: int, answers: list) -> None:
    made = request(asked, "a")
    assert made.size == count
    if "data" in asked:
        assert made.rows == [{"a": 1}, {"a": 2}]
    told = response(answered | {"meta": {"tags": {"version": "7"}}})
    assert ([prediction for prediction, _ in told.answers], told.version) == (answers, "7")


def test_a_failure_that_seldon_tells_is_an_error() -> None:
    assert response({"status": {"code": 500, "status": "FAILURE", "info": "boom"}}).answers is None


USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
ANSWER = "Dear Ms Smith, your card 4111 1111 1111 1111 is here"


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "m", "messages": [{"role": "user", "content": "Hello"}]},
        {"model": "m", "prompt": ["Hello", "again"], "max_tokens": 5},
        {"model": "m", "input": "to be embedded"},
        {"text_input": "Hello", "parameters": {"stream": False}},
        {"inputs": "Hello", "parameters": {"max_new_tokens": 5}},
    ],
    ids=["chat", "completion", "embedding or response", "triton generate", "tgi"],
)
def test_a_prompt_is_one_row_without_features(asked) -> None:
    assert request(asked, "messages").size == 1
    assert request(asked, "messages").rows == []


CHAT = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
    "usage": USAGE,
}
STREAMED = sent_as_events(
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": ANSWER}, "finish_reason": None}]},
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"object": "chat.completion.chunk", "choices": [], "usage": USAGE},
)
LLAMA = CHAT | {"timings": {"prompt_ms": 50.0, "predicted_per_token_ms": 20.0}}
GROQ = CHAT | {"usage": USAGE | {"queue_time": 0.01, "prompt_time": 0.04, "completion_time": 0.1, "total_time": 0.15}}
OLLAMA = b"\n".join(
    as_bytes(part)
    for part in (
        {"model": "m", "message": {"role": "assistant", "content": ANSWER}, "done": False},
        {
            "model": "m",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "load_duration": 20_000_000,
            "prompt_eval_count": 11,
            "prompt_eval_duration": 30_000_000,
            "eval_count": 5,
            "eval_duration": 100_000_000,
        },
    )
)
ANTHROPIC = sent_as_events(
    {"type": "message_start", "message": {"usage": {"input_tokens": 11, "output_tokens": 1}}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": ANSWER}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    end=b"",
)
TGI = [{"generated_text": ANSWER, "details": {"finish_reason": "eos_token", "generated_tokens": 5}}]


@pytest.mark.parametrize(
    ("answered", "tokens", "times"),
    [
        (CHAT, {"input": 11, "output": 5}, (None, None)),
        (gzip.compress(as_bytes(CHAT)), {"input": 11, "output": 5}, (None, None)),
        (CHAT | {"object": "text_completion", "choices": [{"text": ANSWER, "finish_reason": "stop"}]}, USAGE, None),
        (STREAMED, {"input": 11, "output": 5}, (None, None)),
        (STREAMED.replace(b"\n", b"\r\n"), {"input": 11, "output": 5}, (None, None)),
        (b": a comment\n\n" + STREAMED, {"input": 11, "output": 5}, (None, None)),
        (LLAMA, {"input": 11, "output": 5}, (0.05, 0.02)),
        (GROQ, {"input": 11, "output": 5}, (0.05, 0.02)),
        (OLLAMA, {"input": 11, "output": 5}, (0.05, 0.02)),
        (ANTHROPIC, {"input": 11, "output": 5}, (None, None)),
        (TGI, {"output": 5}, (None, None)),
    ],
    ids=["chat", "gzip", "completion", "stream", "CRLF", "comment", "llama.cpp", "Groq", "Ollama", "Anthropic", "TGI"],
)
def test_an_answer_of_a_language_model_has_no_class_but_tokens_a_reason_and_times(answered, tokens, times) -> None:
    made = response(answered)
    assert made.answers == [(None, None)]
    assert made.generation.tokens == (tokens if tokens is not USAGE else {"input": 11, "output": 5})
    assert made.generation.finish_reasons == ["stop"]
    if times:
        assert made.generation.first_token_seconds == (times[0] and pytest.approx(times[0]))
        assert made.generation.output_token_seconds == (times[1] and pytest.approx(times[1]))


def test_each_choice_has_its_reason_and_an_unknown_one_is_other() -> None:
    choices = [{"index": index, "finish_reason": reason} for index, reason in enumerate(["length", ANSWER, None])]
    assert response({"object": "chat.completion", "choices": choices}).generation.finish_reasons == ["length", "other"]


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": -1}, {"prompt_tokens": 2**60}, {"prompt_tokens": "many"}, {"prompt_tokens": None}, 7]
)
def test_a_count_of_tokens_that_is_none_is_not_counted(usage) -> None:
    made = response({"object": "chat.completion", "choices": [], "usage": usage})
    assert (made.answers, made.generation) == ([(None, None)], None)


def test_an_error_of_a_language_model_is_an_error_streamed_or_not() -> None:
    assert response({"object": "error", "message": "too long", "code": 400}).answers is None
    assert response(sent_as_events({"choices": []}, {"error": {"message": "gone"}})).answers is None


def test_a_declared_class_that_a_language_model_answers_is_a_class() -> None:
    spoken = [{"index": 0, "message": {"content": " yes\n"}, "finish_reason": "stop"}]
    assert response({"object": "chat.completion", "choices": spoken}, "yes", "no").answers == [("yes", None)]
    pieces = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in ("y", "es")]
    assert response(sent_as_events(*pieces), "yes", "no").answers == [("yes", None)]
    assert response({"object": "chat.completion", "choices": spoken}).answers == [(None, None)]


def test_a_generated_output_of_v2_is_text_however_short_it_is() -> None:
    output = {"name": "text_output", "datatype": "BYTES", "shape": [1], "data": ["Erika Mustermann"]}
    made = response({"model_version": "3", "outputs": [output]})
    assert (made.answers, made.version) == ([("text", None)], "3")
    assert response({"outputs": [output | {"data": ["yes"]}]}, "yes").answers == [("yes", None)]


def test_tritons_counts_of_tokens_are_read_from_its_outputs() -> None:
    outputs = [
        {"name": "text_output", "datatype": "BYTES", "shape": [1], "data": [ANSWER]},
        {"name": "finish_reason", "datatype": "BYTES", "shape": [1], "data": ["length"]},
        {"name": "num_input_tokens", "datatype": "UINT32", "shape": [1], "data": [11]},
        {"name": "num_output_tokens", "datatype": "UINT32", "shape": [1], "data": [5]},
    ]
    made = response({"outputs": outputs}).generation
    assert (made.tokens, made.finish_reasons) == ({"input": 11, "output": 5}, ["length"])


def test_an_output_as_large_as_an_image_has_no_class() -> None:
    output = {"name": "mask", "datatype": "FP32", "shape": [1, 1024, 1024], "data": []}
    assert response({"outputs": [output]}).answers == [(None, None)]


@pytest.mark.parametrize("part", [{}, {"data": []}, {"data": [0.5, 0.5]}])
def test_an_output_that_nobody_looks_into_has_no_more_rows_than_were_sent(part: dict[str, object]) -> None:
    output = {"name": "mask", "datatype": "FP32", "shape": [200_000, 1024, 1024], **part}
    with pytest.raises(UnreadableError) as raised:
        response({"outputs": [output]})
    assert raised.value.reason == "tensor"
    assert (
        response({"outputs": [{**output, "shape": [2, 1024, 1024], "data": [0.5, 0.5]}]}).answers == [(None, None)] * 2
    )
