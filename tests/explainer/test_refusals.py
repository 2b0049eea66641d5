"""Rows that a model behind a server refuses: the caller's mistake, unless the model refuses others as well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitors.explainer import background, explainer, models
from monitors.explainer.remote import Access
from monitors.explainer.service import Limits, Service
from tests.explainer.conftest import Asked

FIRST, SECOND = "/v1/models/credit:explain", "/v2/models/credit/explain"
ROW, OTHER, TOO_OLD = [1.0, -2.0, 0.5], [2.0, -2.0, 0.5], [131.0, -2.0, 0.5]
UNUSUAL = 100.0


class Predictor:
    """Answers both protocols; `refusal` is the answer to rows that it refuses, and None for others."""

    def __init__(self) -> None:
        self.refusal: Callable[[Any], tuple[int, Any] | None] = lambda rows: None

    def answer(self, document: Any) -> tuple[int, Any]:
        first = "instances" in document
        rows = np.array(document["instances"] if first else document["inputs"][0]["data"], dtype=float)
        if (refused := self.refusal(rows)) is not None:
            return refused
        answers = rows.sum(axis=1).tolist()
        outputs = [{"name": "p", "datatype": "FP64", "shape": [len(rows), 1], "data": answers}]
        return 200, {"predictions": answers} if first else {"outputs": outputs}


@pytest.fixture
def model() -> Predictor:
    return Predictor()


@pytest.fixture
def service_of(predictor: Any, model: Predictor, background_file: Path) -> Iterator[Callable[[str], Asked]]:
    made: list[Asked] = []

    def of(kind: str) -> Asked:
        predictor.answer = model.answer
        sample = background.read(background_file)
        loaded = models.load(f"{kind}:{predictor.url}/predict", sample.columns, Access())
        own = explainer.build(loaded, sample, model="credit", version="v7", output=None, precision=0.05)
        made.append(Asked(Service(own, Limits(budget=0.01, deadline=60))))
        return made[-1]

    yield of
    for one in made:
        one.ended.set()


async def _counted(service: Asked, reason: str) -> tuple[float, float]:
    """Refusals for a reason, and what counts against the objective."""
    return (
        await service.sample("ml_explanation_refusals_total", reason=reason),
        await service.sample("ml_explanation_requests_total", outcome="error"),
    )


def run(wanted: Coroutine[Any, Any, None]) -> None:
    asyncio.run(wanted)


def _too_old(status: int, said: Any) -> Callable[[Any], Any]:
    return lambda rows: (status, said) if (rows[:, 0] > UNUSUAL).any() else None


@pytest.mark.parametrize("kind", ["v1", "v2"])
@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (400, {"error": "nobody is 131 years old"}, "400 nobody is 131 years old"),  # KServe's and MLServer's
        (422, {"detail": "nobody is 131 years old"}, "422 nobody is 131 years old"),  # FastAPI's
        (422, {"detail": [{"loc": ["age"]}]}, '422 {"detail": [{"loc": ["age"]}]}'),
        (404, b"nobody\nis so old", "404 nobody is so old"),
        (413, b"", "413"),
    ],
)
def test_a_row_that_the_model_refuses_is_the_callers_mistake_and_told_in_the_models_words(
    service_of: Any, model: Predictor, kind: str, status: int, said: Any, words: str
) -> None:
    async def story(service: Asked) -> None:
        service.work()
        assert (await service.ask(FIRST, {"instances": [ROW]})).status == 200
        model.refusal = _too_old(status, said)
        answer = await service.ask(FIRST, {"instances": [ROW, OTHER, TOO_OLD]})  # the first of them is cached
        assert answer.status == 422
        assert answer.content == {"error": f"instances[2] is refused by the model: {words}"}
        tensor = {"name": "rows", "shape": [1, 3], "datatype": "FP64", "data": TOO_OLD}
        answer = await service.ask(SECOND, {"inputs": [tensor]})
        assert (answer.status, answer.content["error"][:20]) == (422, "inputs[0] is refused")
        assert await _counted(service, "refused") == (2, 0)
        assert (await service.ask(FIRST, {"instances": [OTHER]})).status == 200

    run(story(service_of(kind)))


@pytest.mark.parametrize("kind", ["v1", "v2"])
@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (_too_old(500, {"error": "broken"}), "500 broken"),
        (_too_old(503, {"error": "starts"}), "503 starts"),
        (_too_old(401, {"error": "who are you"}), "401 who are you"),
        (_too_old(429, {"error": "too many"}), "429 too many"),
        (lambda rows: (400, {"error": "not ready"}), "it refuses by now what it answered at the start"),
        (
            lambda rows: (400, {"error": "too many rows"}) if len(rows) > 1 else None,
            "it takes the row, and refuses mixtures of it and the background",
        ),
    ],
    ids=["fails", "away", "token", "busy", "refuses all", "refuses mixtures"],
)
def test_a_model_that_fails_or_refuses_what_is_no_row_of_the_caller_counts_against_the_service(
    service_of: Any, model: Predictor, kind: str, refusal: Any, said: str
) -> None:
    async def story(service: Asked) -> None:
        service.work()
        model.refusal = refusal
        answer = await service.ask(FIRST, {"instances": [TOO_OLD]})
        assert answer.status == 502
        assert said in json.dumps(answer.content)
        assert await _counted(service, "model_failed") == (1, 1)
        assert await service.sample("ml_explanation_refusals_total", reason="refused") == 0

    run(story(service_of(kind)))
