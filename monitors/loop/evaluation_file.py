"""An evaluation of both versions on the same labelled rows, as a pipeline leaves it: a table, or counts of one.

A table (Parquet, CSV, or JSON lines) has a row per prediction with the columns `actual`, `old` and `new`; `set` says
whether a row is of the `drifted` window (all are, without it) or of another set, such as `frozen`; `id` tells rows
apart. Columns that are named as groups compare each of their values. Counts are a JSON document:
`{"sets": {"drifted": {"rows": 9000, "only_new": 610, "only_old": 420}}, "groups": {"age=young": {…}}}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from midwatch.errors import InvalidInputError, Problem
from monitors.loop.better import DRIFTED, Evaluation
from monitors.loop.paired import Pairs

COLUMNS = ("actual", "old", "new")
MAX_GROUPS = 100
"""Values of all group columns together; more share the false alarms out so far that nothing is found."""
FEW = 0.9
"""Share of the rows that both versions predicted and that have a label, below which a verdict would be of the rest."""
MAX_COUNTS_BYTES = 1 << 20

Right = NDArray[np.bool_]


class _Counted(msgspec.Struct, forbid_unknown_fields=True):
    """Counts of a set or a group."""

    rows: int
    only_new: int
    only_old: int


class _Counts(msgspec.Struct, forbid_unknown_fields=True):
    """The document with counts instead of rows."""

    sets: dict[str, _Counted]
    groups: dict[str, _Counted] = {}


def load(path: Path, groups: Sequence[str] = (), *, within: float | None = None) -> Evaluation:
    """The evaluation in a file; InvalidInputError when it is none.

    With `within` an answer is right that is off by no more (a regression), else one that is the label. `groups` are
    columns of a table; counts say their groups themselves.
    """
    if path.suffix == ".json":
        return _of_counts(path)
    return _of_table(path, _read(path), groups, within)


# Counts ------------------------------------------------------------------------------------------------------------


def _of_counts(path: Path) -> Evaluation:
    try:
        content = path.read_bytes()
        if len(content) > MAX_COUNTS_BYTES:
            raise InvalidInputError.at(path, "more than 1 MiB of counts", remedy="give rows as Parquet or JSON lines")
        said = msgspec.json.decode(content, type=_Counts)
    except OSError as error:
        raise InvalidInputError.at(path, error.strerror or "cannot be read") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        remedy = 'write {"sets": {"drifted": {"rows": 9000, "only_new": 610, "only_old": 420}}}'
        raise InvalidInputError.at(path, f"no counts of an evaluation: {error}", remedy=remedy) from error
    _ensure_few(path, len(said.groups))
    sets = {name: _pairs(path, f"sets.{name}", one) for name, one in said.sets.items()}
    groups = {name: _pairs(path, f"groups.{name}", one) for name, one in said.groups.items()}
    if not sets:
        raise InvalidInputError.at(path, "no set of rows", remedy=f"name one, such as {DRIFTED}")
    return Evaluation(sets=sets, groups=groups)


def _pairs(path: Path, place: str, counted: _Counted) -> Pairs:
    try:
        return Pairs(rows=counted.rows, only_new=counted.only_new, only_old=counted.only_old)
    except ValueError as error:
        raise InvalidInputError([Problem(file=str(path), path=place, message=str(error))]) from error


def _ensure_few(path: Path, groups: int) -> None:
    if groups > MAX_GROUPS:
        message = f"{groups} groups, and at most {MAX_GROUPS} are compared"
        raise InvalidInputError.at(path, message, remedy="name fewer columns as groups, or coarser values")


# Rows --------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> Any:
    """An Arrow table of a file, by the end of its name."""
    import pyarrow as pa
    from pyarrow import csv, parquet
    from pyarrow import json as json_lines

    readers = {".parquet": parquet.read_table, ".csv": csv.read_csv, ".ndjson": json_lines.read_json}
    reader = readers.get(path.suffix, json_lines.read_json if path.suffix == ".jsonl" else None)
    if reader is None:
        remedy = "give .parquet, .csv, .ndjson (or .jsonl), or counts as .json"
        raise InvalidInputError.at(path, f"{path.suffix or 'no ending'} is no table that is read", remedy=remedy)
    try:
        return reader(str(path))
    except (OSError, pa.ArrowException) as error:
        words = " ".join(str(error).split())
        raise InvalidInputError.at(path, f"cannot be read: {words}") from error


def _of_table(path: Path, table: Any, groups: Sequence[str], within: float | None) -> Evaluation:
    lacking = [name for name in COLUMNS if name not in table.column_names]
    if lacking:
        has = ", ".join(table.column_names) or "none"
        raise InvalidInputError(
            Problem(file=str(path), message=f"no column {name!r}", remedy=f"it has: {has}") for name in lacking
        )
    if not table.num_rows:
        raise InvalidInputError.at(path, "no rows")
    _ensure_rows_differ(path, table)
    columns = {name: table.column(name) for name in COLUMNS}
    whole = ~np.any([_is_missing(column) for column in columns.values()], axis=0)
    share = float(whole.mean())
    if share < FEW:
        message = f"only {share:.1%} of {len(whole):,} rows have a label and predictions of both versions"
        raise InvalidInputError.at(path, message, remedy="the missing ones may be the wrong ones; evaluate both on all")
    right = {name: _right(path, columns["actual"], columns[name], name, within) for name in ("old", "new")}
    if not (whole & (right["old"] | right["new"])).any():
        remedy = "write labels and predictions alike, or give --within for a regression"
        raise InvalidInputError.at(
            path, "neither version is right on any row: actual, old and new differ", remedy=remedy
        )
    sets = _values(table, "set") if "set" in table.column_names else np.full(table.num_rows, DRIFTED)
    drifted = whole & (sets == DRIFTED)
    by_group = {
        f"{column}={value}": _counted(right, drifted & (values == value))
        for column in groups
        if column in table.column_names
        for values in [_values(table, column)]
        for value in sorted(set(values[drifted].tolist()))
    }
    _ensure_few(path, len(by_group))
    left, unseen = int((~whole).sum()), sorted(set(groups) - set(table.column_names))
    notes = [f"{left:,} rows without a label or a prediction of both are left out"] if left else []
    notes += [f"groups of {name} are not compared: the rows have no such column" for name in unseen]
    return Evaluation(
        sets={str(name): _counted(right, whole & (sets == name)) for name in sorted(set(sets.tolist()))},
        groups=by_group,
        notes=tuple(notes),
    )


def _ensure_rows_differ(path: Path, table: Any) -> None:
    """A row that counts twice would make the evidence look larger than it is."""
    if "id" not in table.column_names:
        return
    distinct = len(table.column("id").unique())
    if distinct < table.num_rows:
        message = f"{table.num_rows - distinct:,} rows have an id that another row has"
        raise InvalidInputError.at(path, message, remedy="give each row once")


def _is_missing(column: Any) -> Right:
    """Rows without a value: null, what is no number in a column of numbers, or an empty text, as CSV has it."""
    import pyarrow as pa
    from pyarrow import compute

    missing: Right = column.is_null(nan_is_null=True).to_numpy().copy()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        is_blank = compute.equal(compute.utf8_trim_whitespace(column), "")
        missing |= compute.fill_null(is_blank, True).to_numpy()
    return missing


def _right(path: Path, actual: Any, predicted: Any, name: str, within: float | None) -> Right:
    """Which answers are right; where one is missing it does not matter."""
    if within is None:
        return np.array(list(map(_same, actual.to_pylist(), predicted.to_pylist())), dtype=np.bool_)
    try:
        off = [
            math.nan if label in (None, "") or answer in (None, "") else abs(float(label) - float(answer))
            for label, answer in zip(actual.to_pylist(), predicted.to_pylist(), strict=True)
        ]
    except (TypeError, ValueError) as error:
        message = f"actual and {name} are not all numbers"
        raise InvalidInputError.at(path, message, remedy="leave --within out for classes") from error
    return np.array(off) <= within


def _same(label: Any, answer: Any) -> bool:
    """Whether a class is the label; one engine writes 1 where another writes 1.0 or "1"."""
    return bool(label == answer) or _text(label) == _text(answer)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    is_whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value)) if is_whole else str(value)


def _values(table: Any, column: str) -> NDArray[Any]:
    return np.array([_text(value) for value in table.column(column).to_pylist()])


def _counted(right: Mapping[str, Right], rows: Right) -> Pairs:
    return Pairs(
        rows=int(rows.sum()),
        only_new=int((right["new"] & ~right["old"] & rows).sum()),
        only_old=int((right["old"] & ~right["new"] & rows).sum()),
    )
