"""The rules that checks look at, and what is known around them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from alerts import expressions
from alerts.expressions import Selector
from alerts.inventory import Entry
from alerts.lint import unrecorded
from alerts.routing.configuration import Config
from midwatch import catalogue, system_facts
from midwatch.spec.base import Finding, Place
from midwatch.spec.document import Document

RATES = frozenset({"rate", "irate", "increase"})
_PARTS = ("_bucket", *(f"_{unit}_{part}" for unit in ("seconds", "bytes", "milliseconds") for part in ("count", "sum")))
"""Ends of the names of a histogram's or summary's parts, which are counters."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Rules to look at. `live` are the metrics that a Prometheus has, if one was asked; `document` says where.

    `bounds` are the buckets of histograms that the platform file sets, by metric, and `versions` those of systems.
    `exported` are metrics and labels that the Prometheus keeps as `exported_…`. Of rules of others (`is_foreign`)
    nothing else is known. `test_series` are those of promtool's tests and of proofs.
    """

    document: Document
    alerts: Sequence[Entry]
    groups: Sequence[Mapping[str, Any]]
    config: Config | None = None
    live: Collection[str] | None = None
    scrape_interval: float = 15.0
    bounds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    versions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    exported: Collection[tuple[str, str]] | None = None
    is_foreign: bool = False
    test_series: Sequence[tuple[Place, str]] = ()

    @cached_property
    def records(self) -> dict[str, Mapping[str, Any]]:
        """Recording rules by name, the first of each."""
        by_name: dict[str, Mapping[str, Any]] = {}
        for group in self.groups:
            for rule in group["rules"]:
                if "record" in rule:
                    by_name.setdefault(rule["record"], rule)
        return by_name

    @cached_property
    def written(self) -> list[tuple[Entry, Any]]:
        """Alerts that somebody wrote, with their syntax trees: expressions of objectives are generated.

        What cannot be parsed is left out: promtool has the last word on it, and says it better.
        """
        own = (entry for entry in self.alerts if entry.objective is None)
        trees = ((entry, expressions.parse_or_none(str(entry.rule["expr"]))) for entry in own)
        return [(entry, tree) for entry, tree in trees if tree is not None]

    @cached_property
    def read(self) -> list[tuple[Entry, list[Selector]]]:
        """Selectors of every alert that somebody wrote."""
        return [(entry, list(expressions.selectors(tree))) for entry, tree in self.written]

    @cached_property
    def unrecorded(self) -> list[tuple[Entry, Any]]:
        """What is written, with the expressions of the rules' own records in the place of their names."""
        records = {name: str(rule["expr"]) for name, rule in self.records.items()}
        texts = {id(entry): unrecorded.put_in(str(entry.rule["expr"]), records) for entry, _ in self.written}
        return [(entry, expressions.parse_or_none(texts[id(entry)]) or tree) for entry, tree in self.written]

    @cached_property
    def judged_here(self) -> list[tuple[Entry, Any]]:
        """What is written, but for rules of shipped systems: those are judged in the system's folder."""
        return [(entry, tree) for entry, tree in self.unrecorded if entry.place[:1] != ("systems",)]

    @cached_property
    def missed(self) -> set[str]:
        """Metrics whose absence is an alert."""
        return {
            selector.metric
            for _, tree in self.written
            for selector, around in expressions.placed(tree)
            if expressions.calls(around, "absent", "absent_over_time")
        }

    def bounds_of(self, name: str) -> Sequence[float]:
        """Buckets of a histogram's series, of all versions of its program, where they are known."""
        if not name.endswith("_bucket"):
            return ()
        own = self.bounds.get(name.removesuffix("_bucket"))
        if own:
            return own
        fact, exposed = system_facts.find(name), catalogue.find(name)
        return sorted(fact.bounds) if fact else exposed.metric.buckets if exposed else ()

    @cached_property
    def _rated(self) -> frozenset[str]:
        return frozenset(
            selector.metric for _, selectors in self.read for selector in selectors if RATES & set(selector.around)
        )

    def is_counter(self, name: str) -> bool:
        """Whether a metric is known to be a counter: by the catalogue, by its form, or since another rule reads it so.

        A name that ends in `_total` may be a gauge's.
        """
        exposed = catalogue.find(name)
        if exposed is not None:
            return exposed.is_counter
        return name.endswith(_PARTS) or name in self._rated


RuleCheck = Callable[[Rules], Iterator[Finding]]


def about(entry: Entry) -> str:
    """Begin of a message."""
    return f"{entry.name}: "
