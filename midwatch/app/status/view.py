"""The state of the promises in a terminal: what somebody should act on first, then subjects by trouble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from midwatch.app.status.records import (
    Alert,
    Canary,
    Drill,
    Episode,
    Objective,
    Overview,
    Standing,
    State,
    Subject,
    System,
    Telling,
    Told,
)
from midwatch.spec.values import describe_duration

MOST_SUBJECTS = 20
"""Subjects that are shown unless all are asked for; those in trouble are always."""
MOST_REASONS = 12
WIDE = 110
"""Columns from which on figures of requests stand beside the budgets."""

_STATES = {State.CALM: "bold green", State.ACT: "bold red", State.UNKNOWN: "bold yellow"}
_STANDINGS = {
    Standing.EXHAUSTED: "bold red",
    Standing.BROKEN: "bold red",
    Standing.BURNING: "yellow",
    Standing.UNKNOWN: "yellow",
    Standing.NO_DATA: "yellow",
    Standing.UNDECIDED: "yellow",
    Standing.KEPT: "green",
}
_TOLD = {
    Told.DELIVERED: "green",
    Told.WAITING: "yellow",
    Told.FAILED: "bold red",
    Told.NOBODY: "bold red",
    Told.NOT_THERE: "bold red",
    Told.UNKNOWN: "yellow",
}


def page(overview: Overview, width: int, *, every: bool = False) -> RenderableType:
    """All of it, for a terminal of so many columns; with `every` also the subjects that are calm."""
    parts: list[RenderableType] = [head(overview), *_reasons(overview.reasons)]
    parts += _section("alerts", [part for one in overview.alerts for part in _alert(one, overview.as_of)])
    parts += _section("promises", list(_subjects(overview.subjects, wide=width >= WIDE, every=every)))
    parts += _section("drift", [_episode(one, overview.as_of) for one in overview.episodes])
    parts += _section("canaries", list(map(_canary, overview.canaries)))
    parts += _section("drills and experiments", list(_drills(overview.drills, overview.as_of)))
    parts += _section("systems", list(_systems(overview.systems)))
    if len(overview.reasons) > MOST_REASONS:
        parts += _section("not answered", [Text(f"{one.what}: {one.of}: {one.why}") for one in overview.unanswered])
    return Group(*parts)


def with_last_known(now: Overview, known: Overview | None, width: int, *, every: bool = False) -> RenderableType:
    """The state now; where Prometheus does not answer, below it what was known last, and when that was."""
    if known is None or known is now:
        return page(now, width, every=every)
    gone = ago(known.as_of, now.as_of)
    stale = Text(f"as it was {gone} ago, when Prometheus answered last", style="bold yellow")
    return Group(head(now), *_reasons(now.reasons), "", stale, page(known, width, every=every))


def head(overview: Overview) -> Text:
    """The first line: whose state, which, and when."""
    text = Text(f"{overview.platform or overview.prometheus}: ", style="bold")
    text.append(_IN_WORDS[overview.state], style=_STATES[overview.state])
    return text.append(f"   {overview.as_of:%Y-%m-%d %H:%M:%S} UTC", style="dim")


_IN_WORDS = {State.CALM: "calm", State.ACT: "somebody should act", State.UNKNOWN: "not known"}


def line(overview: Overview) -> str:
    """One line for a log."""
    worst = f": {overview.reasons[0]}" if overview.reasons else ""
    more = f" and {len(overview.reasons) - 1} more" if len(overview.reasons) > 1 else ""
    return f"{overview.as_of:%H:%M:%S} {_IN_WORDS[overview.state]}{worst}{more}"


def _reasons(reasons: Sequence[str]) -> Iterator[RenderableType]:
    for reason in reasons[:MOST_REASONS]:
        yield Text(f"  {reason}", overflow="fold")
    if len(reasons) > MOST_REASONS:
        yield Text(f"  and {len(reasons) - MOST_REASONS} more", style="dim")


def _section(title: str, rows: list[RenderableType]) -> list[RenderableType]:
    return ["", Text(title, style="bold"), *rows] if rows else []


def ago(since: datetime | None, now: datetime) -> str:
    """How long something lasts."""
    return "?" if since is None else describe_duration(max(0, round((now - since).total_seconds())))


# Alerts -----------------------------------------------------------------------------------------------------------


def _alert(alert: Alert, now: datetime) -> Iterator[RenderableType]:
    style = "dim" if alert.is_held_back else "bold red" if alert.severity == "page" else "yellow"
    text = Text(f"{alert.severity or '-':8}", style=style)
    text.append(" ".join(filter(None, (alert.name, *_about(alert)))), style="" if alert.is_held_back else "bold")
    text.append(f"  for {ago(alert.since, now)}  of {alert.owner or 'nobody'}")
    yield text
    for one in alert.telling:
        yield Padding(telling(one), (0, 0, 0, 8), expand=False)


def _about(alert: Alert) -> list[str]:
    keys = ("model", "version", "slo", "store", "drill", "experiment", "system", "service", "instance")
    return [alert.labels[key] for key in keys if alert.labels.get(key)]


def telling(one: Telling, *, asked_ahead: bool = False) -> Text:
    """A receiver, and what became of the alert there; or what would become of it."""
    kinds = f" ({', '.join(one.integrations)})" if one.integrations else ""
    text = Text(f"{one.receiver}{kinds}: " if one.receiver else "", overflow="fold")
    is_free = asked_ahead and one.told is Told.WAITING
    text.append("told" if is_free else one.told.value, style="green" if is_free else _TOLD.get(one.told, "dim"))
    return text.append(f": {one.by}" if one.by else "", style="dim")


# Promises ---------------------------------------------------------------------------------------------------------


def _subjects(subjects: Sequence[Subject], *, wide: bool, every: bool) -> Iterator[RenderableType]:
    if not subjects:
        return
    bad = sum(one.state is not State.CALM for one in subjects)
    shown = subjects if every else subjects[: max(MOST_SUBJECTS, bad)]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", overflow="fold")
    for name in ("least budget", "burns", *(("requests/s", "errors") if wide else ()), "fires"):
        table.add_column(name, justify="right" if name != "fires" else "left", no_wrap=name != "fires")
    table.add_column("owner", overflow="fold")
    table.add_column("stands", overflow="fold")
    for one in shown:
        table.add_row(*_subject(one, wide=wide))
    yield table
    if len(shown) < len(subjects):
        yield Text(f"and {len(subjects) - len(shown)} more, all calm (--all shows them)", style="dim")


def _subject(one: Subject, *, wide: bool) -> Iterator[RenderableType]:
    yield Text(one.name, style=_STATES[one.state])
    yield _least(one.objectives)
    burns = [objective.burn_rate for objective in one.objectives if objective.burn_rate is not None]
    yield f"{max(burns):.1f}x" if burns else "-"
    if wide:
        requests = [version.requests for version in one.versions if version.requests is not None]
        errors = [version.errors for version in one.versions if version.errors is not None]
        yield f"{sum(requests):.3g}" if requests else "-"
        yield f"{max(errors):.2%}" if errors else "-"
    yield " ".join(
        filter(None, (f"{one.pages} page" if one.pages else "", f"{one.tickets} ticket" * bool(one.tickets)))
    )
    yield one.owner or "-"
    yield Text("; ".join(one.reasons) or "kept", style="" if one.reasons else "green")


def _least(objectives: Sequence[Objective]) -> Text:
    known = [(one.budget_left, one) for one in objectives if one.budget_left is not None]
    if not known:
        return Text("-", style="yellow" if objectives else "dim")
    left, worst = min(known, key=lambda pair: pair[0])
    return Text(f"{worst.name} {left:.1%}", style=_STANDINGS[worst.standing])


# What goes on -----------------------------------------------------------------------------------------------------


def _episode(one: Episode, now: datetime) -> Text:
    text = Text(f"{one.model} {one.version} ")
    since = f" for {ago(one.since, now)}" if one.since else ""
    text.append(f"drifts{since}" if one.is_drifting else "drifts no more")
    if one.votes is not None and one.is_drifting:
        text.append(f"  {one.votes:g} votes{f' of {one.quorum:g} needed' if one.quorum else ''}", style="dim")
    if one.waits_for:
        text.append(f"; the loop waits for {one.waits_for} for {ago(one.waits_since, now)}", style="yellow")
    return text


def _canary(one: Canary) -> Text:
    text = Text(f"{one.model} {one.canary} against {one.baseline}: ")
    style = {"pass": "green", "fail": "bold red"}.get(one.verdict, "yellow")
    text.append(one.verdict, style=style)
    counts = ", ".join(f"{arm} {count:g}" for arm, count in sorted(one.requests.items()))
    return text.append(f"  requests: {counts}" if counts else "", style="dim")


def _drills(drills: Sequence[Drill], now: datetime) -> Iterator[RenderableType]:
    """Those that are overdue, run, or did not end well; the others are counted."""
    quiet = 0
    for one in drills:
        is_bad = bool(one.verdict) and one.verdict not in ("met", "held")
        if not (one.is_overdue or one.is_running or is_bad):
            quiet += 1
            continue
        name = f"{one.name}{' of ' + one.store if one.store else ''}"
        text = Text(f"{name}: ")
        text.append("runs now" if one.is_running else one.verdict or "no result", style="bold red" if is_bad else "")
        text.append(f", {ago(one.last_run, now)} ago" if one.last_run else "")
        if one.is_overdue:
            text.append(f", overdue for {ago(one.due_at, now)}", style="bold red")
        yield text
    if quiet:
        never = sum(one.last_run is None for one in drills)
        words = f"{never} without any result" if never else "each in time"
        yield Text(f"{quiet} of {len(drills)} not overdue; {words}", style="dim")


def _systems(systems: Sequence[System]) -> Iterator[RenderableType]:
    """Those that do not answer; the others are counted."""
    silent = [one for one in systems if not one.answers]
    for one in silent:
        what = f"{one.up} of {one.targets} targets answer" if one.targets else "no target"
        words = what if one.how == "scraped" else "does not answer the systems exporter"
        yield Text(f"{one.name}: {words}", style="bold red" if one.expected and not one.up else "yellow")
    if systems:
        yield Text(f"{len(systems) - len(silent)} of {len(systems)} answer", style="dim")
