"""Names of a snapshot's counts as they are published today: earlier releases took some texts for classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from exporters.events.outcomes import sums
from exporters.events.series import Series


def fold(
    series: Series, published_class: Callable[[str, str], str], published_group: Callable[[str, str], str]
) -> None:
    """Rename classes and groups to what they are published as: by model and class, by attribute and group."""

    def by_class(counts: dict[str, Any]) -> dict[str, Any]:
        return _renamed(counts, lambda name: published_class(series.model, name))

    def outcomes(counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        return by_class({predicted: by_class(actuals) for predicted, actuals in counts.items()})

    series.predicted = by_class(series.predicted)
    series.outcomes = outcomes(series.outcomes)
    for attribute, groups in series.groups.items():
        named = {group: outcomes(counts) for group, counts in groups.items()}
        series.groups[attribute] = _renamed(named, partial(published_group, attribute))
    for attribute, classes in series.grouped.items():
        named = {group: by_class(counts) for group, counts in classes.items()}
        series.grouped[attribute] = _renamed(named, partial(published_group, attribute))
    by_group: tuple[dict[str, dict[str, Any]], ...] = (
        series.exposed,
        series.group_explained,
        series.group_attributions,
    )
    for kept in by_group:
        for attribute, counts in kept.items():
            kept[attribute] = _renamed(counts, partial(published_group, attribute))


def _renamed(counts: dict[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    """Counts under other names; those that get the same name are added up."""
    renamed: dict[str, Any] = {}
    for old, count in counts.items():
        name = rename(old)
        renamed[name] = sums(renamed[name], count) if name in renamed else count
    return renamed
