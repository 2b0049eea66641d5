"""What a window of attributions says of one version, and of a new one beside the one it replaces.

A version's model does not change: when its attributions do, its inputs have moved. When those of a new version differ
from the old one's over the same time, and the old one's are as they were, the new model uses its features otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitors.attribution import change
from monitors.attribution.change import LEAST_WINDOWS, Change, Verdict, Windows
from monitors.attribution.fetch import Asked
from monitors.attribution.others import Floats

LEAST_EXPLAINED = 50
"""Explained predictions of a window whose means are compared."""
LEAST_SHARE = 0.25
"""Of an earlier window's predictions that a window needs to be called stable: a thinner one would hide what changed."""
NEWEST = 2
"""Windows that both have to differ from those before them, until a change is called lasting; asked for beside these."""

Twins = Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict, why, and what differs. `lasts`: both of the last two windows differ from those before them."""

    verdict: Verdict
    reason: str
    change: Change | None
    lasts: bool = False


def over_time(asked: Asked, twins: Twins = ()) -> Judgement:
    """A version's last window against its earlier ones."""
    return _lasting(asked.names, asked.windows, asked.windows, twins, "its inputs moved")


def between(old: Asked, new: Asked, twins: Twins = ()) -> Judgement:
    """A new version's last window against the earlier ones of the version it replaces."""
    inputs = over_time(old, twins)
    if inputs.verdict is Verdict.CHANGED:
        said = "the old version's attributions moved as well: inputs moved, and the versions cannot be compared"
        return Judgement(verdict=Verdict.UNKNOWN, reason=said, change=inputs.change)
    if inputs.verdict is Verdict.UNKNOWN:
        said = f"whether inputs moved is not known; of the old version, {inputs.reason}"
        return Judgement(verdict=Verdict.UNKNOWN, reason=said, change=inputs.change)
    names = tuple(sorted({*old.names, *new.names}))
    return _lasting(names, _named(old, names), _named(new, names), twins, "it uses its features otherwise")


def _lasting(names: Sequence[str], before: Windows, now: Windows, twins: Twins, meaning: str) -> Judgement:
    """The last window against the earlier ones, and whether the last two differ from as many before both.

    A change that lasts stands among the earlier windows by its second one, which few of them would not call changed.
    """
    said = _judged(names, before.part(slice(1, -1)), now.part(slice(-1, None)), twins, meaning)
    earlier = before.part(slice(None, -NEWEST))
    newest = (now.part(slice(place, place + 1 or None)) for place in range(-NEWEST, 0))
    both = [_judged(names, earlier, one, twins, meaning) for one in newest]
    if any(one.verdict is not Verdict.CHANGED for one in both):
        return said
    return replace(said if said.verdict is Verdict.CHANGED else both[-1], lasts=True)


def _judged(names: Sequence[str], before: Windows, current: Windows, twins: Twins, meaning: str) -> Judgement:
    explained = float(current.rows[0])
    if explained < LEAST_EXPLAINED:
        reason = f"{explained:.0f} explained predictions in the last window; {LEAST_EXPLAINED} are needed"
        return Judgement(verdict=Verdict.UNKNOWN, reason=reason, change=None)
    reference = before.part(np.flatnonzero(before.rows >= LEAST_EXPLAINED))
    found = change.compare(names, reference, current, listed=twins)
    thin = LEAST_SHARE * float(np.median(reference.rows)) if len(reference.rows) else 0.0
    if found.verdict is Verdict.STABLE and explained < thin:
        reason = f"{explained:.0f} explained predictions in the last window; {thin:.0f} are needed to call it stable"
        return Judgement(verdict=Verdict.UNKNOWN, reason=reason, change=replace(found, verdict=Verdict.UNKNOWN))
    return Judgement(verdict=found.verdict, reason=_reason(found, meaning), change=found)


def _reason(found: Change, meaning: str) -> str:
    if found.verdict is Verdict.UNKNOWN:
        return f"{found.windows} earlier windows have enough explained predictions; {LEAST_WINDOWS} are needed"
    if found.verdict is Verdict.CHANGED:
        moved = ", ".join(one.name for one in found.features) or "no single feature"
        return f"{meaning}: {moved} (p = {found.p:.3f})"
    exchanged = f"; {', '.join(found.exchanged)} changed only places with a twin" if found.exchanged else ""
    return f"as in {found.windows} earlier windows (p = {found.p:.2f}){exchanged}"


def _named(asked: Asked, names: Sequence[str]) -> Windows:
    """Means under a longer list of names; a feature that is not there has none."""
    places = {name: place for place, name in enumerate(asked.names)}
    columns = [places.get(name, -1) for name in names]

    def filled(values: Floats) -> Floats:
        padded = np.concatenate([values, np.zeros((len(values), 1, *values.shape[2:]))], axis=1)
        return padded[:, columns]

    own = asked.windows
    counts = None if own.places is None else filled(own.places)
    return Windows(signed=filled(own.signed), amount=filled(own.amount), rows=own.rows, places=counts)
