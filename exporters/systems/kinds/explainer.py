"""Explainers of anybody, asked for an explanation of a stated row: whether it comes, when, and whether it adds up.

Answers are read as `midwatch explain serve` writes them (`explanations`), and as Alibi's SHAP explainers do, which are
those of KServe's samples and MLServer (`data` with `shap_values`, `expected_value` and `raw.raw_prediction`; in the
second protocol they are the text of the output `explanation`). Of others it is known whether they answer.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporters.systems.source import Sample
from midwatch import metrics
from midwatch.errors import MidwatchError
from midwatch.spec.model import Platform
from midwatch.spec.observed.explainer import Cell, Endpoint, ExplainerObserved
from monitors.explainer import remote

MOST_AT_ONCE = 8
"""Explainers that are asked at a time: each may take all of its time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an answer says: the sum of the attributions and of their sizes, the base, and the prediction, if it does."""

    total: float | None = None
    size: float | None = None
    base: float | None = None
    prediction: float | None = None


@dataclass(frozen=True)
class Explainers:
    """Explainers, and when each began to fail."""

    settings: ExplainerObserved
    failing: dict[str, str] = field(default_factory=dict)

    def read(self, now: float) -> list[Sample]:  # noqa: ARG002 - every sample is of the answer itself
        """Samples of all explainers; one that does not answer keeps no other from being asked."""
        endpoints = self.settings.endpoints
        with ThreadPoolExecutor(max_workers=min(MOST_AT_ONCE, len(endpoints))) as pool:
            found = list(pool.map(self._asked, endpoints, endpoints.values()))
        return [sample for samples in found for sample in samples]

    def _asked(self, name: str, endpoint: Endpoint) -> list[Sample]:
        try:
            samples, problem = list(_probed(name, endpoint, self.settings.timeout)), ""
        except MidwatchError as error:
            samples, problem = [_sample(metrics.EXPLAIN_PROBE_UP, name, 0)], str(error)
        if problem != self.failing.get(name, ""):
            _log.warning("%s: %s", name, problem or "explains")
        self.failing[name] = problem
        return samples


def build(platform: Platform, observed: Any, state: Path) -> Explainers:  # noqa: ARG001 - the signature of every kind
    """The source of the section."""
    return Explainers(observed)


def _probed(name: str, endpoint: Endpoint, seconds: float) -> Iterator[Sample]:
    begun = time.monotonic()
    access = remote.Access(token_file=endpoint.token_file, ca_file=endpoint.ca_file)
    content = remote.posted(remote.pool(endpoint.ca_file), endpoint.url, _body(endpoint), access, seconds)
    took = time.monotonic() - begun
    told = read(content)
    yield _sample(metrics.EXPLAIN_PROBE_UP, name, 1)
    yield _sample(metrics.EXPLAIN_PROBE_DURATION, name, took)
    if (error := additivity_error(endpoint, told)) is not None:
        yield _sample(metrics.EXPLAIN_PROBE_ADDITIVITY, name, error)


def _sample(metric: metrics.Metric, name: str, value: float) -> Sample:
    return Sample(metric=metric, labels={"endpoint": name}, value=value)


def _body(endpoint: Endpoint) -> Any:
    if endpoint.protocol == "v1":
        return {"instances": [endpoint.row]}
    named = endpoint.row if isinstance(endpoint.row, dict) else {}
    if any(isinstance(cell, str) for cell in named.values()):
        return {"inputs": [_tensor(name, [cell]) for name, cell in named.items()]}
    return {"inputs": [_tensor("input-0", list(named.values()) or endpoint.row)]}


def _tensor(name: str, cells: Iterable[Cell]) -> dict[str, Any]:
    """One row of a tensor: text where it has some, else numbers."""
    data = list(cells)
    kind = "BYTES" if any(isinstance(cell, str) for cell in data) else "FP64"
    return {"name": name, "shape": [1, len(data)], "datatype": kind, "data": data}


def additivity_error(endpoint: Endpoint, told: Told) -> float | None:
    """What is missing of the prediction, by 1 + the sizes of the attributions; None where not all of it is known.

    What the platform file states stands before what the explainer says of itself.
    """
    base = told.base if endpoint.base is None else endpoint.base
    prediction = told.prediction if endpoint.prediction is None else endpoint.prediction
    if told.total is None or told.size is None or base is None or prediction is None:
        return None
    return abs(prediction - base - told.total) / (1.0 + told.size)


def read(content: bytes) -> Told:
    """What an answer says; MidwatchError when it is no explanation."""
    try:
        document = json.loads(content)
        return _read(document)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise MidwatchError(f"the answer is no explanation: {content[:200].decode(errors='replace')}") from error


def _read(document: Any) -> Told:
    if not isinstance(document, dict) or not document or "error" in document:
        raise ValueError("nothing is explained")
    forms: dict[str, Callable[[Mapping[str, Any]], Told]] = {
        "explanations": _of_ours,
        "outputs": _of_outputs,
        "data": _of_alibi,
    }
    reader = next((reader for key, reader in forms.items() if key in document), None)
    return reader(document) if reader else Told()


def _of_ours(document: Mapping[str, Any]) -> Told:
    explanations = document["explanations"]
    if isinstance(explanations, dict) and explanations:  # of LIME, as KServe's AIX server answers
        return Told()
    explanation = explanations[0]
    if not isinstance(explanation, dict) or not isinstance(explanation.get("attributions"), dict):
        return Told()
    amounts = [float(amount) for amount in explanation["attributions"].values()]
    return _told(amounts, explanation.get("base"), explanation.get("prediction"))


def _of_outputs(document: Mapping[str, Any]) -> Told:
    """The text of the output `explanation`, which is a document of its own; an answer without one is only one."""
    texts = [one["data"][0] for one in document["outputs"] if one["name"] == "explanation"]
    if not texts:
        return Told()
    inner = json.loads(texts[0])
    return _of_ours({"explanations": [inner]}) if "attributions" in inner else _read(inner)


def _of_alibi(document: Mapping[str, Any]) -> Told:
    """Of several outputs the last is looked at, as the positive class is."""
    data = document["data"]
    if not isinstance(data, dict) or "shap_values" not in data:
        return Told()
    amounts = [float(amount) for amount in data["shap_values"][-1][0]]
    expected = data.get("expected_value")
    answers = (data.get("raw") or {}).get("raw_prediction")
    base = expected[-1] if isinstance(expected, list) else expected
    return _told(amounts, base, _last(answers))


def _last(answers: Any) -> Any:
    """The last output of the first row; None where there is none."""
    while isinstance(answers, list) and answers:
        answers = answers[0] if isinstance(answers[0], list) else answers[-1]
    return answers if isinstance(answers, int | float) else None


def _told(amounts: list[float], base: Any, prediction: Any) -> Told:
    """What was told; ValueError where that is nothing, or no number: whether it adds up could never be seen."""
    told = Told(
        total=sum(amounts),
        size=sum(map(abs, amounts)),
        base=None if base is None else float(base),
        prediction=None if prediction is None else float(prediction),
    )
    numbers = (told.total, told.size, told.base, told.prediction)
    if not amounts or not all(number is None or math.isfinite(number) for number in numbers):
        raise ValueError("no attributions, or numbers that are none")
    return told
