"""Prometheus text of metric families: what prometheus_client writes, byte for byte, in a fraction of the time.

The client formats and escapes every label of every sample at each scrape; here a label set is formatted once.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.utils import floatToGoString

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(families: Iterable[Family]) -> bytes:
    """Text exposition, version 0.0.4, of the families in their order."""
    lines: list[str] = []
    for family in families:
        name = family.name + "_total" if family.type == "counter" else family.name
        text = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
        lines += (f"# HELP {name} {text}\n", f"# TYPE {name} {family.type}\n")
        lines += [
            f"{sample.name}{_labels(tuple(sample.labels.items()))} {_number(sample.value)}\n"
            for sample in family.samples
        ]
    return "".join(lines).encode()


@lru_cache(maxsize=200_000)
def _labels(pairs: tuple[tuple[str, str], ...]) -> str:
    if not pairs:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(pairs)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if type(value) is int and -1_000_000 < value < 1_000_000:
        return f"{value}.0"
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text
