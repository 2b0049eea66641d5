"""Numbers of so few people that nobody may see them, and the numbers from which they could be derived.

A cell of 1 to 10 is not shown, nor is what gives it away: where one cell of a line of a table is hidden, the line's sum
less the others is that cell, so the smallest of the others is hidden too (CMS cell size suppression policy, as ResDAC
has it: also percentages and complements; a cell of 0 may be shown).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence

from midwatch.spec.fairness import CROSS

LEAST = 11
"""Fewest events that are shown."""


def hidden(events: Mapping[str, int]) -> frozenset[str]:
    """Groups whose number of events is not shown, of all groups of an attribute, or of an intersection of some.

    >>> sorted(hidden({"no": 500, "de": 90, "fr": 4})), sorted(hidden({"no": 500, "de": 90, "fr": 0}))
    (['de', 'fr'], [])
    """
    found = {group for group, number in events.items() if 0 < number < LEAST}
    lines = list(_lines(events))
    while lacking := [shown for line in lines if (shown := _complements(line, found))]:
        found.add(_chosen(lacking))
    return frozenset(found)


def hidden_together(tables: Iterable[tuple[Hashable, Mapping[str, int]]]) -> dict[Hashable, frozenset[str]]:
    """Groups that are hidden in all tables of a key, since they are in one of them.

    Tables of the same people add up: those that are positive and those that are not are all of a group.
    """
    found: dict[Hashable, frozenset[str]] = defaultdict(frozenset)
    for key, events in tables:
        found[key] |= hidden(events)
    return found


def gives_away(fewest: int, groups: Iterable[str], hidden: Container[str]) -> bool:
    """Whether exact rates of some groups, the smallest of `fewest` events, would give away a number of few people."""
    return fewest < LEAST or any(group in hidden for group in groups)


def _complements(line: Mapping[str, int], found: set[str]) -> dict[str, int]:
    """Cells of a line of which one has to be hidden too; none where nothing has to, or nothing can."""
    if sum(group in found for group in line) != 1:
        return {}
    return {group: number for group, number in line.items() if number and group not in found}


def _chosen(lacking: Sequence[Mapping[str, int]]) -> str:
    """The cell to hide next: of the first line the one that most of these lines have, and the smallest of them."""
    first = lacking[0]
    return min(first, key=lambda group: (-sum(group in line for line in lacking), first[group], group))


def _lines(events: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Cells whose sum is known: of an intersection those with all parts but one alike, of one attribute all groups."""
    depth = max((group.count(CROSS) for group in events), default=0)
    for place in range(depth + 1):
        lines: dict[tuple[str, ...], dict[str, int]] = {}
        for group, number in events.items():
            parts = group.split(CROSS)
            lines.setdefault(tuple(parts[:place] + parts[place + 1 :]), {})[group] = number
        yield from lines.values()
