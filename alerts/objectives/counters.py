"""Counts of an objective's counters, each count once: across tile edges, gaps of scraping and resets.

`increase` knows only what changed between two samples of its own range. Summed over five-minute ranges it loses what
came between the last sample of one and the first of the next, and everything that came while nobody scraped. Here the
rules remember where each counter stood when it was last counted (`slo:counter:value`), and count what came since. That
needs no fixed step: a rule group that is late, or evaluated more often, counts the same.

Where Prometheus has them, `increase(… anchored)` (3.8, behind a flag) mends the edges too, but neither gaps nor births.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from alerts import expressions
from midwatch import promql, upstream
from midwatch.promql import Expr
from midwatch.spec.values import format_duration

TILE_SECONDS = 300.0
"""How often counters are counted."""
GAP_SECONDS = 660.0
"""A counter that was not counted for longer comes back from a gap: two tiles, and what a late one may take."""
BRIDGE_SECONDS = 7 * 86400.0
"""The longest gap that is bridged. Each counter has one remembered value per tile, so that this reads 2,016 of them."""

VALUE = "slo:counter:value"
"""Where a counter stood."""
BEFORE_GAP = "slo:counter:value_before_gap"
"""Where a counter stood when it was counted last, of those that come back from a gap."""
BRIDGED = "slo:counter:bridged"
"""What these counted since."""
INCREASE = "slo:counter:increase"
"""What each counter counted since it was counted last, bridged or not."""
COUNTED_AT = "slo:counters:counted_timestamp_seconds"
"""When the counters of an objective were counted last."""

OWN_LABELS = ("slo_objective", "slo_counter")
"""Tell remembered counters of several objectives and names apart; all other labels are the counter's own."""

_IGNORING = f"ignoring ({', '.join(OWN_LABELS)})"

_MATCHERS = r"""\{(?:[^}"']|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')*\}"""
_GROWTH = re.compile(
    rf"\b(?P<function>increase|rate)\(\s*(?P<selector>[a-zA-Z_:][\w:]*\s*(?:{_MATCHERS})?)\s*\[5m\]\s*\)"
)
"""A counter's growth over a tile."""


def interval_seconds(scrape: float) -> float:
    """How often counters are counted: once per tile, and more often where scrapes are so quick that it is a trial.

    A new platform has no budget before they were counted once.
    """
    return min(TILE_SECONDS, max(30.0, 20 * scrape))


@dataclass(frozen=True, kw_only=True)
class Counters:
    """The counters that an objective's expressions over a tile read; `step` is the time between scrapes in seconds."""

    objective: str
    step: float
    selectors: tuple[str, ...]

    @cached_property
    def by_name(self) -> dict[str, list[str]]:
        """Selectors of each counter, without those that find only what another finds."""
        found: dict[str, dict[str, frozenset[tuple[str, str, str]]]] = {}
        for text in self.selectors:
            (selector,) = expressions.selectors(expressions.parse(text))
            matchers = frozenset(one for one in selector.matchers if one[0] != "__name__")
            found.setdefault(selector.metric, {})[text] = matchers
        return {
            name: [text for text, matchers in texts.items() if not any(other < matchers for other in texts.values())]
            for name, texts in found.items()
        }

    def remembered(self, record: str, selector: str) -> Expr:
        """A record of the counters that a selector finds."""
        name, _, matchers = selector.partition("{")
        own = [promql.matcher(label, value) for label, value in self.labels(name.strip()).items()]
        inside = matchers.rstrip().removesuffix("}").strip().rstrip(",")
        return promql.narrowed(record, *own, *([inside] if inside else []))

    def labels(self, name: str) -> dict[str, str]:
        """Labels of what is remembered of a counter."""
        return dict(zip(OWN_LABELS, (self.objective, name), strict=True))

    def counted(self, expr: Expr, record: str = INCREASE) -> Expr:
        """An expression over a tile, in which records stand for its counters' growth; a rate is that per second."""

        def read(growth: re.Match[str]) -> str:
            # Of this evaluation: a counter that is gone left its last increase behind.
            now = f"last_over_time({self.remembered(record, growth['selector'])}[1s])"
            summed = f"sum without ({', '.join(OWN_LABELS)}) ({now})"
            return summed if growth["function"] == "increase" else f"({summed} / {TILE_SECONDS:g})"

        return Expr(_GROWTH.sub(read, str(expr)), expr.precedence)


def counters_of(objective: str, step: float, texts: Mapping[str, str]) -> Counters | None:
    """The counters behind expressions over a tile, or None where one reads anything but growth of plain counters."""
    selectors: dict[str, None] = {}
    for text in texts.values():
        grown = [growth["selector"] for growth in _GROWTH.finditer(text)]
        if not grown or len(grown) != len(list(expressions.selectors(expressions.parse(text)))):
            return None
        selectors |= dict.fromkeys(grown)
    return Counters(objective=objective, step=step, selectors=tuple(selectors))


# Rules ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Remembering:
    """A rule that remembers something of each counter."""

    record: str
    expr: Expr
    labels: Mapping[str, str]


def rules(counters: Counters, counted_at: Expr) -> Iterator[Remembering]:
    """What is remembered of each counter, in order; `counted_at` selects the time at which all of them were counted."""
    for name, selectors in counters.by_name.items():
        value = counters.remembered(VALUE, name)
        before_gap, bridged = (
            promql.last_over_time(counters.remembered(one, name), 1) for one in (BEFORE_GAP, BRIDGED)
        )
        made = {
            VALUE: _standing(selectors, counters.step),
            BEFORE_GAP: _before(value, BRIDGE_SECONDS).and_(Expr(f"({value} unless {_before(value, GAP_SECONDS)})")),
            BRIDGED: Expr(f"({value} - {before_gap}) >= 0 or ({value} and {before_gap})", 5),
            INCREASE: Expr(
                f"{_seen(value, selectors, counters.step, counted_at)} or {bridged} or "
                f"{_born(value, before_gap, selectors, counters.step, counted_at)}",
                5,
            ),
        }
        for record, expr in made.items():
            yield Remembering(record=record, expr=expr, labels=counters.labels(name))


def _standing(selectors: list[str], step: float) -> Expr:
    """Where each counter stands at the last whole step, or stood when it ended within the tile.

    At whole steps, so that a fall of the counter is either before or after it.
    """
    return _any(selectors, lambda one: f"last_over_time({one}[{_text(TILE_SECONDS)}:{_text(step)}])")


def _before(value: Expr, window: float) -> Expr:
    """Where each counter stood at an earlier evaluation."""
    return Expr(f"last_over_time({value}[{_text(window)}] offset 1s)")


def _seen(value: Expr, selectors: list[str], step: float, counted_at: Expr) -> str:
    """Growth since the last evaluation, with what came before each fall of the counter.

    A counter that is lower though nobody saw it fall began again: it counts from 0.
    """
    before = _before(value, GAP_SECONDS)
    fallen = f"{value} + {_IGNORING} group_left () {_falls(selectors, step, counted_at)}"
    return f"(({fallen} or {value}) - {before}) >= 0 or ({value} and {before})"


def _falls(selectors: list[str], step: float, counted_at: Expr) -> str:
    """Sum of what a counter had before each fall, at the whole steps since the last evaluation."""
    since = f"(vector(time()) > on () last_over_time({counted_at}[{_text(GAP_SECONDS)}] @ end()))"
    fell = _any(selectors, lambda one: f"({promql.before(Expr(one), step)} > {one})")
    return f"sum_over_time((({fell}) and on () {since})[{_text(GAP_SECONDS)}:{_text(step)}])"


def _born(value: Expr, before_gap: Expr, selectors: list[str], step: float, counted_at: Expr) -> str:
    """Counts of counters that were never seen.

    Where its target had others of the name and lost none, or its process is new, a counter is born with its first
    count and all of it is new. Otherwise nobody knows: the target was found later than it began, or its labels were
    changed. What such a counter stands at may be of old, and only its growth between scrapes is counted.
    """
    before = _before(value, GAP_SECONDS)
    new = f"({value} unless {before} unless {before_gap})"
    lost = f"({before} unless {_IGNORING} ({_any(selectors, str)}))"
    since = f"last_over_time({counted_at}[{_text(GAP_SECONDS)}]) - {TILE_SECONDS:g}"
    begun = f"({promql.select(upstream.PROCESS_STARTED)} > on () group_left () ({since}))"
    born = (
        f"({new} and on (job, instance) {before} unless on (job, instance) {lost}) "
        f"or ({new} and on (job, instance) {begun})"
    )

    def growth(selector: str) -> str:
        grown = f"clamp_min({selector} - {promql.before(Expr(selector), step)}, 0)"
        return f"sum_over_time({grown}[{_text(TILE_SECONDS)}:{_text(step)}])"

    return f"{born} or ({new} * 0 + {_IGNORING} group_left () ({_any(selectors, growth)}))"


def _any(selectors: list[str], make: Callable[[str], str]) -> Expr:
    parts = [make(one) for one in selectors]
    return Expr(" or ".join(parts), 5 if len(parts) > 1 else 0)


def _text(seconds: float) -> str:
    return format_duration(seconds)
