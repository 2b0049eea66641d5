"""What Prometheus would have of events: the exporter's counters after each block of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exporters.collector import tables
from exporters.events.state import State
from midwatch import metrics
from midwatch.client.events import Label, Prediction
from midwatch.exposition import samples
from midwatch.spec.model import Exporter, Model
from monitors.fairness.fetch import SUMMED, Asked, Cell, Window

NOW = 1_780_000_000.0
BLOCK = 1000.0
VERSION = ("m", "v1")
SUMS = [metric for summed in SUMMED.values() for metric in summed]
TOTALS = [metrics.PREDICTIONS, metrics.SETTLED, metrics.REQUESTS]
ASKED = [*TOTALS, metrics.GROUP_PREDICTIONS, metrics.SETTLED_GROUP_OUTCOMES, metrics.SETTLED_GROUP_PREDICTIONS, *SUMS]


def model(measure: str, **more: Any) -> Model:
    """A model with one promise; `m` as the events have it."""
    task = {"task": "regression"} if "error_bound" in more else {"task": "classification", "positive": "yes"}
    promise = {"attribute": "g", "measure": measure, "difference": "5%", "public": True, "over": "100000s", **more}
    given = {"name": "m", "owner": "ml", "groups": ["g", "h"], "label_maturity": "60s", "fairness": [promise]}
    return Model.model_validate(given | task)


def window(blocks: int) -> Window:
    """The window of some blocks."""
    return Window(start=NOW, block=BLOCK, size=blocks)


def asked(models: Model, blocks: Sequence[Sequence[Mapping[str, Any]]], **caps: int) -> Asked:
    """Counts by block of rows: fields of a prediction, and its `label`."""
    state = State(Exporter.model_validate({"caps": caps}), [models])
    before: dict[str, dict[Cell, float]] = {metric.name: {} for metric in ASKED}
    counts: dict[str, dict[Cell, Any]] = {metric.name: {} for metric in ASKED}
    for place, rows in enumerate(blocks):
        time = NOW + place * BLOCK
        state.apply(time, _events(rows, f"{place}-", time))
        state.apply(time + BLOCK / 2, [])  # all of them are settled
        for metric, labels, value in (sample for table in tables(state.live()) for sample in samples(table)):
            if metric.name in counts and labels.get("outcome") != "error":
                cell = _cell(labels)
                row = counts[metric.name].setdefault(cell, np.zeros(len(blocks)))
                row[place] = value - before[metric.name].get(cell, 0.0)
                before[metric.name][cell] = value
    of = {name: {VERSION: cells} for name, cells in counts.items()}
    return Asked(
        predicted=of[metrics.GROUP_PREDICTIONS.name],
        labelled=of[metrics.SETTLED_GROUP_OUTCOMES.name],
        settled=of[metrics.SETTLED_GROUP_PREDICTIONS.name],
        folded=frozenset(label for label, folded in state.counters.folded.items() if folded),
        queries=(),
        sums={metric.name: of[metric.name] for metric in SUMS},
        totals={metric.name: of[metric.name] for metric in TOTALS},
    )


def _events(rows: Sequence[Mapping[str, Any]], prefix: str, time: float) -> list[Any]:
    events: list[Any] = []
    for place, row in enumerate(rows):
        given = {name: value for name, value in row.items() if name != "label"}
        events.append(Prediction(id=f"{prefix}{place}", model="m", version="v1", ts=time, **given))
        if "label" in row:
            events.append(Label(id=f"{prefix}{place}", model="m", label=row["label"], ts=time))
    return events


def _cell(labels: Mapping[str, str]) -> Cell:
    if "attribute" not in labels:
        return "", "", *(labels.get(name, "") for name in ("predicted", "result"))
    first = labels.get("predicted") or labels.get("bin") or labels.get("bound") or ""
    return labels["attribute"], labels["group"], first, labels.get("actual") or labels.get("within") or ""
