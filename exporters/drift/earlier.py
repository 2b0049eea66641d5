"""The judge's state as the release before kept it, `windows.json`: read once, when this one is installed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from exporters.drift.published import VERDICT, Entry, Group
from exporters.drift.references import Watched
from exporters.drift.rows import Schema
from exporters.drift.state import Head, Record, Saved, Stream
from exporters.drift.windows import SavedPane, SavedStream
from midwatch import metrics
from monitors.drift import retraining


class _Pane(msgspec.Struct):
    start: float
    samples: int
    counts: dict[str, tuple[list[int], int, int]]
    rows: tuple[bytes, bytes] | None = None


class _Stream(msgspec.Struct):
    after: float
    open: list[_Pane]
    closed: list[_Pane]


class _Saved(msgspec.Struct):
    segment: int = 0
    offset: int = 0
    streams: list[tuple[str, str, _Stream]] = []
    gauges: list[tuple[str, dict[str, str], float]] = []
    verdicts: list[tuple[str, str, str, int]] = []
    retraining: retraining.Saved = msgspec.field(default_factory=retraining.Saved)
    halves: list[bytes] = []


def read(path: Path, watched: Mapping[str, Watched]) -> Saved:
    """What that release has kept, on the cells of today's references; msgspec.MsgspecError where it is damaged."""
    found = msgspec.json.decode(path.read_bytes(), type=_Saved)
    streams: list[Stream] = []
    for model, version, stream in found.streams:
        if (one := watched.get(model)) is not None:
            opened, closed = (list(_panes(panes, one.schema)) for panes in (stream.open, stream.closed))
            streams.append((model, version, SavedStream(one.identity, stream.after, opened, closed)))
    head = Head(found.segment, found.offset, 0.0, _records(found), found.retraining)
    return Saved(head, streams, list(_entries(found)), found.halves)


def _panes(panes: list[_Pane], schema: Schema) -> Iterator[SavedPane]:
    for pane in panes:
        tally = schema.from_features(pane.counts)
        if tally is not None and tally.cells is not None and (pane.rows is None) == (schema.embedding is None):
            yield SavedPane(
                start=pane.start,
                samples=pane.samples,
                newest=pane.start,
                cells=tally.cells.astype(np.int64).tobytes(),
                missing=tally.missing,
                wrong=tally.wrong,
                packed=schema.packed().saved(),
                rows=pane.rows,
            )


def _records(found: _Saved) -> list[Record]:
    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for model, version, verdict, count in found.verdicts:
        counts[model, version][verdict] = count
    by_metric: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for name, labels, value in found.gauges:
        if "version" in labels:
            by_metric[name][labels["model"], labels["version"]] = value
    ends, samples = by_metric[metrics.DRIFT_WINDOW_END.name], by_metric[metrics.DRIFT_WINDOW_SAMPLES.name]
    return [
        (*key, ends.get(key), samples.get(key, 0.0), counts.get(key, {})) for key in dict.fromkeys((*counts, *ends))
    ]


def _entries(found: _Saved) -> Iterator[Entry]:
    """The last verdicts; everything else of a version is in its record."""
    heads: dict[tuple[str, str], list[Group]] = defaultdict(list)
    details: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for name, labels, value in found.gauges:
        if name in VERDICT:
            kept = details if "feature" in labels else heads
            kept[labels["model"], labels["version"]].append((labels, {name: value}))
    for model, version in dict.fromkeys((*heads, *details)):
        yield Entry.of(("verdict", model, version), heads[model, version], details[model, version])
