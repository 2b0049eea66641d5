"""What alerts were worth in a month: precision and recall against harm that was measured without them, noise, advice.

Precision is the share of firings during which an objective of the same subject was harmed (of the alert's own objective
where it names one); recall the share of harmful stretches during which the subject's alerts fired. What fired because
of an experiment or a drill is left out of precision and told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from midwatch.app.report.counted import Key
from midwatch.app.report.month import HOUR, Month
from midwatch.app.report.records import AlertQuality, Figures, Firing, Harm, OwnerMonth, Promise, Run, Share

FLAP_SECONDS = 300.0
"""A firing that ends sooner flapped (twice the shortest time in which anybody can act)."""
DAY = 86_400.0
PAGES_A_SHIFT = 2
"""More than two pages in a shift of twelve hours leave no time for the work after each (SRE Book, chapter 11)."""
FEW = 3
HALF = 0.5
Harmful = Mapping[Key, NDArray[np.bool_]]


def judged(firings: Sequence[Firing], harmful: Harmful, ends: NDArray[np.float64]) -> list[Firing]:
    """Firings with whether an objective of their subject was harmed meanwhile; None where none is promised of it."""
    return [replace(one, harmed=_harmed(one, harmful, ends)) for one in firings]


def _harmed(one: Firing, harmful: Harmful, ends: NDArray[np.float64]) -> bool | None:
    own = [hours for (subject, name), hours in harmful.items() if subject == one.subject and one.slo in ("", name)]
    if not own:
        return None
    # The hour in which it began, the one before, whose events it may be about, and all until it ended.
    during = (ends >= one.start - HOUR) & (ends - HOUR <= one.end)
    return bool(np.any(np.logical_or.reduce(own) & during))


def during(start: float, end: float, runs: Sequence[Run]) -> tuple[str, ...]:
    """Experiments and drills that ended in a stretch, or within the hour after it began."""
    return tuple(f"{one.kind} {one.name}" for one in runs if start <= one.at <= end + HOUR)


def told(harms: Sequence[Harm], firings: Sequence[Firing]) -> list[Harm]:
    """Harmful stretches with the alerts that fired during them, and how long until the first page."""
    made = []
    for harm in harms:
        own = [
            one
            for one in firings
            if one.subject == harm.subject
            and one.slo in ("", harm.name)
            and not one.held_by
            and one.start <= harm.end
            and one.end >= harm.start
        ]
        pages = [max(0.0, one.start - harm.start) for one in own if one.severity == "page"]
        names = tuple(sorted({f"{one.alert} {one.severity}".strip() for one in own}))
        made.append(replace(harm, told=names, paged_after=min(pages, default=None)))
    return made


def recall(harms: Sequence[Harm]) -> tuple[Share, Share]:
    """Harmful stretches that somebody was told of at all, and that paged."""
    real = [one for one in harms if not one.during]
    by_page = sum(one.paged_after is not None for one in real)
    return Share(some=sum(bool(one.told) for one in real), of=len(real)), Share(some=by_page, of=len(real))


def precision(firings: Sequence[Firing]) -> Share:
    """Of the firings that can be judged, those with harm."""
    known = [one.harmed for one in firings if one.harmed is not None and one.is_counted and not one.during]
    return Share(some=sum(map(bool, known)), of=len(known))


def of_alerts(firings: Sequence[Firing], month: Month) -> list[AlertQuality]:
    """Each alert's worth, the noisiest first."""
    groups: dict[tuple[str, str, str], list[Firing]] = {}
    for one in firings:
        groups.setdefault((one.alert, one.owner, one.severity), []).append(one)
    made = [_of_alert(key, those, month) for key, those in groups.items()]
    return sorted(made, key=lambda one: (-one.fired, one.alert, one.owner, one.severity))


def _of_alert(key: tuple[str, str, str], firings: Sequence[Firing], month: Month) -> AlertQuality:
    counted = [one for one in firings if one.is_counted]
    return AlertQuality(
        alert=key[0],
        owner=key[1],
        severity=key[2],
        fired=len(counted),
        held=sum(bool(one.held_by) for one in firings),
        flapped=sum(one.end - one.start < FLAP_SECONDS and not one.is_open for one in counted),
        repeated=_repeated(counted),
        at_night=sum(month.is_night(one.start) for one in counted),
        on_purpose=sum(bool(one.during) for one in counted),
        precision=precision(firings),
        acted=acted(counted),
    )


def _repeated(firings: Sequence[Firing]) -> int:
    ended: dict[tuple[str, str, str], float] = {}
    count = 0
    for one in sorted(firings, key=lambda one: one.start):
        key = one.subject, one.slo, one.version
        count += key in ended and one.start - ended[key] < DAY
        ended[key] = one.end
    return count


def acted(firings: Sequence[Firing]) -> Share:
    """Firings that somebody is known to have acted on, of those where it would be known."""
    known = [one.acted for one in firings if one.acted is not None]
    return Share(some=sum(map(bool, known)), of=len(known))


def of_owners(promises: Sequence[Promise], firings: Sequence[Firing], month: Month) -> list[OwnerMonth]:
    """Each owner's month, the one with most pages first."""
    names = sorted({one.owner for one in promises} | {one.owner for one in firings})
    return sorted((_of_owner(name, promises, firings, month) for name in names), key=lambda one: -one.pages)


def _of_owner(name: str, promises: Sequence[Promise], firings: Sequence[Firing], month: Month) -> OwnerMonth:
    own = [one for one in promises if one.owner == name]
    all_of_them = [one for one in firings if one.owner == name]
    counted = [one for one in all_of_them if one.is_counted]
    pages = [one for one in counted if one.severity == "page"]
    shifts: dict[str, int] = {}
    for page in pages:
        shifts[month.shift(page.start)] = shifts.get(month.shift(page.start), 0) + 1
    return OwnerMonth(
        owner=name,
        kept=sum(one.is_kept is True for one in own),
        broken=sum(one.is_kept is False for one in own),
        unknown=sum(one.is_kept is None for one in own),
        pages=len(pages),
        tickets=len(counted) - len(pages),
        at_night=sum(month.is_night(one.start) for one in pages),
        held=sum(bool(one.held_by) for one in all_of_them),
        most_in_a_shift=max(shifts.values(), default=0),
        acted=acted(counted),
    )


def suggestions(figures: Figures) -> Iterator[str]:
    """What follows for the alerts, in one sentence each."""
    for one in figures.alerts:
        about = f"{one.alert}{' of ' + one.owner if one.owner else ''}"
        if one.flapped >= FEW and one.flapped >= HALF * one.fired:
            yield f"{about} flapped in {one.flapped} of {one.fired} firings: have its condition hold longer (for)."
        bounds = one.precision.interval
        if bounds is not None and bounds[1] < HALF:
            share = f"{one.precision.some:g} of {one.precision.of:g}"
            yield f"{about} fired with harm to an objective in {share}: raise its threshold, or make it a ticket."
        if one.acted.of >= FEW and not one.acted.some:
            yield f"nobody is known to have acted on {about} ({one.acted.of:g} firings): remove it, or say what to do."
        if one.repeated >= FEW:
            yield f"{about} came back within a day {one.repeated} times: what it is about is not mended."
    for harm in figures.harms:
        if not harm.told and not harm.during:
            yield (
                f"{harm.subject}/{harm.name} lost {harm.spent:.0%} of its budget and nobody was told: "
                "an alert on its burn rate is missing, off, or held back."
            )
    for owner in figures.owners:
        if owner.most_in_a_shift > PAGES_A_SHIFT:
            yield f"{owner.owner} had {owner.most_in_a_shift} pages in one shift; {PAGES_A_SHIFT} can be worked on."
