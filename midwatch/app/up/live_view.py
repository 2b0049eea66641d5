"""The live view in a terminal, and its short form for a log."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from midwatch import tables
from midwatch.app.up.canaries import Answer
from midwatch.app.up.queries import Figures
from midwatch.app.up.webhook_receiver import Alert
from midwatch.spec.values import describe_duration

LOG_EVERY = 5.0
"""Seconds between two lines where there is no terminal."""

_COLUMNS = {
    "requests/s": "{:.0f}".format,
    "p99": lambda seconds: f"{seconds * 1000:.0f} ms",
    "errors": "{:.1%}".format,
    "accuracy": "{:.1%}".format,
    "drift votes": "{:.0f}".format,
}


class LiveView:
    """Shows what is going on, on standard error; standard output stays free for the result."""

    def __init__(self, platform: str, urls: dict[str, str]) -> None:
        self._console = tables.make_console(stderr=True)
        self._platform, self._urls = platform, urls
        self._live: Live | None = None
        self._said = 0.0

    def __enter__(self) -> LiveView:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.start()
        else:
            for name, url in self._urls.items():
                self.note(f"{name}: {url}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def note(self, text: str) -> None:
        """One line."""
        self._console.print(text, soft_wrap=True)

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Say what goes on and how long it has taken; on a terminal with a clock that runs, else before and after."""
        begun = time.monotonic()
        if self._live:
            clock = Progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            clock.add_task(what, total=None)
            self._live.update(clock)
        else:
            self.note(what)
        yield
        self.note(f"{what}: done in {describe_duration(time.monotonic() - begun)}")
        if self._live:
            self._live.update("")

    def show(
        self,
        figures: Figures | None,
        alerts: list[Alert],
        progress: dict[str, Any],
        left: float | None,
        canaries: Sequence[Answer] = (),
        episodes: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Show the state of things; without figures Prometheus did not answer."""
        if self._live:
            self._live.update(self._page(figures, alerts, progress, left, canaries, episodes))
        elif time.monotonic() - self._said > LOG_EVERY:
            self._said = time.monotonic()
            more = [*(_canary(one).plain for one in canaries), *(episode(one).plain for one in episodes)]
            self.note(" | ".join([_line(figures, alerts, progress), *more]))

    def _page(
        self,
        figures: Figures | None,
        alerts: list[Alert],
        progress: dict[str, Any],
        left: float | None,
        canaries: Sequence[Answer],
        episodes: Sequence[dict[str, Any]],
    ) -> RenderableType:
        head = Text(f"midwatch up: {self._platform}", style="bold")
        if left is not None:
            head.append(f"   {describe_duration(max(0, round(left)))} left", style="dim")
        urls = Text("   ".join(f"{name} {url}" for name, url in self._urls.items()), style="dim", overflow="fold")
        parts: list[RenderableType] = [head, urls]
        if progress:
            parts += [
                "",
                Text(_traffic(progress)),
                ProgressBar(total=1.0, completed=progress.get("share", 0.0), width=60),
            ]
        parts += ["", _versions(figures), ""]
        parts += [*(_canary(one, reason=True) for one in canaries), *([""] if canaries else [])]
        parts += [*map(episode, episodes), *([""] if episodes else []), _alerts(alerts)]
        return Group(*parts)


def _versions(figures: Figures | None) -> RenderableType:
    if figures is None:
        return Text("Prometheus does not answer", style="bold yellow")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model")
    table.add_column("version")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for key in figures.keys():  # noqa: SIM118 - a method of ours
        table.add_row(*key, *(_cell(figures, name, key) for name in _COLUMNS))
    return table


def _cell(figures: Figures, name: str, key: tuple[str, str]) -> str:
    value = figures.columns.get(name, {}).get(key)
    return "-" if value is None or math.isnan(value) else _COLUMNS[name](value)


def _alerts(alerts: list[Alert]) -> RenderableType:
    if not alerts:
        return Text("no alert so far", style="dim")
    pages = sum(alert.severity == "page" for alert in alerts)
    title = f"pages delivered: {pages}, still firing: {sum(alert.resolved_at is None for alert in alerts)}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for name in ("", "severity", "to", "alert", "summary", "runbook"):
        table.add_column(name, overflow="fold")
    for alert in alerts[-10:]:
        firing = alert.resolved_at is None
        state = Text("● firing", style="bold red") if firing else Text("○ resolved", style="dim")
        runbook = alert.runbook_url.rsplit("/", 1)[-1]
        table.add_row(state, alert.severity, f"{alert.owner} ({alert.channel})", alert.name, alert.summary, runbook)
    return table


_VERDICTS = {"pass": "bold green", "fail": "bold red"}


def _canary(answer: Answer, *, reason: bool = False) -> Text:
    text = Text(f"canary {answer.of.canary} against {answer.of.baseline}: ")
    text.append(answer.verdict, style=_VERDICTS.get(answer.verdict, "yellow"))
    if answer.decided_after is not None:
        text.append(f" after {describe_duration(answer.decided_after)}")
    return text.append(f"  {answer.reason}", style="dim") if reason else text


_STEPS = {
    "T1": "detected",
    "T2": "asked",
    "T3": "run",
    "T4": "trained",
    "T5": "registered",
    "T6": "canary",
    "T7": "all traffic",
    "T8": "well",
}
"""What happens at each time of an episode, after the drift's onset."""
_OUTCOMES = {"open": "yellow", "better": "bold green", "undecided": "yellow"}


def episode(document: dict[str, Any]) -> Text:
    """An episode of the loop on a line: when each step was, since the drift's onset, and how it stands."""
    times = {name: at and datetime.fromisoformat(at) for name, at in document["times"].items()}
    versions = " to ".join(filter(None, (document["version"], document["new_version"])))
    text = Text(f"retraining of {document['model']} {versions}: ")
    outcome = document["outcome"]
    text.append(outcome.replace("_", " "), style=_OUTCOMES.get(outcome, "bold red"))
    onset = times["T0"]
    for name, what in _STEPS.items():
        if onset and times.get(name):
            text.append(f"  {what} {max(0.0, (times[name] - onset).total_seconds()):.0f} s")
    if document["waiting_for"]:
        text.append(f"  waiting for {document['waiting_for'].replace('_', ' ')}", style="dim")
    return text.append(f"  {document['said']}" if document["said"] else "", style="dim")


def _traffic(progress: dict[str, Any]) -> str:
    skipped = {"final", "share"}
    return "  ".join(f"{name} {value}" for name, value in progress.items() if name not in skipped)


def _line(figures: Figures | None, alerts: list[Alert], progress: dict[str, Any]) -> str:
    firing = [f"{alert.name}({alert.version})" for alert in alerts if alert.resolved_at is None]
    parts = [_traffic(progress)]
    if figures is None:
        parts.append("Prometheus does not answer")
    else:
        for model, version in figures.keys():  # noqa: SIM118 - a method of ours
            cells = (f"{name} {_cell(figures, name, (model, version))}" for name in _COLUMNS)
            parts.append(f"{model} {version}: {', '.join(cells)}")
    parts.append(f"firing: {', '.join(firing) or 'nothing'}; delivered: {len(alerts)}")
    return " | ".join(part for part in parts if part)
