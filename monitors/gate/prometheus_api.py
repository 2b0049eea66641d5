"""Questions and answers in the form of Prometheus' query API, which Argo Rollouts reads by its Prometheus provider.

Its web provider takes a 2xx body that is not JSON, such as a login page, for a success (metricproviders/webmetric of
v1.8.3); the client of this API takes nothing but what has its form.
Reference: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import promql_parser

from monitors.canary import argo_query
from monitors.gate.refusals import QuestionError

PATH = b"/api/v1/query"
_TYPES = {HTTPStatus.BAD_REQUEST: "bad_data", HTTPStatus.SERVICE_UNAVAILABLE: "unavailable"}
"""The API's names of errors."""


def fields_of(parameters: Mapping[str, str]) -> dict[str, str]:
    """The question's fields, which are labels of the query; QuestionError for another query."""
    query = parameters.get("query", "")
    wanted = f"query: {argo_query.METRIC}{{model=…, baseline=…, canary=…}} is answered here, and nothing else"
    try:
        selector: Any = promql_parser.parse(query)
    except ValueError as error:
        raise QuestionError(f"{wanted}: {error}") from error
    if not isinstance(selector, promql_parser.VectorSelector) or selector.name != argo_query.METRIC:
        raise QuestionError(wanted)
    matchers = selector.matchers.matchers
    fields = {one.name: one.value for one in matchers if one.op == promql_parser.MatchOp.Equal}
    if len(fields) != len(matchers) or selector.matchers.or_matchers or selector.offset or selector.at:
        raise QuestionError(f"{wanted}: each label once, by =")
    return fields


def answer(document: Mapping[str, Any]) -> bytes:
    """Body of an answer: the verdict's number as the value, its reason as the warning that an AnalysisRun keeps."""
    sample = {
        "metric": {"__name__": argo_query.METRIC},
        "value": [time.time(), str(argo_query.VALUES[document["verdict"]])],
    }
    body = {"status": "success", "data": {"resultType": "vector", "result": [sample]}}
    return json.dumps({**body, "warnings": [document["reason"]]}).encode()


def error(status: HTTPStatus, text: str) -> bytes:
    """Body of a refusal."""
    return json.dumps({"status": "error", "errorType": _TYPES[status], "error": text}).encode()
