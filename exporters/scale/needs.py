"""What a rate of requests needs: each figure with the measurement that it is computed from. Pure arithmetic.

A figure is measured where one of its kind was run (`make bench`, docs/figures.md); what is beyond what was run is its
multiple, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from exporters import capacity
from midwatch import scrape_size
from midwatch.spec.model import Platform

EVENTS_PER_CORE = 109_963
"""Events a second of one exporter, durable, in batches of a hundred (`make bench FLAGS=exporter`)."""
JOURNAL_BYTES = {"prediction": 248, "label": 81}
"""Bytes of the journal for a prediction with five features, and for its label, in frames of a thousand."""
SETTLED_EVENTS = 2
"""A request is a prediction, and later its label."""
KAFKA_EVENTS = 60_300
"""Events a second of one member that reads them from Kafka, joins included (`make bench FLAGS=kafka`). A partition has
one reader, so that no partition may bring more."""

STREAM_EVENTS = 57_700
"""Events a second of one stream on two cores, broker and Java with it: the least of three runs (`make bench
FLAGS=stream`)."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """How much of something is needed, in what unit, and how that is known."""

    what: str
    amount: float
    unit: str
    basis: str
    is_extrapolated: bool


def of(platform: Platform, requests: float) -> list[Need]:
    """What so many requests a second need, spread over the models as their `requests_per_second` are."""
    return list(_of(spread(platform, requests), requests))


def spread(platform: Platform, requests: float) -> Platform:
    """The platform with so many requests a second: each model's share is what it states, and equal where none does."""
    stated = [model.requests_per_second or 0.0 for model in platform.models]
    total = sum(stated)
    shares = [one / total for one in stated] if total else [1 / len(stated)] * len(stated)
    models = [
        model.model_copy(update={"requests_per_second": requests * share})
        for model, share in zip(platform.models, shares, strict=True)
    ]
    return platform.model_copy(update={"models": models})


def exporters_for(platform: Platform, requests: float) -> int:
    """How many exporters so many requests a second need."""
    return max(1, math.ceil(_events(platform, requests) / _events_of_one(platform)))


def streams_for(platform: Platform, requests: float) -> int:
    """How many streams of two cores so many requests a second need, where there are no exporters."""
    return max(1, math.ceil(_events(platform, requests) / STREAM_EVENTS))


def _events_of_one(platform: Platform) -> int:
    return EVENTS_PER_CORE if platform.exporter.kafka is None else KAFKA_EVENTS


def _events(platform: Platform, requests: float) -> float:
    return requests * (1 + float(platform.exporter.sample) * (SETTLED_EVENTS - 1))


def _of(platform: Platform, requests: float) -> Iterator[Need]:
    settings = platform.exporter
    events, exporters = _events(platform, requests), exporters_for(platform, requests)
    waiting = requests * float(settings.sample) * settings.label_retention
    series = exporters * (capacity.least_series(platform) + capacity.judged_series(platform))
    interval = platform.prometheus.scrape_interval
    journal = requests * (JOURNAL_BYTES["prediction"] + float(settings.sample) * JOURNAL_BYTES["label"])
    several = exporters > 1
    partitions = math.ceil(events / KAFKA_EVENTS)
    yield Need(
        what="events",
        amount=events,
        unit="1/s",
        basis="a prediction, and of the sample its label",
        is_extrapolated=False,
    )
    if platform.has_exporters:
        yield Need(
            what="exporters, a core each",
            amount=exporters,
            unit="",
            basis=f"{_events_of_one(platform):,} events/s each",
            is_extrapolated=several,
        )
    else:
        streams = streams_for(platform, requests)
        yield Need(
            what="streams, two cores each",
            amount=streams,
            unit="",
            basis=f"{STREAM_EVENTS:,} events/s each",
            is_extrapolated=streams > 1,
        )
    yield Need(
        what="partitions, where Kafka has the events",
        amount=max(partitions, capacity.least_partitions(spread(platform, requests))),
        unit="at least",
        basis=f"one reader each, of {KAFKA_EVENTS:,} events/s, and max_waiting",
        is_extrapolated=partitions > 1,
    )
    yield Need(
        what="predictions that wait for labels",
        amount=waiting,
        unit="",
        basis="requests x sample x label_retention",
        is_extrapolated=False,
    )
    yield Need(
        what="memory for these, of all exporters",
        amount=waiting * capacity.WAITING_MEMORY / 2**30,
        unit="GiB",
        basis=f"{capacity.WAITING_MEMORY} bytes each at a million",
        is_extrapolated=waiting > 1e6,
    )
    yield Need(
        what="journal written",
        amount=journal / 2**20,
        unit="MiB/s",
        basis=f"{JOURNAL_BYTES['prediction']} and {JOURNAL_BYTES['label']} bytes",
        is_extrapolated=False,
    )
    yield Need(
        what="series that are scraped, at least",
        amount=series,
        unit="",
        basis="each exporter has every model",
        is_extrapolated=False,
    )
    yield Need(
        what="samples scraped", amount=series / interval, unit="1/s", basis="scrape_interval", is_extrapolated=False
    )
    yield Need(
        what="time of one exporter's scrape",
        amount=scrape_size.seconds(series // exporters),
        unit="s",
        basis="10 µs a series, five times what was measured",
        is_extrapolated=False,
    )
