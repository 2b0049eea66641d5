"""Probes of Chaos Toolkit: the objectives as Prometheus measures them, and whether somebody was told of the fault.

Each returns a document with `met`, for the tolerance `is_met`; what cannot be decided raises ActivityFailed, because no
answer is no proof. Waiting is measured on the monotonic clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chaoslib.exceptions import ActivityFailed

from alerts import alerting_rule
from chaos.notices import NoAnswerError, Notice
from chaos.run import current
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client, QueryError

POLL_SECONDS = 0.25

Configuration = Mapping[str, Any] | None
Document = dict[str, Any]


def is_met(value: Any = None) -> bool:
    """Tolerance: the probe says so."""
    return isinstance(value, dict) and value.get("met") is True


def keeps_objectives(
    objectives: Sequence[Mapping[str, Any]], within: float = 0.0, *, configuration: Configuration = None
) -> Document:
    """Whether each objective is met now, or becomes met `within` so many seconds.

    An objective has `name`, `good` and `total` (PromQL by version), `objective` (0 to 1) and, to judge only some of the
    versions, `versions`. All of them are looked at, not only up to the first that is short.
    """
    client = current.of_process(configuration).place.prometheus
    begun = time.monotonic()
    while True:
        try:
            measured = [_measured(client, objective) for objective in objectives]
            problem = ""
        except QueryError as error:
            measured, problem = [], str(error)
        undecided = [one["name"] for one in measured if one["ratio"] is None]
        short = [one["name"] for one in measured if one["ratio"] is not None and one["ratio"] < one["objective"]]
        waited = time.monotonic() - begun
        if not problem and not undecided and not short:
            return {"met": True, "objectives": measured, "after_seconds": round(waited, 2)}
        if waited >= within:
            break
        time.sleep(POLL_SECONDS)
    if problem or (undecided and not short):
        raise ActivityFailed(problem or f"no data for {', '.join(undecided)}")
    return {"met": False, "objectives": measured, "short": short}


def _measured(client: Client, objective: Mapping[str, Any]) -> Document:
    good, total = (_sum(client, objective[name], objective.get("versions")) for name in ("good", "total"))
    ratio = good / total if good is not None and total else None
    return {"name": objective["name"], "objective": objective["objective"], "ratio": ratio, "events": total}


def _sum(client: Client, query: str, versions: Sequence[str] | None) -> float | None:
    values = [
        sample.value for sample in client.query(query) if not versions or sample.labels.get("version") in versions
    ]
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) if numbers else None


def noticed(
    alert: str,
    channels: Sequence[str],
    within: float,
    labels: Mapping[str, str] | None = None,
    hold: float = 0.0,
    *,
    configuration: Configuration = None,
) -> Document:
    """Whether a new alert of this name, with these labels, has reached all the channels `within` so many seconds.

    It waits for `hold` seconds at least, so that the fault lasts so long.
    """
    run, wanted = current.of_process(configuration), frozenset(channels)

    def reached() -> Document | None:
        for notice in _since(run):
            if notice.firing and notice.is_about(alert, labels or {}) and wanted <= notice.channels:
                return {"alert": alert, "labels": dict(notice.labels), "channels": sorted(notice.channels)}
        return None

    return _or_not_known(run, _waited(reached, within, {"alert": alert, "wanted": sorted(wanted)}, hold=hold))


def resolved(
    alert: str, within: float, labels: Mapping[str, str] | None = None, *, configuration: Configuration = None
) -> Document:
    """Whether the alert no longer fires, as its receivers were told, `within` so many seconds."""
    run = current.of_process(configuration)

    def ended() -> Document | None:
        still = [one for one in _since(run) if one.firing and one.is_about(alert, labels or {})]
        return None if still else {"alert": alert}

    return _or_not_known(run, _waited(ended, within, {"alert": alert}))


def nobody_paged(seconds: float, *, configuration: Configuration = None) -> Document:
    """Whether no new page that the fault can have caused reached anybody for so long.

    A page of another cause shows nothing: ActivityFailed, because nobody would have noticed one that the fault caused.
    """
    run = current.of_process(configuration)
    deadline = time.monotonic() + seconds
    while True:
        paged = [one.labels for one in _since(run) if one.labels.get("severity") == "page"]
        others = run.of_another_cause(paged)
        if pages := sorted({one["alertname"] for one in paged if not run.of_another_cause([one])}):
            return {"met": False, "pages": pages}
        if others:
            raise ActivityFailed(f"a page of another cause: {', '.join(others)}")
        if time.monotonic() >= deadline:
            return {"met": True, "pages": []}
        time.sleep(POLL_SECONDS)


def deadman_silent(within: float, hold: float = 0.0, *, configuration: Configuration = None) -> Document:
    """Whether an outside watcher would notice: the deadman's switch is not at Alertmanager, or that does not answer."""
    alertmanager = current.of_process(configuration).place.alertmanager

    def silent() -> Document | None:
        try:
            return None if alertmanager.has_deadman() else {"how": "the deadman's switch fell silent"}
        except NoAnswerError as error:
            return {"how": str(error)}

    return _waited(silent, within, {}, hold=hold)


def deadman_back(within: float, *, configuration: Configuration = None) -> Document:
    """Whether the deadman's switch fires again, `within` so many seconds."""
    alertmanager = current.of_process(configuration).place.alertmanager

    def back() -> Document | None:
        try:
            return {} if alertmanager.has_deadman() else None
        except NoAnswerError:
            return None

    return _waited(back, within, {})


def _or_not_known(run: current.Run, answer: Document) -> Document:
    """The answer; ActivityFailed where it is no because alerting itself does not work: the rule is not to blame."""
    if not answer["met"]:
        try:
            firing = {one.labels.get("alertname") for one in run.place.prometheus.query(current.ALERTS)}
        except QueryError as error:
            raise ActivityFailed(f"it is not known: {error}") from error
        if alerting_rule.DEADMAN not in firing:
            raise ActivityFailed(f"it is not known: {alerting_rule.DEADMAN} does not fire, so that no alert would")
    return answer


def _since(run: current.Run) -> list[Notice]:
    try:
        return run.place.notices.since(run.mark())
    except MidwatchError as error:
        raise ActivityFailed(str(error)) from error


def _waited(look: Callable[[], Document | None], within: float, otherwise: Document, *, hold: float = 0.0) -> Document:
    """What was found, and after how long; not met when it was not in time."""
    begun = time.monotonic()
    while True:
        answer, waited = look(), time.monotonic() - begun
        if answer is not None and waited <= within:
            time.sleep(max(0.0, hold - waited))
            return {"met": True, "after_seconds": round(waited, 2), **answer}
        if waited >= within:
            return {"met": False, "after_seconds": None, **otherwise}
        time.sleep(min(POLL_SECONDS, within - waited))
