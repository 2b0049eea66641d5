"""The newest event, the TTL and the end of materialization of Feast's feature views, whichever process moved it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from exporters.systems import feast_script
from exporters.systems.source import Sample
from midwatch import metrics
from midwatch.errors import MidwatchError
from midwatch.spec.model import Platform
from midwatch.spec.observed.feast import FeastObserved, ViewPromise

_SHOWN = 300
"""Characters of what Feast says when it fails: its last line with the reason."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A feature view as `feast_script` writes it; times are in seconds. `problem` is why its source is unread."""

    name: str
    ttl_seconds: float | None
    materialized_until: float | None
    newest_event: float | None = None
    problem: str = ""

    @property
    def state(self) -> str:
        """Whether its source has events, is empty, or cannot be read."""
        if self.problem:
            return "unreadable"
        return "empty" if self.newest_event is None else "read"


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    views: list[View]


_DECODER = msgspec.json.Decoder(_Answer)
STATES = ("read", "empty", "unreadable")


@dataclass(frozen=True)
class Feast:
    """Feast, in an interpreter of its own."""

    settings: FeastObserved

    def read(self, now: float) -> list[Sample]:  # noqa: ARG002 - every sample is a state or a timestamp
        """Samples of all feature views with a source, and of those that are promised."""
        views = views_of(self._said())
        return [*(sample for view in views for sample in of_view(view)), *promised(self.settings.views, views)]

    def _said(self) -> bytes:
        settings = self.settings
        # -I: neither our folder nor our environment's packages are for Feast's interpreter.
        command = [str(settings.python), "-I", feast_script.__file__, str(settings.repository)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=settings.timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise MidwatchError(f"Feast has not answered within {settings.timeout:g} s") from error
        except OSError as error:
            raise MidwatchError(f"{settings.python}: cannot be started: {error.strerror or error}") from error
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
            raise MidwatchError(f"{settings.python}: Feast cannot be read: {lines[-1][:_SHOWN]}")
        return done.stdout


def build(platform: Platform, observed: Any, state: Path) -> Feast:  # noqa: ARG001 - the signature of every kind
    """The source of the section."""
    return Feast(observed)


def views_of(said: bytes) -> Sequence[View]:
    """Feature views of what the script wrote. MidwatchError where that is something else."""
    try:
        return _DECODER.decode(said).views
    except msgspec.MsgspecError as error:
        raise MidwatchError(f"Feast's answer cannot be read: {error}") from error


def of_view(view: View) -> Iterator[Sample]:
    """Samples of a feature view. Without an event, a TTL or a materialization there is none of it, and never a 0."""
    labels = {"feature_view": view.name}
    for state in STATES:
        of_state = {**labels, "state": state}
        yield Sample(metric=metrics.FEATURE_VIEW_SOURCE, labels=of_state, value=view.state == state)
    told = {
        metrics.FEATURE_VIEW_NEWEST_EVENT: view.newest_event,
        metrics.FEATURE_VIEW_TTL: view.ttl_seconds,
        metrics.FEATURE_VIEW_MATERIALIZED_UNTIL: view.materialized_until,
    }
    for metric, value in told.items():
        if value is not None:
            yield Sample(metric=metric, labels=labels, value=value)


def promised(promises: Mapping[str, ViewPromise], views: Sequence[View]) -> Iterator[Sample]:
    """Of each promised view whether it is missing, and until when a newer event and a materialization are due."""
    there = {view.name: view for view in views}
    for name, promise in promises.items():
        labels, view = {"feature_view": name}, there.get(name)
        yield Sample(metric=metrics.FEATURE_VIEW_MISSING, labels=labels, value=view is None)
        if view is None:
            continue
        if view.newest_event is not None:
            due = view.newest_event + promise.fresh_within
            yield Sample(metric=metrics.FEATURE_VIEW_EVENT_DUE, labels=labels, value=due)
        if promise.materialized_within is None:
            continue
        until = view.materialized_until
        yield Sample(metric=metrics.FEATURE_VIEW_NEVER_MATERIALIZED, labels=labels, value=until is None)
        if until is not None:
            due = until + promise.materialized_within
            yield Sample(metric=metrics.FEATURE_VIEW_MATERIALIZATION_DUE, labels=labels, value=due)
