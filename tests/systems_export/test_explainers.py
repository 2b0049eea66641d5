"""Explainers of anybody: what their answers say, and what is published of those that answer and those that do not."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from exporters.systems.kinds import explainer
from midwatch.errors import MidwatchError
from midwatch.spec.observed.explainer import ExplainerObserved

OURS = {"explanations": [{"attributions": {"age": 1.0, "debt": -3.0}, "base": 0.5, "prediction": -1.5}]}
ALIBI = {
    "meta": {"name": "KernelShap"},
    "data": {
        "shap_values": [[[-1.0, 3.0]], [[1.0, -3.0]]],
        "expected_value": [0.25, 0.5],
        "raw": {"raw_prediction": [[1.5, -1.5]]},
    },
}


def in_second_protocol(document: Any) -> Any:
    return {"outputs": [{"name": "explanation", "shape": [1, 1], "datatype": "BYTES", "data": [json.dumps(document)]}]}


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    seen = SimpleNamespace(requests=[], status=200, answer=OURS)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen.requests.append((self.path, headers, body))
            content = json.dumps(seen.answer).encode()
            self.send_response(seen.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    seen.url = f"http://127.0.0.1:{made.server_port}/v1/models/credit:explain"
    yield seen
    made.shutdown()
    made.server_close()


def probed(url: str, **settings: Any) -> dict[str, float]:
    """What is published of one explainer, by the end of the metrics' names."""
    section = {"endpoints": {"credit": {"url": url, "row": [1.0, 2.0], **settings}}}
    source = explainer.Explainers(ExplainerObserved.model_validate(section))
    samples = source.read(0.0)
    assert {tuple(one.labels.items()) for one in samples} == {(("endpoint", "credit"),)}
    return {one.metric.name.removeprefix("explainer_probe_"): one.value for one in samples}


@pytest.mark.parametrize(
    "answer",
    [OURS, ALIBI, in_second_protocol(OURS["explanations"][0]), in_second_protocol(ALIBI)],
    ids=["ours", "Alibi's", "ours in the second protocol", "Alibi's in the second protocol"],
)
def test_an_explanation_that_adds_up_is_published_as_one(server: Any, answer: Any) -> None:
    server.answer = answer
    found = probed(server.url)
    assert found.pop("duration_seconds") > 0
    assert found == {"up": 1, "additivity_error_ratio": pytest.approx(0)}
    (path, headers, body) = server.requests[0]
    assert (path, body) == ("/v1/models/credit:explain", {"instances": [[1.0, 2.0]]})
    assert headers["seldon-skip-logging"] == "true"


def test_what_the_platform_file_states_is_what_has_to_come_out(server: Any) -> None:
    assert probed(server.url, prediction=8.5)["additivity_error_ratio"] == pytest.approx(10 / 5)
    assert probed(server.url, base=5.5)["additivity_error_ratio"] == pytest.approx(5 / 5)


@pytest.mark.parametrize(
    "answer",
    [
        {"explanations": ["because"]},
        {"explanations": {"masks": [[0, 1]]}},
        {"data": {"anchor": ["age > 3"]}},
        {"saliencies": {"a": []}},
        {"outputs": []},
    ],
)
def test_an_answer_of_a_form_that_nobody_can_add_up_is_an_answer(server: Any, answer: Any) -> None:
    server.answer = answer
    assert set(probed(server.url)) == {"up", "duration_seconds"}


def test_an_explanation_without_a_base_is_added_up_with_the_stated_one(server: Any) -> None:
    server.answer = {"explanations": [{"attributions": {"age": 1.0}, "prediction": 3.0}]}
    assert "additivity_error_ratio" not in probed(server.url)
    assert probed(server.url, base=2.0)["additivity_error_ratio"] == 0


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, OURS),
        (404, {}),
        (302, OURS),
        (200, {}),
        (200, []),
        (200, {"error": "no model"}),
        (200, {"explanations": []}),
        (200, {"explanations": [{"attributions": {"age": float("nan")}, "base": 0.5, "prediction": 1.5}]}),
        (200, {"explanations": [{"attributions": {"age": 1.0}, "base": float("inf"), "prediction": 1.5}]}),
        (200, {"explanations": [{"attributions": {}, "base": 1.5, "prediction": 1.5}]}),
        (200, {"data": {**ALIBI["data"], "expected_value": [0.25, float("nan")]}}),
    ],
)
def test_what_is_no_explanation_is_down_and_has_no_duration(server: Any, status: int, answer: Any) -> None:
    server.status, server.answer = status, answer
    assert probed(server.url) == {"up": 0}


def test_one_that_is_away_keeps_no_other_from_being_asked(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    section = {
        "endpoints": {"away": {"url": "http://127.0.0.1:1/x", "row": [1]}, "credit": {"url": server.url, "row": [1]}}
    }
    source = explainer.Explainers(ExplainerObserved.model_validate(section))
    for _ in range(2):
        up = {one.labels["endpoint"]: one.value for one in source.read(0.0) if one.metric.name == "explainer_probe_up"}
        assert up == {"away": 0, "credit": 1}
    assert caplog.text.count("away: http://127.0.0.1:1/x: no answer") == 1


def test_the_second_protocol_gets_a_tensor(server: Any) -> None:
    probed(server.url, protocol="v2", row={"age": 1.0, "debt": 2.0})
    ((_, _, body),) = server.requests
    assert body == {"inputs": [{"name": "input-0", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}]}


def test_a_row_with_text_is_a_tensor_for_each_feature_of_the_second_protocol(server: Any) -> None:
    probed(server.url, protocol="v2", row={"age": 1.0, "country": "de"})
    ((_, _, body),) = server.requests
    assert body["inputs"] == [
        {"name": "age", "shape": [1, 1], "datatype": "FP64", "data": [1.0]},
        {"name": "country", "shape": [1, 1], "datatype": "BYTES", "data": ["de"]},
    ]
    with pytest.raises(ValueError, match="row has text, which a tensor of numbers does not take; write the row by its"):
        probed(server.url, protocol="v2", row=[1.0, "de"])


def test_the_stanza_of_the_guide_is_one(platform_with: Any) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", Path("docs/explanations.md").read_text(), re.DOTALL)
    (stanza,) = (yaml.safe_load(block) for block in blocks if "endpoints:" in block)
    platform = platform_with(explainer=stanza["systems"]["explainer"] | {"owner": "ml"})
    observed = platform.systems["explainer"].observe
    assert isinstance(observed, ExplainerObserved)
    assert list(observed.endpoints) == ["credit", "iris"]


def test_an_answer_without_end_is_no_explanation() -> None:
    with pytest.raises(MidwatchError, match="the answer is no explanation"):
        explainer.read(b"[" * 100_000)
