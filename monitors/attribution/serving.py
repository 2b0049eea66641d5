"""Judgements of every version that was explained lately: against its own past, and against the version it replaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from monitors.attribution import judge
from monitors.attribution.fetch import Asked, Version
from monitors.attribution.judge import Judgement, Twins
from monitors.attribution.published import INPUTS, USE

LATELY = 4
"""Windows in which a version was explained that is judged; one that has not been is served no more."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is said of one version in answer to one question; `against` is the version it replaces, of `use`."""

    model: str
    version: str
    question: str
    said: Judgement
    against: str = ""


def judged(asked: Mapping[Version, Asked], twins: Mapping[str, Twins]) -> Iterator[Judged]:
    """Answers to both questions for each version; `twins` are those of each model."""
    for (model, version), own in asked.items():
        if not own.windows.rows[-LATELY:].any():
            continue
        known = twins.get(model, ())
        said = judge.over_time(own, known)
        yield Judged(model=model, version=version, question=INPUTS, said=said)
        before = replaced(asked, (model, version))
        if before is not None:
            said = judge.between(asked[model, before], own, known)
            yield Judged(model=model, version=version, question=USE, said=said, against=before)


def replaced(asked: Mapping[Version, Asked], version: Version) -> str | None:
    """The version that one replaces: of those that were explained earlier, the one that still is, and that was most."""
    model, name = version
    began = _began(asked[version])
    earlier = {
        other: (float(own.windows.rows[-1]), float(own.windows.rows.sum()))
        for (of, other), own in asked.items()
        if of == model and other != name and _began(own) < began
    }
    return max(earlier, key=lambda other: (earlier[other], other), default=None)


def _began(asked: Asked) -> int:
    """Place of the first window with explained predictions; one beyond the last where there is none."""
    explained = np.flatnonzero(asked.windows.rows)
    return int(explained[0]) if len(explained) else len(asked.windows.rows)
