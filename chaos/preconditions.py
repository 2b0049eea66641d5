"""What has to hold before an experiment starts, and while it runs. Only a clear yes is a yes.

A precondition that raises, takes too long, or has no data to look at refuses.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alerts import alerting_rule
from chaos import lease
from chaos.places.place import Home
from midwatch import metrics, promql
from midwatch.prometheus import Client
from midwatch.promql import Expr
from midwatch.spec.chaos import Window
from midwatch.spec.model import Model


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a precondition says, and why; `guard` is its name."""

    guard: str
    allowed: bool
    reason: str


class NoDataError(Exception):
    """There is nothing to decide from."""


Precondition = Callable[[], str]
"""Returns why the experiment may go on; raises otherwise, `RefusalError` when it knows why not."""


class RefusalError(Exception):
    """The precondition says no."""


def decide(name: str, precondition: Precondition, timeout: float) -> Decision:
    """Ask one precondition, for so many seconds at most."""
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(precondition())
        except BaseException as error:  # noqa: BLE001, RUF100 - whatever it raises, it did not say yes
            answers.append(error)

    thread = threading.Thread(target=ask, name=f"precondition {name}", daemon=True)
    thread.start()
    thread.join(timeout)
    if not answers:
        return Decision(guard=name, allowed=False, reason=f"no answer within {timeout:g} s")
    (answer,) = answers
    if isinstance(answer, RefusalError):
        return Decision(guard=name, allowed=False, reason=str(answer))
    if isinstance(answer, BaseException):
        return Decision(guard=name, allowed=False, reason=f"cannot tell: {answer or type(answer).__name__}")
    if not isinstance(answer, str) or not answer:
        return Decision(guard=name, allowed=False, reason=f"no clear answer: {answer!r}")
    return Decision(guard=name, allowed=True, reason=answer)


def decide_all(asked: Mapping[str, Precondition], timeout: float) -> list[Decision]:
    """Ask every precondition, one after the other, so that all reasons are known."""
    return [decide(name, one, timeout) for name, one in asked.items()]


# The preconditions ---------------------------------------------------------------------------------------------------


def kill_switch(file: Path) -> Precondition:
    """The global switch, which `midwatch chaos stop` sets, is not set."""

    def precondition() -> str:
        if file.exists():
            raise RefusalError(f"the kill switch is set ({file}): midwatch chaos stop --lift allows experiments again")
        return "not set"

    return precondition


def nothing_open(home: Home) -> Precondition:
    """Nothing runs here, and nothing is left of what ran: neither of experiments nor of drills."""

    def precondition() -> str:
        if lease.is_held(home.lock):
            raise RefusalError(f"another experiment runs, or a drill: {home.lock} is locked")
        if left := [folder.name for folder in home.open_runs()]:
            raise RefusalError(
                f"{', '.join(left)} left something open; the next run, or midwatch chaos stop, reverts it"
            )
        return "nothing runs, and nothing is left"

    return precondition


def nothing_open_in_cluster(lasting: lease.ClusterLease) -> Precondition:
    """Nobody holds the cluster's lease, and it names no fault that may be there."""

    def precondition() -> str:
        if holder := lasting.other_holder():
            raise RefusalError(f"another experiment runs, or a drill: lease {lease.LEASE_NAME} is held by {holder}")
        if left := lasting.kept_faults():
            raise RefusalError(f"{len(left)} faults may be left; the next run, or midwatch chaos stop, reverts them")
        return "nothing runs, and nothing is left"

    return precondition


def window(windows: Sequence[str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Precondition:
    """It is a time in which experiments may run (UTC); without windows any time is."""
    parsed = [Window.parse(text) for text in windows]

    def precondition() -> str:
        moment = now()
        minute = moment.hour * 60 + moment.minute
        if not parsed:
            return "any time is allowed"
        for text, one in zip(windows, parsed, strict=True):
            if moment.weekday() in one.days and one.first_minute <= minute < one.last_minute:
                return f"within {text}"
        raise RefusalError(f"{moment:%a %H:%M} UTC is in none of {', '.join(windows)}")

    return precondition


def no_page(client: Client, expected: str | None = None) -> Precondition:
    """No page fires but the expected one, and alerting works: its deadman's switch fires."""

    def precondition() -> str:
        firing = client.query(_alerts(alertstate="firing"))
        names = {sample.labels["alertname"] for sample in firing}
        if alerting_rule.DEADMAN not in names:
            raise NoDataError(f"{alerting_rule.DEADMAN} does not fire, so that it is not known which alerts would")
        pages = {sample.labels["alertname"] for sample in firing if sample.labels.get("severity") == "page"}
        if unexpected := sorted(pages - {expected}):
            raise RefusalError(f"firing: {', '.join(unexpected)}")
        return "no page fires" if not pages else f"only {expected} fires, as expected"

    return precondition


def _alerts(**labels: str) -> Expr:
    """Prometheus' own series of alerts."""
    matchers = ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return Expr("ALERTS{" + matchers + "}")


def error_budget(client: Client, model: Model, least: float) -> Precondition:
    """Of each objective's error budget at least `least` (0 to 1) is left."""

    def precondition() -> str:
        if not model.slos:
            return f"{model.name} has no objective"
        left = _budgets_left(client, model)
        short = [f"{name} {share:.0%}" for name, share in left.items() if share < least]
        if short:
            raise RefusalError(f"error budget left: {', '.join(short)}; at least {least:.0%} is wanted")
        return "error budget left: " + ", ".join(f"{name} {share:.0%}" for name, share in left.items())

    return precondition


def _budgets_left(client: Client, model: Model) -> dict[str, float]:
    """Share of each objective's error budget that is left, by the platform's own records; the least of its versions."""
    left: dict[str, float] = {}
    for sample in client.query(promql.select(metrics.SLO_BUDGET_REMAINING, model=model.name)):
        name = sample.labels["slo"]
        left[name] = min(left.get(name, sample.value), sample.value)
    missing = sorted({slo.name for slo in model.slos} - {name for name, share in left.items() if share == share})  # noqa: PLR0124 - NaN
    if missing:
        raise NoDataError(f"the error budget of {', '.join(missing)} is not known: no traffic, or no records")
    return left


def refusals(decisions: Iterable[Decision]) -> list[str]:
    """What the preconditions say that said no."""
    return [f"{one.guard}: {one.reason}" for one in decisions if not one.allowed]
