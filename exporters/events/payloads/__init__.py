"""Payloads of inferences as model servers send them: one module a protocol, each with `request` and `response`.

Both take a JSON document and answer None where it is not of their protocol. `read_request` and `read_response` take
the bytes that passed the logger and ask them in turn.

KServe's agent logs the bytes as they passed it, with the content type of the request and without their content coding
(`pkg/logger/handler.go` of kserve/kserve): gzip is known by its first bytes, a stream of events by its first line.
"""

from exporters.events.payloads.reader import read_request, read_response

__all__ = ["read_request", "read_response"]
