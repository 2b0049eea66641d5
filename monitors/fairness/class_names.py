"""Why classes, as they were counted, say nothing of a rate: one that is spelled otherwise has a share of 0 everywhere.

Predictions and labels often come from two systems, each of which has its own spelling.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping

from midwatch import metrics
from midwatch.spec.model import Model
from monitors.fairness.fetch import Cell
from monitors.fairness.projection import Floats

NEEDED = {
    "selected": (True, False),
    "true positives": (True, True),
    "false positives": (True, True),
    "precision": (False, True),
    "positives above the score": (False, True),
}
"""Whether the positive class has to be seen among the predictions, and among the labels, by rate."""
PREDICTED, ACTUAL = 2, 3
"""Places of the classes in a cell."""

Cells = Mapping[Cell, Floats]


def doubt(model: Model, rate: str, counted: Cells, settled: Cells, folded: Collection[str], many: int) -> str:
    """Why a rate of some counts is none of the promised classes; empty where nothing says so.

    `settled` are counts without labels. Of so `many` predictions some would be of each class that matters.
    """
    told = [_totals(cells, place) for cells, place in ((counted, PREDICTED), (settled, PREDICTED), (counted, ACTUAL))]
    predicted, labelled = {name: max(of.get(name, 0.0) for of in told[:2]) for of in told[:2] for name in of}, told[2]
    if rate == "accuracy":
        return _of_accuracy(model, counted, _totals(counted, PREDICTED), labelled, folded, many)
    if rate not in NEEDED or not (predicted or labelled):
        return ""
    lacks = [
        (word, seen)
        for word, seen, is_needed in zip(("predicted", "labelled"), (predicted, labelled), NEEDED[rate], strict=True)
        if is_needed and sum(seen.values()) >= many and model.positive not in seen
    ]
    if lacks:
        words = " or ".join(word for word, _ in lacks)
        return _lacking(model.positive or "", words, {name for _, seen in lacks for name in seen}, folded)
    twins = sorted(name for name in {*predicted, *labelled} - model.class_names if _is_twin(name, model.positive or ""))
    named = ", ".join(f"`{name}`" for name in twins)
    return f"{named} counts as another class than `{model.positive}`: spell it alike" if twins else ""


def _lacking(positive: str, words: str, seen: Collection[str], folded: Collection[str]) -> str:
    said = f"nothing was {words} {positive}"
    if "class" in folded and metrics.OTHER in seen:
        return f"{said}, and classes beyond the exporter's cap are counted as one: raise exporter.caps.classes"
    return f"{said}, only {', '.join(sorted(seen))}: is positive spelled so?"


def _of_accuracy(
    model: Model,
    counted: Cells,
    predicted: Mapping[str, float],
    labelled: Mapping[str, float],
    folded: Collection[str],
    many: int,
) -> str:
    """Two of one name are right: of several classes under one name nobody knows, and of one under two names neither."""
    if "class" in folded and metrics.OTHER in predicted and metrics.OTHER in labelled:
        where = "write all of them under classes" if model.classes else "raise exporter.caps.classes"
        return f"classes beyond the exporter's cap are counted as one, and as right: {where}"
    if counted and labelled and not any(cell[PREDICTED] == cell[ACTUAL] and row.any() for cell, row in counted.items()):
        return f"nothing was predicted as it was labelled: {_spelled(predicted, labelled)}"
    unlabelled, unpredicted = (
        {name for name, number in own.items() if number >= many and name not in others}
        for own, others in ((predicted, labelled), (labelled, predicted))
    )
    return _spelled(unlabelled, unpredicted) if unlabelled and unpredicted else ""


def _spelled(predicted: Iterable[str], labelled: Iterable[str]) -> str:
    names = (", ".join(sorted(some)) for some in (predicted, labelled))
    return "{} is only predicted and {} only labelled: are classes spelled alike?".format(*names)


def _totals(cells: Cells, place: int) -> dict[str, float]:
    """Number of each class that was seen at a place of the cells."""
    found: dict[str, float] = {}
    for cell, row in cells.items():
        if cell[place] and row.any():
            found[cell[place]] = found.get(cell[place], 0.0) + float(row.sum())
    return found


def _is_twin(name: str, positive: str) -> bool:
    """Whether a reader would take two names of classes for the same."""
    one, other = (unicodedata.normalize("NFKC", text).strip().casefold() for text in (name, positive))
    return name != positive and one == other
