"""A model bound to its background and one output: explains a row, exactly where it can, by permutations otherwise."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from midwatch.errors import MidwatchError
from monitors.explainer import background, permutations
from monitors.explainer.background import RowError, Sample
from monitors.explainer.explanation import EXACT_TOLERANCE, Explanation, Floats, Rows, Stopped
from monitors.explainer.model import Loaded, Model, ModelError, RefusedError, TreeModel

START_SECONDS = 60.0
"""Time for the answers to the background: a server that has just begun may be slow."""
CHECKED_ROWS = 20
"""Rows of the background whose exact contributions have to add up before they are believed."""
MOST_SAMPLED = 1000
"""Features of a model that is sampled: a pair of permutations asks for twice as many rows."""
WHOLE = (
    "all answers to the background are whole numbers (%s): if they are classes, what adds up to their numbers means "
    "nothing; name what answers with probabilities"
)
SAMPLED = "paired permutations (sampled, interventional)"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Times:
    """A row's time, as times of `clock` in seconds: sampling ends at `until`, and a model that is asked has answered at
    `deadline`. A server that is slower than the sampling may take is asked once, and explained by that."""

    until: float
    deadline: float
    clock: Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """Explains rows of one version of a model.

    `precision` is the greatest standard error by the span of the attributions. `output` is the place of the answer that
    is explained, and `output_name` what it is called, if anything. `exact_seconds` is the time that an exact one
    took at the start, and 0 of sampled ones: these end when they have to.
    """

    model_name: str
    version: str
    model: Model
    trees: TreeModel | None
    sample: Sample
    answers: permutations.Background
    output: int
    output_name: str
    precision: float
    exact_seconds: float = 0.0

    @property
    def method(self) -> str:
        """Who computes the attributions, and which sort they are."""
        return self.trees.method if self.trees else SAMPLED

    def key(self, row: Rows) -> bytes:
        """Key of a row among explanations: other rows, versions and backgrounds have others."""
        told = "\0".join((self.model_name, self.version, self.sample.identity, str(self.output)))
        return hashlib.blake2b(told.encode() + b"\0" + background.row_bytes(row), digest_size=16).digest()

    def explain(self, row: Rows, times: Times) -> Explanation:
        """Explain the answer to a row; ModelError when there is none. The same row draws the same samples.

        RowError where the model refuses this row and goes on answering others.
        """
        if self.trees:
            return _exact(self.trees, row, self.output)

        def ask(rows: Rows) -> Floats:
            return _chosen(self.model.predict(rows, times.deadline - times.clock()), self.output)

        limits = permutations.Limits(precision=self.precision, until=times.until, clock=times.clock)
        try:
            return permutations.explain(ask, row, self.answers, limits, int.from_bytes(self.key(row)[:8]))
        except RefusedError as error:
            self._ensure_others_are_refused(row, times)
            raise ModelError(f"{error}: it takes the row, and refuses mixtures of it and the background") from error

    def _ensure_others_are_refused(self, row: Rows, times: Times) -> None:
        """Find out what a model refused that was asked for a row and mixtures of it with the background.

        RowError where it is the row, and ModelError where the model refuses by now what it answered at the start.
        """
        try:
            self.model.predict(row[np.newaxis], times.deadline - times.clock())
        except RefusedError as error:
            try:
                self.model.predict(self.sample.rows[:1], times.deadline - times.clock())
            except RefusedError as other:
                raise ModelError(f"{other}: it refuses by now what it answered at the start") from other
            raise RowError(f"is refused by the model: {error.words}") from error


def build(
    loaded: Loaded, sample: Sample, *, model: str, version: str, output: str | None, precision: float
) -> Explainer:
    """Ask the model for the background, and look whether its trees add up; ModelError when it does not answer."""
    found = _answers(loaded.model, sample.rows)
    place, name = chosen_output(output, found.shape[1], loaded.outputs)
    if loaded.trees is None and (np.floor(found[:, place]) == found[:, place]).all():
        _log.warning(WHOLE, ", ".join(f"{answer:g}" for answer in np.unique(found[:, place])[:3]))
    answers = permutations.Background(rows=sample.rows, answers=found[:, place])
    begun = time.monotonic()
    trees = _believed(loaded.trees, sample.rows, place)
    seconds = (time.monotonic() - begun) / min(CHECKED_ROWS, len(sample.rows)) if trees else 0.0
    if trees is None and len(sample.columns) > MOST_SAMPLED:
        said = f"{len(sample.columns)} features are too many to be sampled; at most {MOST_SAMPLED} are"
        raise ModelError(f"{said}: explain trees in their library's own format")
    return Explainer(
        model_name=model,
        version=version,
        model=loaded.model,
        trees=trees,
        sample=sample,
        answers=answers,
        output=place,
        output_name=name,
        precision=precision,
        exact_seconds=seconds,
    )


def _believed(trees: TreeModel | None, rows: Rows, output: int) -> TreeModel | None:
    """Trees whose contributions add up to the model's answers; None for others, which are sampled."""
    if trees is None or (off := _greatest_error(trees, rows[:CHECKED_ROWS], output)) <= EXACT_TOLERANCE:
        return trees
    _log.warning("%s does not add up to the model's answers (off by %.2g): they are sampled", trees.method, off)
    return None


def _answers(model: Model, rows: Rows) -> Floats:
    try:
        return model.predict(rows, START_SECONDS)
    except MidwatchError:
        raise
    except Exception as error:  # of a library that is given columns which it does not take
        said = " ".join(str(error).split())[:200]
        raise ModelError(f"the model does not answer the background: {type(error).__name__}: {said}") from error


def chosen_output(wanted: str | None, count: int, names: Sequence[str]) -> tuple[int, str]:
    """Place and name of the output that is explained: the one there is, the second of two, else the one wanted.

    ModelError where that is none.
    """
    if count == 1:
        own = names[-1] if names else ""  # of two classes it is the second one's
        if wanted in (None, own or "0"):
            return 0, own
        raise ModelError(f"the model has one output{own and f', that of {own}'}: leave --output out")
    known = list(names) if len(names) == count else [str(place) for place in range(count)]
    if wanted is None and count == 2:
        return 1, known[1]
    if wanted in known:
        return known.index(wanted), wanted
    raise ModelError(f"the model has {count} outputs: give --output {', '.join(known[:20])}")


def _exact(trees: TreeModel, row: Rows, output: int) -> Explanation:
    rows = row[np.newaxis]
    found = trees.contributions(rows)
    return Explanation(
        attributions=found.attributions[0, :, output],
        base=float(found.base[0, output]),
        prediction=float(trees.predict(rows, START_SECONDS)[0, output]),
        stopped=Stopped.EXACT,
        rows_asked=1,
    )


def _greatest_error(trees: TreeModel, rows: Rows, output: int) -> float:
    """The greatest additivity error over rows; infinite where the contributions cannot be had."""
    try:
        errors = [_exact(trees, row, output).additivity_error for row in rows]
    except Exception as error:  # of a library that reads what it does not understand
        _log.debug("contributions cannot be computed", exc_info=error)
        return float("inf")
    return max(errors) if np.isfinite(errors).all() else float("inf")


def _chosen(answers: Floats, output: int) -> Floats:
    if answers.shape[1] <= output:
        raise ModelError(f"the model answers with {answers.shape[1]} outputs, and had more at the start")
    return answers[:, output]
