"""An episode as one OpenTelemetry trace: a span for each phase between two steps, at the times that the owners say.

Ids are made from the episode's, so that a process that starts anew goes on with the same trace, and pipelines that are
given `parent` are part of it. Attributes of runs are those of OpenTelemetry's conventions for CI/CD (1.44).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from midwatch.telemetry import GivenSpan
from monitors.loop.episode import Episode, Outcome, Result, Seen, Step

_RUN = (Step.RUN_STARTED, Step.TRAINED)
_RESULTS = {Result.DONE: "success", Result.FAILED: "failure", Result.SKIPPED: "skip"}


def trace_id(episode: str) -> str:
    """Id of the trace of an episode, 32 hexadecimal digits."""
    return _digest(f"trace {episode}")[:32]


def span_id(episode: str, part: str = "") -> str:
    """Id of a span, 16 hexadecimal digits; that of the whole episode without a part."""
    return _digest(f"span {episode} {part}")[:16]


def parent(episode: str) -> str:
    """What a pipeline needs to go on with the trace (W3C Trace Context, "traceparent")."""
    return f"00-{trace_id(episode)}-{span_id(episode)}-01"


def _digest(text: str) -> str:
    return hashlib.sha256(f"midwatch loop {text}".encode()).hexdigest()


def spans(episode: Episode) -> Iterator[GivenSpan]:
    """What is known by now: a span for every step that was seen, and that of the whole episode once it has ended."""
    before = episode.onset
    yield _span(episode, Step.DRIFT.value, before, episode.detected, _drift(episode), is_error=False)
    before = episode.detected
    for seen in sorted(_first_of_each(episode), key=lambda one: one.time):
        is_error = seen.result is Result.FAILED
        yield _span(episode, seen.step.value, min(before, seen.time), seen.time, _of_step(seen), is_error=is_error)
        before = max(before, seen.time)
    if episode.ended is not None:
        ended = {"midwatch.loop.outcome": episode.outcome.value, "midwatch.loop.cause": episode.cause}
        yield GivenSpan(
            name=f"loop {episode.model}",
            trace_id=trace_id(episode.id),
            span_id=span_id(episode.id),
            parent_id=None,
            start=episode.onset,
            end=max(episode.ended, episode.onset),
            attributes={**_drift(episode), **ended},
            is_error=episode.outcome is not Outcome.BETTER,
        )


def _first_of_each(episode: Episode) -> Iterator[Seen]:
    """The first record of every step, by the step and its source."""
    known = set()
    for seen in episode.steps:
        if (seen.step, seen.source) not in known:
            known.add((seen.step, seen.source))
            yield seen


def _span(
    episode: Episode, name: str, start: float, end: float, attributes: dict[str, str], *, is_error: bool
) -> GivenSpan:
    source = attributes.get("midwatch.loop.source", "")
    return GivenSpan(
        name=name,
        trace_id=trace_id(episode.id),
        span_id=span_id(episode.id, f"{name} {source}"),
        parent_id=span_id(episode.id),
        start=start,
        end=end,
        attributes=attributes,
        is_error=is_error,
    )


def _drift(episode: Episode) -> dict[str, str]:
    return {
        "midwatch.loop.episode": episode.id,
        "midwatch.loop.features": ",".join(episode.features),
        "midwatch.model.name": episode.model,
        "midwatch.model.version": episode.version,
    }


def _of_step(seen: Seen) -> dict[str, str]:
    of_run = {"cicd.pipeline.run.id": seen.id, "cicd.pipeline.result": _RESULTS[seen.result]}
    return {
        "midwatch.loop.episode": seen.episode,
        "midwatch.loop.source": seen.source,
        "midwatch.loop.id": seen.id,
        "midwatch.loop.result": seen.result.value,
        "midwatch.loop.said": seen.said,
        **(of_run if seen.step in _RUN else {}),
    }
