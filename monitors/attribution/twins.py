"""Features that stand for each other: when one takes over from the other, the model answers as before.

Twins are those that the platform file lists, and those whose attributions rise and fall together from window to window:
their sum stays when one takes over, if both push the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from monitors.attribution.others import Floats

ALIKE = 0.9
"""Correlation, over windows, of both the mean and the amount of attribution, from which two features are twins. Of two
that have nothing to do with each other so much is found in fewer than one of 10 million pairs in 20 windows."""


def parts(names: Sequence[str], signed: Floats, amount: Floats, listed: Sequence[Sequence[str]]) -> list[list[int]]:
    """Places of features by part: twins together, every other feature alone; in the order of their first member.

    `signed` and `amount` are means by window and feature, shape (windows, features).

    >>> alike = np.array([[1.0, 2.1, 1.0], [2.0, 3.9, 5.0], [4.0, 8.0, 2.0]])
    >>> parts(["a", "b", "c"], alike, alike, [])
    [[0, 1], [2]]
    """
    leader = list(range(len(names)))

    def first(place: int) -> int:
        while leader[place] != place:
            place = leader[place]
        return place

    for one, other in (*_listed(names, listed), *_alike(signed, amount)):
        low, high = sorted((first(one), first(other)))
        leader[high] = low
    found: dict[int, list[int]] = {}
    for place in range(len(names)):
        found.setdefault(first(place), []).append(place)
    return list(found.values())


def _listed(names: Sequence[str], listed: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    places = {name: place for place, name in enumerate(names)}
    for together in listed:
        known = [places[name] for name in together if name in places]
        yield from pairwise(known)


def _alike(signed: Floats, amount: Floats) -> Iterator[tuple[int, int]]:
    both = np.minimum(_correlations(signed), _correlations(amount))
    for one, other in np.argwhere(np.triu(both >= ALIKE, k=1)):
        yield int(one), int(other)


def _correlations(values: Floats) -> Floats:
    """Correlation of columns; 0 with a column that does not vary."""
    middle = values - values.mean(axis=0)
    size = np.sqrt((middle**2).sum(axis=0))
    known = size > 0
    scaled = np.where(known, middle / np.where(known, size, 1.0), 0.0)
    found: Floats = scaled.T @ scaled
    return found
