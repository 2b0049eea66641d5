"""Routes of alerts under maintenance, below a route that has taken them by owner and severity.

Alertmanager mutes an alert by the intervals of the one route that takes it, the first that matches. So where one alert
may be under several maintenances, a route stands first that has the labels of all of them, and their intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from midwatch.errors import InvalidInputError
from midwatch.spec.routing import Maintenance

MOST_ROUTES = 1000
"""Routes below one owner and severity: every further label of a maintenance may double them."""

Labels = frozenset[tuple[str, str]]


def by_labels(maintenance: Sequence[Maintenance], taken: Mapping[str, str]) -> Iterator[tuple[Labels, list[str]]]:
    """Labels of each route that is needed beside those that are `taken`, and the intervals that mute it, in order.

    Without further labels it is the taking route itself that is muted. Maintenance of other alerts is left out.
    """
    further = [(one.interval or one.name, _further(one, taken)) for one in maintenance]
    there = [(interval, labels) for interval, labels in further if labels is not None]
    for labels in sorted(_combined([labels for _, labels in there]), key=lambda one: (-len(one), sorted(one))):
        yield labels, sorted({interval for interval, needed in there if needed <= labels})


def _further(maintenance: Maintenance, taken: Mapping[str, str]) -> Labels | None:
    """Labels of a maintenance that no route has looked at yet; None when it is of other alerts."""
    labels, known = frozenset(maintenance.labels.items()), frozenset(taken.items())
    return labels - known if _is_possible(labels | known) else None


def _combined(needed: Sequence[Labels]) -> set[Labels]:
    """Every set of labels, and every union of them that one alert can have; InvalidInputError for too many."""
    found: set[Labels] = set()
    for labels in needed:
        found |= {labels} | {one | labels for one in found if _is_possible(one | labels)}
        if len(found) > MOST_ROUTES:
            remedy = "give those that are at the same time the same labels, or write fewer"
            raise InvalidInputError.at("maintenance", f"over {MOST_ROUTES} routes for what overlaps", remedy=remedy)
    return found


def _is_possible(labels: Labels) -> bool:
    """Whether no label has two values."""
    return len({name for name, _ in labels}) == len(labels)
