"""What is counted of a version of a model, and of a model: what a snapshot keeps, and a scrape publishes."""

from __future__ import annotations

import re

import msgspec

from exporters.events.attributions import Explained
from exporters.events.group_sums import Explained as GroupExplained
from exporters.events.group_sums import Exposed
from exporters.events.outcomes import Grouped
from midwatch import metrics

TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
"""A trace id (W3C Trace Context, 3.2.2.3); anything else is no link to a trace."""


class Exemplar(msgspec.Struct, array_like=True, gc=False):
    """A request that a latency bucket counted: its trace, duration, and time (seconds since the epoch)."""

    trace_id: str
    seconds: float
    ts: float


class Series(msgspec.Struct):
    """Counts of a version of a model. `latency`: one per bound and one beyond; `bins`: [n, positives, sum].

    `exemplars` has the newest traced request of a bucket, by its place in `latency`. `summed` are the groups that have
    series of sums, by what is summed and attribute.
    """

    model: str
    version: str
    bounds: list[float]
    latency: list[int]
    bins: list[list[float]]
    ok: int = 0
    errors: int = 0
    latency_sum: float = 0.0
    predicted: dict[str, int] = {}
    outcomes: dict[str, dict[str, int]] = {}
    groups: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    absolute: float = 0.0
    squared: float = 0.0
    observed: int = 0
    expected: float = 0.0
    scored: int = 0
    exemplars: dict[int, Exemplar] = {}
    tokens: dict[str, int] = {}
    finish_reasons: dict[str, int] = {}
    first_token: list[int] = msgspec.field(default_factory=lambda: [0] * (len(metrics.FIRST_TOKEN_BUCKETS) + 1))
    first_token_sum: float = 0.0
    output_token: list[int] = msgspec.field(default_factory=lambda: [0] * (len(metrics.OUTPUT_TOKEN_BUCKETS) + 1))
    output_token_sum: float = 0.0
    bounded: dict[str, dict[str, int]] = {}
    grouped: Grouped = {}
    explained: Explained = msgspec.field(default_factory=Explained)
    exposed: Exposed = {}
    summed: dict[str, dict[str, set[str]]] = {}
    group_explained: dict[str, dict[str, int]] = {}
    group_attributions: GroupExplained = {}


class ModelSeries(msgspec.Struct):
    """Counts of a model over its versions, and the label values it has been admitted with."""

    model: str
    delay: list[int]
    delay_sum: float = 0.0
    waiting: int = 0
    labels_waiting: int = 0
    expired: int = 0
    orphaned: int = 0
    sampled_out: int = 0
    versions: set[str] = set()
    classes: set[str] = set()
    group_values: dict[str, set[str]] = {}
    unread: dict[str, int] = {}
    explained_features: set[str] = set()
