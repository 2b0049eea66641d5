"""What Prometheus and Alertmanager are asked for: a fixed number of questions, however many models there are.

An answer that fails is kept as such under its name, so that what rests on it is said to be not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TypeVar

from midwatch import alertmanager, metrics, promql, upstream
from midwatch.app.status.records import Unanswered
from midwatch.errors import MidwatchError
from midwatch.metrics import Metric
from midwatch.prometheus import Client, Line, QueryError, Sample
from midwatch.promql import Expr

Answer = TypeVar("Answer")

MOST_POINTS = 1000
"""Points of a counter's course that are read: its step follows from how far back it has to reach."""


SILENCES = "silences"
"""What Alertmanager is asked for beside its alerts and routes, in the words of who is told that it was not answered."""


class Question(StrEnum):
    """What Prometheus is asked for, in the words of a person who is told that it was not answered."""

    NOW = "its time"
    OBJECTIVES = "objectives and budgets"
    ALERTS = "alerts that fire"
    TRAFFIC = "requests by version"
    DRIFT = "drift by version"
    FAIRNESS = "verdicts on fairness"
    EPISODES = "episodes of drift"
    LOOP = "episodes of the loop"
    CANARIES = "canaries"
    DRILLS = "drills and experiments"
    TARGETS = "targets that are scraped"
    ANSWERING = "targets that answer"
    SOURCES = "systems that are asked"


def any_of(*chosen: Metric | str) -> Expr:
    """Select the series of several metrics at once."""
    names = sorted(one.name if isinstance(one, Metric) else one for one in chosen)
    return promql.raw("{" + promql.matcher("__name__", promql.matches("|".join(names))) + "}")


EVENTS_OF_PERIOD = "slo:events:period"
BURN_OF_HOUR = metrics.SLO_BURN_RATES["1h"]
SLOTH_LEFT, SLOTH_BURN = "slo:period_error_budget_remaining:ratio", "slo:current_burn_rate:ratio"
"""Records of objectives that are kept in Sloth's form, by Midwatch or by Sloth itself."""

_QUESTIONS: Mapping[Question, Expr] = {
    Question.NOW: promql.vector(1),
    Question.OBJECTIVES: any_of(
        metrics.SLO_OBJECTIVE,
        metrics.SLO_BUDGET_REMAINING,
        metrics.SLO_PERIOD_ERROR,
        metrics.SLO_TIME_TO_EXHAUSTION,
        metrics.SLO_BUDGET_AT_LEAST,
        BURN_OF_HOUR,
        EVENTS_OF_PERIOD,
        SLOTH_LEFT,
        SLOTH_BURN,
    ),
    Question.ALERTS: any_of(upstream.ALERTS, "ALERTS_FOR_STATE"),
    Question.TRAFFIC: promql.sum_by(promql.select(metrics.SERVED_REQUESTS), "model", "version", "outcome"),
    Question.DRIFT: promql.max_by(promql.select(metrics.DRIFT_DETECTED), "model", "version"),
    Question.FAIRNESS: any_of(metrics.FAIRNESS_VERDICT, metrics.FAIRNESS_BECAME_UNFAIR),
    Question.EPISODES: promql.max_by(
        any_of(metrics.DRIFT_EPISODE, metrics.DRIFT_EPISODE_ONSET, metrics.DRIFT_VOTES, metrics.DRIFT_QUORUM),
        "__name__",
        "model",
        "version",
    ),
    Question.LOOP: any_of(metrics.LOOP_EPISODE_OPEN, metrics.LOOP_EPISODE, metrics.LOOP_WAITING),
    Question.CANARIES: any_of(metrics.CANARY_VERDICT, metrics.CANARY_REQUESTS),
    Question.DRILLS: any_of(
        metrics.DR_DRILL_VERDICT,
        metrics.DR_DRILL_LAST_RUN,
        metrics.DR_DRILL_LAST_MET,
        metrics.CHAOS_VERDICT,
        metrics.CHAOS_RUNNING,
        metrics.CHAOS_LAST_RUN,
        metrics.CHAOS_LAST_HELD,
    ),
    Question.TARGETS: promql.count_by(promql.scraped_once(), "job"),
    Question.ANSWERING: promql.count_by(Expr(f"(max by (job, instance) ({promql.scraped()}) == 1)"), "job"),
    Question.SOURCES: promql.max_by(promql.select(metrics.SOURCE_UP), "source"),
}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What Prometheus said, by question; a question that is not there has no answer."""

    samples: Mapping[Question, Sequence[Sample]]
    unanswered: tuple[Unanswered, ...]

    def __getitem__(self, question: Question) -> Sequence[Sample]:
        """Samples of a question, none where it has no answer."""
        return self.samples.get(question, ())

    def has(self, question: Question) -> bool:
        """Whether a question was answered."""
        return question in self.samples


def prometheus(client: Client, url: str) -> Answers:
    """Ask everything at once; the time of one answer is that of all."""
    client.prepare()
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="status") as pool:
        asked = {question: pool.submit(client.query, expr) for question, expr in _QUESTIONS.items()}
    samples: dict[Question, Sequence[Sample]] = {}
    missed = []
    for question, future in asked.items():
        try:
            samples[question] = future.result()
        except MidwatchError as error:
            missed.append(unanswered(question.value, f"Prometheus {url}", error))
    return Answers(samples=samples, unanswered=tuple(missed))


def unanswered(what: str, of: str, error: MidwatchError) -> Unanswered:
    """What was not answered, by whom and why, without naming the address twice."""
    why = error.reason if isinstance(error, QueryError) else str(error)
    return Unanswered(what=what, of=of, why=why.removeprefix(f"{of.rpartition(' ')[2]}: "))


def in_words(unanswered: Sequence[Unanswered]) -> Iterator[str]:
    """One sentence for each who did not answer, with all that is not known without it."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for one in unanswered:
        by_reason.setdefault((one.of, one.why), []).append(one.what)
    for (of, why), what in by_reason.items():
        yield f"{of}: {why}; not known: {', '.join(what)}"


@dataclass(frozen=True, kw_only=True)
class OfAlertmanager:
    """What Alertmanager said; what is None was not answered."""

    alerts: Sequence[alertmanager.Alert] | None = None
    silences: Sequence[alertmanager.Silence] | None = None
    status: alertmanager.Status | None = None
    unanswered: tuple[Unanswered, ...] = ()


def of_alertmanager(client: alertmanager.Client) -> OfAlertmanager:
    """Ask it for its alerts, its silences, and what it runs."""
    refused: list[Unanswered] = []

    def answer(what: str, ask: Callable[[], Answer]) -> Answer | None:
        try:
            return ask()
        except MidwatchError as error:
            refused.append(unanswered(what, f"Alertmanager {client.url}", error))
            return None

    with ThreadPoolExecutor(max_workers=3, thread_name_prefix="status") as pool:
        alerts = pool.submit(answer, "alerts and who is told", client.alerts)
        silences = pool.submit(answer, SILENCES, client.silences)
        status = pool.submit(answer, "routes", client.status)
    return OfAlertmanager(
        alerts=alerts.result(),
        silences=silences.result(),
        status=status.result(),
        unanswered=tuple(sorted(refused, key=lambda one: one.what)),
    )


# Counters of notifications ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Notifications through an integration, and what became of them.

    `failed` were given up. `pending` neither arrived nor were given up: Alertmanager tries again until the next
    notification of the group, `tries_failed` times in all.
    """

    notifications: float
    failed: float
    pending: float = 0.0
    tries_failed: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Course of Alertmanager's counters of notifications, by integration, from `start` to `end` (seconds).

    A notification is counted when it begins and a failure when it is given up, minutes later: that one arrived, only
    its tries say (notify.RetryStage). `tries` are None where nobody scraped them.
    """

    start: float
    end: float
    step: float
    attempts: Mapping[str, Sequence[tuple[float, float]]]
    failures: Mapping[str, Sequence[tuple[float, float]]]
    tries: Mapping[str, Sequence[tuple[float, float]]] | None = None
    tries_failed: Mapping[str, Sequence[tuple[float, float]]] | None = None

    @property
    def are_there(self) -> bool:
        """Whether any Alertmanager is scraped."""
        return bool(self.attempts)

    def since(self, integration: str, start: float) -> Counted:
        """What became of the notifications through an integration since a time."""
        attempts = self._growth(self.attempts, integration, start)
        failed = min(attempts, self._growth(self.failures, integration, start))
        if not self.tries or self.tries_failed is None:
            return Counted(notifications=attempts, failed=failed)
        lost = self._growth(self.tries_failed, integration, start)
        arrived = self._growth(self.tries, integration, start) - lost
        pending = max(0.0, attempts - failed - max(0.0, arrived))
        return Counted(notifications=attempts, failed=failed, pending=pending, tries_failed=lost)

    def _growth(self, courses: Mapping[str, Sequence[tuple[float, float]]], integration: str, start: float) -> float:
        """What a counter counted from the last point before a time; a fall is a restart, which counts from 0.

        So does one that appears while others were there already: some integrations are counted from the first on.
        """
        points = courses.get(integration, ())
        if points and points[0][0] > self.start + self.step:
            points = [(self.start, 0.0), *points]
        before = [value for at, value in points if at <= start]
        values = [*before[-1:], *(value for at, value in points if at > start)]
        return sum(now - then if now >= then else now for then, now in pairwise(values))


def counters(client: Client, *, start: float, end: float) -> Counters:
    """Alertmanager's counters of notifications as Prometheus scraped them; QueryError without an answer."""
    step = max(1.0, (end - start) / MOST_POINTS)

    def course(metric: Metric) -> dict[str, Sequence[tuple[float, float]]]:
        lines: list[Line] = client.query_range(
            promql.sum_by(promql.select(metric), "integration"), start=start, end=end, step=step
        )
        return {line.labels.get("integration", ""): line.points for line in lines}

    return Counters(
        start=start,
        end=end,
        step=step,
        attempts=course(upstream.DELIVERIES),
        failures=course(upstream.DELIVERIES_FAILED),
        tries=course(upstream.DELIVERY_TRIES),
        tries_failed=course(upstream.DELIVERY_TRIES_FAILED),
    )
