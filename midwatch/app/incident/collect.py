"""Asks all sources of changes side by side, within a time; who did not answer is named, and holds nobody up."""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from midwatch.app.incident import sources
from midwatch.app.incident.asked import Asked, Question
from midwatch.errors import MidwatchError
from monitors.incident.records import Change, Kind, Unanswered

WORKERS = 8

SAME_SECONDS = 600.0
"""Two sources that tell the same of the same scope within this time tell one change."""

RELEASES = frozenset({Kind.DEPLOYMENT, Kind.CANARY, Kind.PROMOTION})
"""Kinds of which one is often told as another: a canary that took all traffic is a deployment."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Changes in the order of time, and who could not answer; `blind` is why Prometheus says nothing of that time."""

    changes: tuple[Change, ...]
    unanswered: tuple[Unanswered, ...]
    blind: str = ""


def questions(asked: Asked) -> Iterator[Question]:
    """Questions of every module in `sources`."""
    for found in sorted(module.name for module in pkgutil.iter_modules(sources.__path__)):
        yield from importlib.import_module(f"{sources.__name__}.{found}").questions(asked)


def collect(asked: Asked, deadline: float) -> Collected:
    """Ask until `deadline`, a moment of the monotonic clock."""
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="changes")
    asking = [(question, pool.submit(_asked, question)) for question in questions(asked)]
    wait([future for _, future in asking], timeout=max(deadline - time.monotonic(), 0.0))
    pool.shutdown(wait=False, cancel_futures=True)
    answers = [one for question, future in asking for one in _answer(question, future)]
    changes = [one for one in answers if isinstance(one, Change)]
    unanswered = [one for one in answers if isinstance(one, Unanswered)]
    inside = [change for change in changes if change.latest >= asked.start and change.at <= asked.end]
    return Collected(changes=tuple(_joined(inside)), unanswered=tuple(unanswered))


def _asked(question: Question) -> list[Change | Unanswered]:
    return list(question.ask())


def _answer(question: Question, future: Future[list[Change | Unanswered]]) -> Sequence[Change | Unanswered]:
    if not future.done() or future.cancelled():
        return [Unanswered(source=question.source, reason="no answer in the time there was")]
    try:
        return future.result()
    except MidwatchError as error:
        return [Unanswered(source=question.source, reason=str(error))]


def _joined(changes: Sequence[Change]) -> list[Change]:
    """Changes by time; what several sources tell is one, as the first of them tells it."""
    joined: list[Change] = []
    for change in sorted(changes, key=lambda one: (one.at, one.what)):
        if not any(_is_same(earlier, change) for earlier in joined):
            joined.append(change)
    return joined


def _is_same(earlier: Change, change: Change) -> bool:
    close = change.at - earlier.latest <= SAME_SECONDS and earlier.scope == change.scope and bool(change.scope)
    return close and (earlier.kind == change.kind or {earlier.kind, change.kind} <= RELEASES)
