"""Logs, traces and metrics by OTLP, to a real receiver over both protocols; and nothing at all while it is off."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from midwatch import telemetry
from tests import otlp_receiver


@pytest.fixture(autouse=True)
def _root_logger():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(
    ("receiver", "protocol"),
    [(otlp_receiver.over_http, "http/protobuf"), (otlp_receiver.over_grpc, "grpc")],
    ids=["http", "grpc"],
)
def test_logs_traces_and_metrics_arrive_and_share_the_trace_id(receiver, protocol: str, capsys) -> None:
    with receiver() as received:
        stop = telemetry.setup("test", endpoint=received.endpoint, protocol=protocol)
        with telemetry.span("work", model="fraud"):
            logging.getLogger("test").warning("inside %s", "here", extra={"model": "fraud"})
        stop()
        span, log = received.spans()[0], received.logs()[0]
        names = {metric.name for metric in received.metrics()}
    line = json.loads(capsys.readouterr().err.splitlines()[0])
    assert span.name == "work"
    assert log.body.string_value == line["message"] == "inside here"
    assert log.trace_id == span.trace_id == bytes.fromhex(line["trace_id"])
    assert line["model"] == "fraud"
    assert "process.cpu.time" in names


def test_without_an_endpoint_the_sdk_is_not_even_imported() -> None:
    program = (
        "import sys; from midwatch import telemetry; telemetry.setup('x')()\n"
        "with telemetry.span('a'): pass\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={})


def test_an_exception_is_part_of_its_line(capsys) -> None:
    telemetry.setup("x")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("test").exception("failed")
    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "error"
    assert "ValueError: broken" in line["exception"]


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(telemetry.TelemetryError, match="carrier-pigeon"):
        telemetry.protocol_of("http://127.0.0.1:1", "carrier-pigeon")
    assert telemetry.protocol_of("http://127.0.0.1:4317") == "grpc"
    assert telemetry.protocol_of("http://127.0.0.1:4318") == "http/protobuf"
