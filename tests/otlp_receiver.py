"""A real OTLP receiver in this process, over HTTP and gRPC: keeps what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc

KINDS = {
    "/v1/metrics": metrics.ExportMetricsServiceRequest,
    "/v1/traces": traces.ExportTraceServiceRequest,
    "/v1/logs": logs.ExportLogsServiceRequest,
}


class Received:
    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.endpoint = ""

    def of(self, path: str) -> list[Any]:
        return [message for message in self.messages if isinstance(message, KINDS[path])]

    def metrics(self) -> list[Any]:
        return [
            metric
            for message in self.of("/v1/metrics")
            for resource in message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def spans(self) -> list[Any]:
        return [
            s for m in self.of("/v1/traces") for r in m.resource_spans for scope in r.scope_spans for s in scope.spans
        ]

    def logs(self) -> list[Any]:
        return [
            g for m in self.of("/v1/logs") for r in m.resource_logs for scope in r.scope_logs for g in scope.log_records
        ]


@contextmanager
def over_http() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            kind = KINDS.get(self.path)
            if kind is not None:
                received.messages.append(kind.FromString(body))
            self.send_response(404 if kind is None else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    received.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def over_grpc() -> Iterator[Received]:
    received = Received()
    server = grpc.server(futures.ThreadPoolExecutor(2))

    def servicer(base: Any, answer: Any) -> Any:
        def export(self: Any, request: Any, context: Any) -> Any:
            received.messages.append(request)
            return answer()

        return type("Servicer", (base,), {"Export": export})()

    metrics_grpc.add_MetricsServiceServicer_to_server(
        servicer(metrics_grpc.MetricsServiceServicer, metrics.ExportMetricsServiceResponse), server
    )
    traces_grpc.add_TraceServiceServicer_to_server(
        servicer(traces_grpc.TraceServiceServicer, traces.ExportTraceServiceResponse), server
    )
    logs_grpc.add_LogsServiceServicer_to_server(
        servicer(logs_grpc.LogsServiceServicer, logs.ExportLogsServiceResponse), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    received.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield received
    finally:
        server.stop(None).wait()
