"""Logs as JSON lines with trace ids, spans, and their export by OTLP: off until an endpoint is configured."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midwatch.errors import MidwatchError

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_GRPC_PORT = ":4317"
TRACE_PARENT = "TRACEPARENT"

_tracer: Any = None


class TelemetryError(MidwatchError):
    """The endpoint or the protocol cannot be used."""


def setup(service: str, *, endpoint: str | None = None, protocol: str | None = None) -> Callable[[], None]:
    """Log JSON lines to standard error; with an endpoint also export logs, traces and metrics there.

    `endpoint` is the collector's base URL and stands before OTEL_EXPORTER_OTLP_ENDPOINT; `protocol` is
    `http/protobuf` or `grpc` and stands before OTEL_EXPORTER_OTLP_PROTOCOL (port 4317 means grpc, else HTTP).
    Returns what has to be called at the end: it flushes and stops the exports.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    endpoint = endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not endpoint:
        return lambda: None
    return _export(service, endpoint, protocol_of(endpoint, protocol))


def protocol_of(endpoint: str, protocol: str | None = None) -> str:
    """`grpc` or `http/protobuf`; TelemetryError for anything else that is asked for."""
    wanted = protocol or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if not wanted:
        return "grpc" if endpoint.rstrip("/").endswith(_GRPC_PORT) else "http/protobuf"
    if wanted not in ("grpc", "http/protobuf"):
        raise TelemetryError(f"OTLP protocol {wanted!r} is not one of grpc and http/protobuf")
    return wanted


@contextmanager
def span(name: str, **attributes: str | float | bool) -> Iterator[None]:
    """Trace what happens inside; nothing at all while telemetry is off."""
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(name, attributes=attributes):
        yield


def trace_environment() -> dict[str, str]:
    """What a child process needs to go on with this trace (W3C Trace Context); empty while telemetry is off."""
    ids = _span_ids()
    return {TRACE_PARENT: f"00-{ids['trace_id']}-{ids['span_id']}-01"} if ids else {}


@dataclass(frozen=True, kw_only=True)
class GivenSpan:
    """A span whose ids and times somebody else says: hexadecimal digits, and seconds since 1970."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start: float
    end: float
    attributes: Mapping[str, str]
    is_error: bool = False


def given_spans(service: str) -> Callable[[Sequence[GivenSpan]], bool] | None:
    """What exports spans that were given their ids, and says whether they arrived; None while telemetry is off.

    A span that is exported twice is the same one: whoever does not know whether it arrived sends it again.
    """
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not endpoint:
        return None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExportResult

    out, resource = exporter("traces", endpoint, protocol_of(endpoint)), Resource.create({"service.name": service})

    def export(spans: Sequence[GivenSpan]) -> bool:
        return bool(out.export([_readable(one, resource) for one in spans]) is SpanExportResult.SUCCESS)

    return export


def _readable(span: GivenSpan, resource: Resource) -> Any:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

    def context(number: str) -> SpanContext:
        return SpanContext(int(span.trace_id, 16), int(number, 16), is_remote=False, trace_flags=TraceFlags(1))

    return ReadableSpan(
        name=span.name,
        context=context(span.span_id),
        parent=context(span.parent_id) if span.parent_id else None,
        resource=resource,
        attributes=dict(span.attributes),
        start_time=int(span.start * 1e9),
        end_time=int(span.end * 1e9),
        status=Status(StatusCode.ERROR if span.is_error else StatusCode.OK),
    )


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts (RFC 3339, UTC), level, logger, message, the record's extras, ids of the span."""

    def format(self, record: logging.LogRecord) -> str:
        """Text of a record."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document: dict[str, Any] = {
            "ts": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **extras(record),
            **_span_ids(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str, ensure_ascii=False)


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What was passed as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _span_ids() -> dict[str, str]:
    if _tracer is None:
        return {}
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _export(service: str, endpoint: str, protocol: str) -> Callable[[], None]:
    """Start the three exports; the SDK is imported only here."""
    global _tracer  # noqa: PLW0603 - one process has one telemetry
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.name": service})
    tracing, logs, meters = (start(endpoint, protocol, resource) for start in (_traces, _logs, _metrics))
    _tracer = tracing.get_tracer("midwatch")
    _go_on_with_trace()

    def stop() -> None:
        global _tracer  # noqa: PLW0603 - see above
        _tracer = None
        root = logging.getLogger()
        root.handlers[:] = [handler for handler in root.handlers if not isinstance(handler, _Forward)]
        for provider in (tracing, logs, meters):
            provider.shutdown()

    return stop


def _go_on_with_trace() -> None:
    """Spans without a parent here belong to that of the process that started this one."""
    if parent := os.environ.get(TRACE_PARENT):
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context.attach(TraceContextTextMapPropagator().extract({"traceparent": parent}))


def _traces(endpoint: str, protocol: str, resource: Resource) -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter("traces", endpoint, protocol)))
    return provider


def _logs(endpoint: str, protocol: str, resource: Resource) -> Any:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter("logs", endpoint, protocol)))
    logging.getLogger().addHandler(_Forward(provider.get_logger("midwatch")))
    return provider


def _metrics(endpoint: str, protocol: str, resource: Resource) -> Any:
    """Metrics about the process itself; model metrics are pushed from their own state by `exporters.otlp`."""
    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter("metrics", endpoint, protocol))], resource=resource
    )

    def cpu(_: CallbackOptions) -> list[Observation]:
        return [Observation(time.process_time())]

    provider.get_meter("midwatch").create_observable_counter("process.cpu.time", [cpu], unit="s")
    return provider


def exporter(signal: str, endpoint: str, protocol: str) -> Any:
    """OTLP exporter of a signal (`traces`, `logs` or `metrics`) to a collector's base URL."""
    return exporter_to(signal, endpoint if protocol == "grpc" else f"{endpoint.rstrip('/')}/v1/{signal}", protocol)


def exporter_to(signal: str, url: str, protocol: str) -> Any:
    """OTLP exporter of a signal to the URL that takes it."""
    if protocol == "grpc":
        return _over_grpc()[signal](endpoint=url, insecure=not url.startswith("https"), timeout=10)
    return _over_http()[signal](endpoint=url, timeout=10)


def _over_grpc() -> dict[str, Callable[..., Any]]:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return {"traces": OTLPSpanExporter, "logs": OTLPLogExporter, "metrics": OTLPMetricExporter}


def _over_http() -> dict[str, Callable[..., Any]]:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return {"traces": OTLPSpanExporter, "logs": OTLPLogExporter, "metrics": OTLPMetricExporter}


class _Forward(logging.Handler):
    """Hands log records to OpenTelemetry, except its own, which would go round in a circle."""

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Forward a record."""
        from opentelemetry._logs import LogRecord, SeverityNumber

        if record.name.startswith(("opentelemetry", "urllib3", "grpc")):
            return
        severities = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}
        self._logger.emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                observed_timestamp=time.time_ns(),
                severity_text=record.levelname,
                severity_number=SeverityNumber(severities.get(record.levelname, 9)),
                body=record.getMessage(),
                attributes={"logger": record.name, **{name: str(value) for name, value in extras(record).items()}},
            )
        )
