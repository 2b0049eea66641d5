"""Counts and the settings they are judged by as a JSON document, to and from a file.

The document of `--json` holds them whole, so that a verdict can be given again anywhere, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from midwatch.errors import InvalidInputError, Problem
from midwatch.spec.base import Strict
from midwatch.spec.canary import Canary
from monitors.canary.counts import Counted, Counts, Doubt, Labelled, Missing, Samples
from monitors.canary.times import moment, parse_moment

FORMAT = "midwatch-canary-counts/1"
_ROWS = ("baseline_events", "canary_events", "baseline_requests", "canary_requests")
"""Counts by interval of a criterion."""
MAX_BYTES = 64 * 2**20


def document(counts: Counts, settings: Canary) -> dict[str, Any]:
    """Counts and settings as JSON values; `load` reads them back to the same."""
    return {
        "format": FORMAT,
        "model": counts.model,
        "baseline": counts.baseline,
        "canary": counts.canary,
        "start": moment(counts.start),
        "interval_seconds": counts.interval,
        "requests": {"baseline": counts.baseline_requests.tolist(), "canary": counts.canary_requests.tolist()},
        "criteria": {
            name: {
                "channels": list(one.channels),
                **_rows(one),
                "strata": {stratum: _part(part) for stratum, part in one.strata.items()},
                **_groups(one),
                "doubts": _doubts(one.doubts),
                "labels": one.labels and {name: row.tolist() for name, row in vars(one.labels).items()},
                "lag_intervals": one.lag,
                "waiting": one.waiting,
            }
            for name, one in sorted(counts.counted.items())
        },
        "gauges": {
            name: {
                "baseline": [None if math.isnan(value) else value for value in one.baseline],
                "canary": [None if math.isnan(value) else value for value in one.canary],
                "complete": one.complete,
                "doubts": _doubts(one.doubts),
            }
            for name, one in sorted(counts.gauges.items())
        },
        "doubts": _doubts(counts.doubts),
        "notes": list(counts.notes),
        "queries": list(counts.queries),
        "settings": _plain(settings.model_dump(by_alias=True)),
    }


def _rows(counted: Counted) -> dict[str, list[Any]]:
    return {name: getattr(counted, name).tolist() for name in _ROWS}


def _part(counted: Counted) -> dict[str, Any]:
    return {**_rows(counted), **_groups(counted)}


def _groups(counted: Counted) -> dict[str, Any]:
    """Counts of groups, where they are compared."""
    return {"groups": {name: _group(one) for name, one in counted.groups.items()}} if counted.groups else {}


def _group(counted: Counted) -> dict[str, Any]:
    missing = counted.missing
    told = {} if missing is None else {"missing": {name: row.tolist() for name, row in vars(missing).items()}}
    return {**_rows(counted), **told}


def digest(said: Mapping[str, Any]) -> str:
    """SHA-256 of a document of counts: two verdicts with the same digest are the same verdict."""
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _doubts(doubts: tuple[Doubt, ...]) -> list[dict[str, Any]]:
    return [{"text": doubt.text, "fatal": doubt.fatal} for doubt in doubts]


def _plain(value: Any) -> Any:
    """JSON values of a section of the platform file, as its reader takes them."""
    if isinstance(value, Decimal):
        return f"{(value * 100).normalize():f}%"
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


# Reading a file ------------------------------------------------------------------------------------------------------

_Row = list[Annotated[int, Field(ge=0, le=2**53)]]


class _Doubt(Strict):
    text: str
    fatal: bool = False


class _Requests(Strict):
    baseline: _Row
    canary: _Row

    @model_validator(mode="after")
    def _as_long(self) -> _Requests:
        if len(self.baseline) != len(self.canary):
            raise ValueError(f"{len(self.baseline)} intervals of the baseline, {len(self.canary)} of the canary")
        return self


class _Labels(Strict):
    baseline: _Row
    baseline_of: _Row
    canary: _Row
    canary_of: _Row


class _Counts(Strict):
    baseline_events: list[_Row]
    canary_events: list[_Row]
    baseline_requests: _Row
    canary_requests: _Row

    def rows(self) -> list[_Row]:
        """All of them."""
        return [*self.baseline_events, *self.canary_events, self.baseline_requests, self.canary_requests]

    def arrays(self) -> dict[str, Any]:
        """Fields of the counts."""
        return {name: np.array(getattr(self, name), dtype=np.int64) for name in _ROWS}


class _Missing(Strict):
    baseline_events: _Row
    baseline_others: _Row
    canary_events: _Row
    canary_others: _Row


class _Group(_Counts):
    missing: _Missing | None = None

    def rows(self) -> list[_Row]:
        """All of them."""
        return [*super().rows(), *(row for _, row in self.missing or ())]


class _Part(_Counts):
    groups: dict[str, _Group] = Field(default_factory=dict)

    def rows(self) -> list[_Row]:
        """All of them, with those of the groups."""
        return [*super().rows(), *(row for one in self.groups.values() for row in one.rows())]


class _Counted(_Part):
    channels: Annotated[list[str], Field(min_length=1)]
    strata: dict[str, _Part] = Field(default_factory=dict)
    doubts: list[_Doubt] = Field(default_factory=list)
    labels: _Labels | None = None
    lag_intervals: Annotated[int, Field(ge=0)] = 0
    waiting: str = ""

    @model_validator(mode="after")
    def _shapes(self) -> _Counted:
        parts = [self, *self.strata.values()]
        lengths = {len(row) for part in parts for row in part.rows()}
        lengths |= {len(row) for _, row in self.labels or ()}
        if len(lengths) != 1:
            raise ValueError(f"rows of {', '.join(map(str, sorted(lengths)))} intervals; all need the same")
        groups = [one for part in parts for one in part.groups.values()]
        sizes = {len(rows) for part in (*parts, *groups) for rows in (part.baseline_events, part.canary_events)}
        if sizes != {len(self.channels)}:
            raise ValueError(f"{len(self.channels)} channels need as many rows of events for each arm")
        return self


class _Samples(Strict):
    baseline: list[float | None]
    canary: list[float | None]
    complete: bool = True
    doubts: list[_Doubt] = Field(default_factory=list)


class _File(Strict):
    format: Literal["midwatch-canary-counts/1"]
    model: str
    baseline: str
    canary: str
    start: str
    interval_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    requests: _Requests
    criteria: dict[str, _Counted] = Field(default_factory=dict)
    gauges: dict[str, _Samples] = Field(default_factory=dict)
    doubts: list[_Doubt] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    queries: list[str] = Field(default_factory=list)
    settings: Canary | None = None

    @model_validator(mode="after")
    def _one_time_axis(self) -> _File:
        start = parse_moment(self.start)
        try:
            parse_moment(str(start + self.interval_seconds * len(self.requests.canary)))
        except ValueError as error:
            intervals = f"{len(self.requests.canary)} intervals of {self.interval_seconds:g} s"
            raise ValueError(f"{intervals} from {self.start} end after the year 9998") from error
        wrong = [name for name, one in self.criteria.items() if len(one.baseline_requests) != len(self.requests.canary)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: not as many intervals as requests has, {len(self.requests.canary)}")
        return self


def load(file: Path) -> tuple[Counts, Canary | None]:
    """Counts, and the settings they were judged by if the file has them; InvalidInputError with every problem.

    A document that `judge --json` wrote is taken too: its counts are read.
    """
    document = _read(file)
    inner = document.get("counts")
    return _counts(file, inner if isinstance(inner, dict) else document)


def load_samples(file: Path) -> dict[str, Samples]:
    """Samples by gauge: `{"name": {"baseline": [1.5, null], "canary": [1.7]}}`; InvalidInputError otherwise."""
    return {name: _samples(_validated(file, _Samples, one, (name,))) for name, one in _read(file).items()}


def _counts(file: Path, document: Mapping[str, Any]) -> tuple[Counts, Canary | None]:
    given = _validated(file, _File, document)
    counts = Counts(
        model=given.model,
        baseline=given.baseline,
        canary=given.canary,
        start=parse_moment(given.start),
        interval=given.interval_seconds,
        baseline_requests=np.array(given.requests.baseline, dtype=np.int64),
        canary_requests=np.array(given.requests.canary, dtype=np.int64),
        counted={
            name: Counted(
                channels=tuple(one.channels),
                **one.arrays(),
                groups=_loaded(one, one.channels),
                strata={
                    stratum: Counted(channels=tuple(one.channels), groups=_loaded(part, one.channels), **part.arrays())
                    for stratum, part in one.strata.items()
                },
                doubts=_told(one.doubts),
                labels=one.labels and Labelled(**{side: np.array(row, dtype=np.int64) for side, row in one.labels}),
                lag=one.lag_intervals,
                waiting=one.waiting,
            )
            for name, one in given.criteria.items()
        },
        gauges={name: _samples(one) for name, one in given.gauges.items()},
        doubts=_told(given.doubts),
        notes=tuple(given.notes),
        queries=tuple(given.queries),
    )
    return counts, given.settings


def _loaded(part: _Part, channels: Sequence[str]) -> dict[str, Counted]:
    """Counts of groups."""
    return {
        name: Counted(
            channels=tuple(channels),
            missing=None
            if one.missing is None
            else Missing(**{side: np.array(row, dtype=np.int64) for side, row in one.missing}),
            **one.arrays(),
        )
        for name, one in part.groups.items()
    }


def _samples(given: _Samples) -> Samples:
    sides = ([math.nan if value is None else value for value in side] for side in (given.baseline, given.canary))
    baseline, canary = (tuple(side) for side in sides)
    return Samples(baseline=baseline, canary=canary, complete=given.complete, doubts=_told(given.doubts))


def _told(doubts: list[_Doubt]) -> tuple[Doubt, ...]:
    return tuple(Doubt(text=doubt.text, fatal=doubt.fatal) for doubt in doubts)


def _read(file: Path) -> dict[str, Any]:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InvalidInputError.at(file, error.strerror or "cannot be read") from error
    if len(raw) > MAX_BYTES:
        raise InvalidInputError.at(file, f"the file has {len(raw)} bytes; at most {MAX_BYTES} are read")
    try:
        document = json.loads(raw)
    except json.JSONDecodeError as error:
        raise InvalidInputError.at(file, f"not JSON: {error.msg}", line=error.lineno) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError.at(file, "not JSON text") from error
    if not isinstance(document, dict):
        raise InvalidInputError.at(file, "not a JSON object")
    return document


def _validated(file: Path, model: Any, values: Any, inside: tuple[str, ...] = ()) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidInputError(
            Problem(
                file=str(file),
                path=".".join(map(str, (*inside, *one["loc"]))),
                message=one["msg"].removeprefix("Value error, "),
            )
            for one in error.errors(include_url=False)
        ) from error
