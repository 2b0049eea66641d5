"""A report's figures in words, as the page and the terminal both say them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from midwatch.app.report.month import Month
from midwatch.app.report.records import FAIRNESS_VERDICT, Figures, Harm, Promise, Share, SloReport
from midwatch.html import numbers

MOST_PROMISES = 10
"""Promises with a row of their own: the broken ones, then those that have least left."""
NOT_KNOWN = "not known"


def share(one: Share) -> str:
    """A share with its counts and its interval.

    >>> share(Share(some=3, of=4)), share(Share(some=0, of=0))
    ('3 of 4 (30% to 95%)', 'none to judge')
    """
    interval = one.interval
    if interval is None:
        return "none to judge"
    return f"{one.some:g} of {one.of:g} ({interval[0]:.0%} to {interval[1]:.0%})"


_SHOWN = {True: "shown alike", False: "shown apart", None: "not decided"}


def attained(one: Promise) -> str:
    """What was attained, with the interval where events are so few that it matters."""
    if one.kind == FAIRNESS_VERDICT:
        return _SHOWN[one.shown_kept]
    if one.good.value is None:
        return "nothing was counted"
    said = numbers.number(one.good.value, "ratio")
    interval = one.good.interval
    if one.is_sure or interval is None:
        return said
    low, high = (numbers.number(bound, "ratio") for bound in interval)
    return f"{said} ({low} to {high})"


def promised(one: Promise) -> str:
    """The objective, and how it was changed."""
    return ", then ".join(numbers.number(value, "ratio") for value in one.objectives) or NOT_KNOWN


def verdict(one: Promise) -> str:
    """Kept, broken, or not known; and whether events are few."""
    word = {True: "kept", False: "broken", None: NOT_KNOWN}[one.is_kept]
    return word if one.is_kept is None or one.is_sure else f"{word}, on few events"


def spent(one: Promise) -> str:
    """Budget that was spent."""
    if one.kind == FAIRNESS_VERDICT:
        return "-"
    return NOT_KNOWN if one.spent is None else f"{one.spent:.0%}"


def chosen(promises: Sequence[Promise]) -> list[Promise]:
    """Promises that get a row: those that were broken, then the nearest to it, then those of which nothing is known."""

    def place(one: Promise) -> tuple[bool, float, str]:
        spent = (math.inf if one.is_kept is False else 0.0) if one.spent is None else one.spent
        return one.is_kept is None, -spent, one.key

    return sorted(promises, key=place)[:MOST_PROMISES]


def before(report: SloReport, one: Promise) -> str:
    """The budget that the same promise spent in the month before."""
    found = next((other for other in report.before.promises if other.key == one.key), None)
    return "-" if found is None else spent(found)


def meaning(figures: Figures) -> str:
    """The month in one sentence."""
    count = len(figures.promises)
    if not count:
        return "Nothing is known of any promise."
    parts = [f"{figures.kept} of {count} promises were kept"]
    if figures.broken:
        parts.append(f"{figures.broken} {'was' if figures.broken == 1 else 'were'} broken")
    undecided = sum(one.kind == FAIRNESS_VERDICT and one.is_kept is None for one in figures.promises)
    if figures.unknown > undecided:
        parts.append(f"of {figures.unknown - undecided} nothing was counted")
    if undecided:
        parts.append(f"{undecided} {'is' if undecided == 1 else 'are'} not decided")
    sent = f"{counted(figures.pages, 'page')} and {counted(figures.tickets, 'ticket')} were sent"
    if not figures.knows_alerts:
        sent = "whether pages and tickets were sent is not known"
    return f"{', '.join(parts)}; {sent}."


def counted(number: int, word: str) -> str:
    """A number and its word.

    >>> counted(1, "page"), counted(2, "page")
    ('1 page', '2 pages')
    """
    return f"{number} {word}{'' if number == 1 else 's'}"


def of_alerts(figures: Figures, number: int) -> str:
    """A number of alerts, as far as it is known what fired."""
    return str(number) if figures.knows_alerts else NOT_KNOWN


def todo(figures: Figures) -> str:
    """What the reader should do first."""
    if figures.broken:
        worst = chosen(figures.promises)[0]
        if worst.kind == FAIRNESS_VERDICT:
            return f"look at {worst.key}, which is shown broken: midwatch fairness judge names the groups."
        once = next((one for one in figures.harms if f"{one.subject}/{one.name}" == worst.key), None)
        how = f", {once.spent:.0%} of it at one time" if once else ", little by little"
        return f"look at {worst.key}, which spent {spent(worst)} of its budget{how}."
    if figures.promises and all(one.kind == FAIRNESS_VERDICT for one in figures.promises if one.is_kept is None):
        undecided = next((one.key for one in figures.promises if one.is_kept is None), None)
        if undecided is not None:
            return f"find out what would decide {undecided}: midwatch fairness judge says it."
    if figures.unknown or not figures.promises:
        return "have counted what is promised: a promise that nobody measures is not kept."
    if figures.overdue:
        return f"run the drills that had no result: {', '.join(figures.overdue[:3])}."
    return "nothing; all that is promised was kept."


def harm(one: Harm, month: Month) -> list[str]:
    """A stretch of harm as a row: what, when, how much, during or because of what, who was told."""
    start, end = month.local(one.start), month.local(one.end)
    until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%d %b %H:%M}"
    known = ", ".join(one.during) or one.cause or "not recorded"
    told = ", ".join(one.told) or "nobody"
    if one.paged_after is not None:
        told += f", the first page after {numbers.span(one.paged_after)}"
    return [f"{one.subject}/{one.name}", f"{start:%d %b %H:%M} to {until}", f"{one.spent:.0%}", known, told]


def covered(figures: Figures, zone: ZoneInfo) -> Iterator[str]:
    """What of the month is not known, by the clock of its zone."""
    if figures.covered is not None and figures.covered < 0.9995:
        yield f"Of {1 - figures.covered:.1%} of the month there are no counts."
    long = sorted(figures.gaps, key=lambda one: one.start - one.end)[:3]
    for gap in long:
        began = f"{datetime.fromtimestamp(gap.start, zone):%Y-%m-%d %H:%M %Z}"
        yield f"Next to nothing was counted from {began} for {numbers.span(gap.end - gap.start)}."
    if len(figures.gaps) > len(long):
        yield f"There are {len(figures.gaps) - len(long)} more such gaps."
    thin = [
        one for one in figures.promises if one.good.value is not None and one.covered < 0.9 * (figures.covered or 1)
    ]
    for one in thin[:3]:
        yield f"{one.key} was counted in {one.covered:.0%} of the month."
    yield from figures.missing


def runs(figures: Figures) -> str:
    """Drills and experiments in one line."""
    parts = []
    for kind, good, word in (("recovery", "met", "recovery drill"), ("experiment", "held", "experiment")):
        own = [one for one in figures.runs if one.kind == kind]
        if own:
            well = sum(one.verdict == good for one in own)
            parts.append(f"{counted(len(own), word)}, {well} as promised")
    return "; ".join(parts) or "none was seen"


def restorable(figures: Figures) -> str:
    """How old the newest verified restores are, the oldest first."""
    if not figures.restorable:
        return "not known"
    oldest = sorted(figures.restorable.items(), key=lambda one: -one[1])[:3]
    return ", ".join(f"{store} {numbers.span(age)} old" for store, age in oldest)
