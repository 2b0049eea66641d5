"""A request to the gate as a question: what is not understood is refused with words."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from midwatch import http_server
from monitors.canary.question import Question
from monitors.canary.times import parse_moment
from monitors.gate import prometheus_api
from monitors.gate.refusals import QuestionError, Reason

FIELDS = ("model", "baseline", "canary", "start", "end", "platform", "region")


def parse(request: http_server.Request, platform: str, region: str | None = None) -> Question:
    """The question of a request to the gate of a platform and region; QuestionError when it is none, or for another's.

    Its fields are those of the query (GET) or of the JSON body (POST), or labels of a query to Prometheus' API.
    """
    fields = _fields(request)
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise QuestionError(f"unknown: {', '.join(unknown)}; known are {', '.join(FIELDS)}")
    wrong = [name for name, value in fields.items() if not isinstance(value, str) or len(value) > 200]
    if wrong:
        raise QuestionError(f"{', '.join(wrong)}: text of at most 200 letters is needed")
    missing = [name for name in FIELDS[:3] if not fields.get(name)]
    if missing:
        raise QuestionError(f"missing: {', '.join(missing)}")
    if fields.get("platform", platform) != platform:
        raise QuestionError(
            f"this is the gate of platform {platform!r}, not of {fields['platform']!r}: mend gate.url",
            Reason.OTHER_PLATFORM,
        )
    if fields.get("region", region) != region:
        here = "a platform without regions" if region is None else f"region {region!r}"
        raise QuestionError(
            f"this is the gate of {here}, not of region {fields['region']!r}: a canary is judged where it serves",
            Reason.OTHER_REGION,
        )
    if fields["baseline"] == fields["canary"]:
        raise QuestionError(f"{fields['canary']!r} is both baseline and canary", Reason.SAME_ARMS)
    try:
        times = {name: parse_moment(fields[name]) if fields.get(name) else None for name in FIELDS[3:5]}
    except ValueError as error:
        raise QuestionError(str(error)) from error
    if times["start"] is not None and times["end"] is not None and times["end"] <= times["start"]:
        raise QuestionError("end is not after start")
    return Question(
        model=fields["model"],
        baseline=fields["baseline"],
        canary=fields["canary"],
        start=times["start"],
        end=times["end"],
        region=region,
    )


def _fields(request: http_server.Request) -> dict[str, Any]:
    try:
        if request.path == prometheus_api.PATH:
            return prometheus_api.fields_of(_pairs(request.query if request.method == b"GET" else request.body))
        if request.method == b"GET":
            return _pairs(request.query)
        document = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise QuestionError(f"not readable: {error}") from error
    if not isinstance(document, dict):
        raise QuestionError("the body is not a JSON object")
    return _of_flagger(document)


def _pairs(form: bytes) -> dict[str, Any]:
    pairs = parse_qsl(form.decode(), keep_blank_values=True, strict_parsing=bool(form))
    if len({name for name, _ in pairs}) != len(pairs):
        raise QuestionError("a field is given twice")
    return dict(pairs)


def _of_flagger(document: dict[str, Any]) -> dict[str, Any]:
    """The question in a webhook of Flagger (its CanaryWebhookPayload), which tells of the rollout around `metadata`."""
    metadata = document.get("metadata")
    return metadata if isinstance(metadata, dict) and {"phase", "namespace"} <= document.keys() else document
