"""What a window of attributions says of one version, and of a new one beside the one it replaces.

A version's model does not change: when its attributions do, its inputs have moved. When those of a new version differ
from the old one's over the same time, and the old one's are as they were, the new model uses its features otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitors.attribution import change
from monitors.attribution.change import LEAST_WINDOWS, Change, Floats, Verdict, Windows
from monitors.attribution.fetch import Asked

LEAST_EXPLAINED = 50
"""Explained predictions of a window whose means are compared."""
LEAST_SHARE = 0.25
"""Of an earlier window's predictions that a window needs to be called stable: a thinner one would hide what changed."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict, why, and what differs."""

    verdict: Verdict
    reason: str
    change: Change | None


def over_time(asked: Asked) -> Judgement:
    """A version's last window against its earlier ones."""
    return _judged(asked.names, asked, _part(asked.windows, slice(-1, None)), "its inputs moved")


def between(old: Asked, new: Asked) -> Judgement:
    """A new version's last window against the earlier ones of the version it replaces."""
    inputs = over_time(old)
    if inputs.verdict is Verdict.CHANGED:
        said = "the old version's attributions moved as well: inputs moved, and the versions cannot be compared"
        return Judgement(verdict=Verdict.UNKNOWN, reason=said, change=inputs.change)
    if inputs.verdict is Verdict.UNKNOWN:
        said = f"whether inputs moved is not known, since of the old version there are {inputs.reason}"
        return Judgement(verdict=Verdict.UNKNOWN, reason=said, change=inputs.change)
    names = tuple(sorted({*old.names, *new.names}))
    before, now = _named(old, names), _named(new, names)
    known = Asked(names=names, windows=before, queries=())
    return _judged(names, known, _part(now, slice(-1, None)), "it uses its features otherwise")


def _judged(names: Sequence[str], asked: Asked, current: Windows, meaning: str) -> Judgement:
    explained = float(current.rows[0])
    if explained < LEAST_EXPLAINED:
        reason = f"{explained:.0f} explained predictions in the last window; {LEAST_EXPLAINED} are needed"
        return Judgement(verdict=Verdict.UNKNOWN, reason=reason, change=None)
    enough = np.flatnonzero(asked.windows.rows[:-1] >= LEAST_EXPLAINED)
    reference = _part(asked.windows, enough)
    found = change.compare(names, reference, current)
    thin = LEAST_SHARE * float(np.median(reference.rows)) if len(enough) else 0.0
    if found.verdict is Verdict.STABLE and explained < thin:
        reason = f"{explained:.0f} explained predictions in the last window; {thin:.0f} are needed to call it stable"
        return Judgement(verdict=Verdict.UNKNOWN, reason=reason, change=found)
    if found.verdict is Verdict.UNKNOWN:
        reason = f"{found.windows} earlier windows have enough explained predictions; {LEAST_WINDOWS} are needed"
    elif found.verdict is Verdict.CHANGED:
        moved = ", ".join(one.name for one in found.features) or "no single feature"
        reason = f"{meaning}: {moved} (p = {found.p:.3f})"
    else:
        reason = f"as in {found.windows} earlier windows (p = {found.p:.2f})"
    return Judgement(verdict=found.verdict, reason=reason, change=found)


def _part(windows: Windows, places: slice | np.ndarray) -> Windows:
    return Windows(signed=windows.signed[places], amount=windows.amount[places], rows=windows.rows[places])


def _named(asked: Asked, names: Sequence[str]) -> Windows:
    """Means under a longer list of names; a feature that is not there has none."""
    places = {name: place for place, name in enumerate(asked.names)}
    columns = [places.get(name, -1) for name in names]

    def filled(values: Floats) -> Floats:
        padded = np.concatenate([values, np.zeros((len(values), 1))], axis=1)
        return padded[:, columns]

    own = asked.windows
    return Windows(signed=filled(own.signed), amount=filled(own.amount), rows=own.rows)
