"""What a page is made from and made of: the context it is built in, and what its template is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from midwatch.app.console.queries import Asked
from midwatch.app.console.state import Snapshot
from midwatch.app.console.what_changed import WhatChanged
from midwatch.errors import MidwatchError
from midwatch.html import About
from midwatch.spec.model import Model, Platform

SPANS = {
    "15m": 900.0,
    "1h": 3600.0,
    "3h": 10_800.0,
    "12h": 43_200.0,
    "2d": 172_800.0,
    "7d": 604_800.0,
    "30d": 2_592_000.0,
}
"""Times that charts can show, by what the address says."""
POINTS = 120
"""Points of a chart, at most."""


class NoPageError(MidwatchError):
    """There is no such page: the model, objective or alert of its address is not known."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a page is built in: the platform and its file, the state, who answers queries, what the address asks for.

    `default_span` is a key of `SPANS`; `now` is seconds since the epoch; `folders` are searched for evidence logs.
    `path` is the address of the page, as it was asked for; `what_changed` explains.
    """

    platform: Platform
    file: Path
    snapshot: Snapshot
    asked: Asked
    what_changed: WhatChanged
    now: float
    query: Mapping[str, str] = field(default_factory=dict)
    default_span: str = "3h"
    folders: Sequence[Path] = ()
    path: str = "/"

    @property
    def span_name(self) -> str:
        """The time that charts show, as the address says it."""
        given = self.query.get("span", self.default_span)
        return given if given in SPANS else self.default_span

    @property
    def span(self) -> float:
        """The time that charts show, in seconds."""
        return SPANS[self.span_name]

    @property
    def step(self) -> float:
        """Seconds between two points of a chart: no finer than Prometheus scrapes."""
        return max(self.platform.prometheus.scrape_interval, round(self.span / POINTS), 1.0)

    @property
    def rate_window(self) -> float:
        """Window of a rate: four scrapes, so that one that failed leaves no gap, and a point's own time at least."""
        return max(4 * self.platform.prometheus.scrape_interval, self.step)

    def model(self, name: str) -> Model:
        """A model of the platform file; NoPageError when there is none of that name."""
        for model in self.platform.models:
            if model.name == name:
                return model
        raise NoPageError(f"the platform file has no model {name!r}")


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page: its template, its heading, and what the template shows. `area` is the entry of the navigation."""

    template: str
    about: About
    area: str
    values: Mapping[str, Any] = field(default_factory=dict)


Build = Callable[..., Page]
"""Builds a page from a `Context` and the parts of its path."""


# Addresses -----------------------------------------------------------------------------------------------------------


def path_of(*parts: str, **query: str) -> str:
    """The address of a page, from the parts of its path and its query; empty values are left out.

    >>> path_of("models", "a b", span="1h")
    '/models/a%20b?span=1h'
    """
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    told = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(sorted(told.items()))}" if told else path


def of_model(name: str) -> str:
    """Address of a model's page."""
    return path_of("models", name)


def of_objective(subject: str, name: str) -> str:
    """Address of an objective's page."""
    return path_of("objectives", subject, name)


def of_alert(name: str, labels: Mapping[str, str]) -> str:
    """Address of an alert's page: its name, and those labels that tell it from others of that name."""
    told = {label: value for label, value in labels.items() if label not in ("alertname", "severity", "owner")}
    return path_of("alerts", name, **told)


def of_canary(model: str, baseline: str, canary: str) -> str:
    """Address of a comparison's page."""
    return path_of("canaries", model, baseline=baseline, canary=canary)


def as_of(snapshot: Snapshot) -> str:
    """Begins a sentence about what Prometheus said last, where it does not answer now.

    Nothing where it does.
    """
    return f"At {snapshot.stale_since:%Y-%m-%d %H:%M}, when Prometheus answered last: " if snapshot.stale_since else ""


def of_episode(model: str, episode: str = "") -> str:
    """Address of an episode of the loop; of the newest one without its id."""
    return path_of("episodes", model, episode=episode)


def choices(context: Context, path: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Name, address and whether it is the chosen one, of each time that charts of a page can show."""
    others = {name: value for name, value in context.query.items() if name != "span"}
    return [(name, path_of(*path, **others, span=name), name == context.span_name) for name in SPANS]
