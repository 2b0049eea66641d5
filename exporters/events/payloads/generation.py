"""What the answer of a language model says about its making: tokens, why it ended, time to first and per output token.

Servers agree on OpenAI's `usage` and `finish_reason`; times stand in the fields of llama.cpp (`timings`, milliseconds),
Ollama (nanoseconds) and Groq (`usage`, seconds). Whatever is not there is not known: nothing is estimated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exporters.events.inference_log import MAX_SECONDS, MAX_TOKENS, Generation
from exporters.events.payloads.document import number

FINISH_REASONS = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "length": "length",
    "max_tokens": "length",
    "incomplete": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "abort": "error",
    "error": "error",
    "failed": "error",
}
"""Label value of what servers say; anything else is `other`."""

_TOKENS = {
    "input": ("prompt_tokens", "input_tokens", "prompt_eval_count", "num_input_tokens"),
    "output": ("completion_tokens", "output_tokens", "eval_count", "generated_tokens", "num_output_tokens"),
}


def of_documents(documents: Sequence[Any]) -> Generation | None:
    """Of an answer's documents: one, or those of a stream, where later numbers replace earlier ones."""
    tokens: dict[str, int] = {}
    reasons: dict[Any, str] = {}
    first = per_token = None
    for document in filter(_is_object, documents):
        for part in _parts(document):
            tokens |= _counts(part)
        reasons |= dict(_finished(document))
        new_first, new_per_token = _times(document)
        first = first if new_first is None else new_first
        per_token = per_token if new_per_token is None else new_per_token
    if not tokens and not reasons and first is None and per_token is None:
        return None
    return Generation(
        tokens=tokens,
        finish_reasons=list(reasons.values()),
        first_token_seconds=first,
        output_token_seconds=per_token,
    )


def of_outputs(outputs: Mapping[str, Sequence[Any]]) -> Generation | None:
    """Of named outputs with a value per row, as Triton's vLLM backend has them."""
    tokens = {
        kind: sum(counts)
        for kind, names in _TOKENS.items()
        if (counts := [count for name in names for value in outputs.get(name, ()) if (count := _count(value))])
    }
    reasons = [_reason(value) for value in outputs.get("finish_reason", ()) if type(value) is str and value != "null"]
    return Generation(tokens=tokens, finish_reasons=reasons) if tokens or reasons else None


def _is_object(document: Any) -> bool:
    return type(document) is dict


def _parts(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Objects of a document that have counts of tokens."""
    message, response = document.get("message"), document.get("response")
    holders = [document, *(holder for holder in (message, response) if type(holder) is dict)]
    for holder in holders:
        for key in ("usage", "details"):
            if type(holder.get(key)) is dict:
                yield holder[key]
    yield document


def _counts(part: dict[str, Any]) -> dict[str, int]:
    return {
        kind: count
        for kind, names in _TOKENS.items()
        for name in names
        if (count := _count(part.get(name))) is not None
    }


def _count(value: Any) -> int | None:
    return int(value) if type(value) is int and 0 <= value <= MAX_TOKENS else None


def _finished(document: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """Why each choice ended, by its index."""
    choices = document.get("choices")
    for place, choice in enumerate(choices if type(choices) is list else ()):
        if type(choice) is dict and type(choice.get("finish_reason")) is str:
            yield (
                choice.get("index", place) if type(choice.get("index")) is int else place,
                _reason(choice["finish_reason"]),
            )
    holders = (document, document.get("details"), document.get("delta"), document.get("response"))
    for holder in filter(_is_object, holders):
        for key in ("finish_reason", "stop_reason", "done_reason"):
            if type(holder.get(key)) is str:  # type: ignore[union-attr]
                yield 0, _reason(holder[key])  # type: ignore[index]
        if holder.get("object") == "response" and type(holder.get("status")) is str:  # type: ignore[union-attr]
            yield 0, _reason(holder["status"])  # type: ignore[index]


def _reason(text: str) -> str:
    return FINISH_REASONS.get(text.lower(), "other")


def _times(document: dict[str, Any]) -> tuple[float | None, float | None]:
    """Seconds to the first token, and per output token."""
    timings, usage = document.get("timings"), document.get("usage")
    if type(timings) is dict:  # llama.cpp
        return _seconds(timings.get("prompt_ms"), 1e3), _seconds(timings.get("predicted_per_token_ms"), 1e3)
    if "prompt_eval_duration" in document or "eval_duration" in document:  # Ollama
        load = _seconds(document.get("load_duration"), 1e9) or 0.0
        prompt = _seconds(document.get("prompt_eval_duration"), 1e9)
        spent = _per(_seconds(document.get("eval_duration"), 1e9), document.get("eval_count"))
        return None if prompt is None else load + prompt, spent
    if type(usage) is dict and "prompt_time" in usage:  # Groq
        queue = _seconds(usage.get("queue_time"), 1) or 0.0
        prompt = _seconds(usage.get("prompt_time"), 1)
        spent = _per(_seconds(usage.get("completion_time"), 1), usage.get("completion_tokens"))
        return None if prompt is None else queue + prompt, spent
    return None, None


def _per(seconds: float | None, count: Any) -> float | None:
    tokens = _count(count)
    return seconds / tokens if seconds is not None and tokens else None


def _seconds(value: Any, unit: float) -> float | None:
    known = number(value)
    return None if known is None or known / unit > MAX_SECONDS else known / unit
