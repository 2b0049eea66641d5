"""Servers of language models: OpenAI's API (vLLM, SGLang, TGI, llama.cpp), Anthropic's, Ollama's, and `generate`.

One inference is one request, streamed or not. What was generated is text, never a class, unless the platform file
declares the classes of the model and the text is one of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from exporters.events.inference_log import RequestPayload, ResponsePayload
from exporters.events.payloads import generation
from exporters.events.payloads.document import Stream

_REQUEST_KEYS = ("messages", "prompt", "text_input", "input_ids")
_RESPONSE_KEYS = ("choices", "usage", "text_output", "generated_text", "token", "timings", "done")
_EVENT_TYPES = ("message", "response", "content_block", "ping")
"""How the types of Anthropic's events and of those of OpenAI's Responses API begin."""


def request(document: Any, names: Sequence[str]) -> RequestPayload | None:  # noqa: ARG001 - the protocols' signature
    """A prompt; several prompts of a completion are one inference with one latency, as is a list of inputs."""
    if type(document) is not dict:
        return None
    if any(key in document for key in _REQUEST_KEYS) or ("input" in document and "model" in document):
        return RequestPayload(1)
    return RequestPayload(1) if type(document.get("inputs")) is str else None


def response(document: Any, classes: Collection[str] = ()) -> ResponsePayload | None:
    """An answer, or the pieces of one."""
    documents = document if type(document) in (Stream, list) else [document]
    objects = [part for part in documents if type(part) is dict]
    if not objects or not any(map(_is_answer, objects)):
        return None
    if any(part.get("error") is not None or part.get("object") == "error" for part in objects):
        return ResponsePayload(None)
    text = "".join(map(_text, objects)).strip() if classes else ""
    return ResponsePayload([(text if text in classes else None, None)], None, generation.of_documents(objects))


def _is_answer(document: dict[str, Any]) -> bool:
    if any(key in document for key in _RESPONSE_KEYS) or document.get("error") is not None:
        return True
    kind = document.get("object") or document.get("type")
    return (type(kind) is str and kind.startswith(_EVENT_TYPES)) or document.get("object") in ("list", "error")


def _text(document: dict[str, Any]) -> str:
    """Text of an answer or of a piece of it."""
    choices = document.get("choices")
    parts = [document, *(choices if type(choices) is list else ())]
    texts: list[Any] = []
    for part in parts:
        if type(part) is dict:
            texts += [part.get(key) for key in ("text", "text_output", "generated_text", "response")]
            texts += [part[key].get("content") for key in ("message", "delta") if type(part.get(key)) is dict]
    return "".join(text for text in texts if type(text) is str)
