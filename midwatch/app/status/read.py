"""Reads the state of the promises: asks Prometheus and Alertmanager, joins what they say, and judges whether to act.

Prometheus is asked first: an alert that fires there has then been sent, so that Alertmanager's lacking it means
something. What did not answer makes the whole not calm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from alerts import alerting_rule, inventory
from midwatch import alertmanager, silent_regions
from midwatch.app.status import ask, fairness, goings_on, promises, telling
from midwatch.app.status.ask import Answers, Counters, OfAlertmanager, Question
from midwatch.app.status.records import Alert, Objective, Overview, Standing, State, System, Told
from midwatch.app.status.telling import Firing
from midwatch.prometheus import Client, QueryError
from midwatch.spec.model import Platform
from midwatch.spec.regions import Regions

HEARD_OF = frozenset({Told.FAILED, Told.NOBODY, Told.NOT_THERE})
"""What leaves an alert untold that nobody decided to hold back."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Whom to ask. Without a platform file whatever they have is shown, and nothing is missed.

    `expects_jobs` is whether the platform file's scrape jobs are those of this Prometheus.
    """

    prometheus: Client
    prometheus_url: str
    alertmanager: alertmanager.Client
    platform: Platform | None = None
    expects_jobs: bool = True


RULES_DO_NOT_RUN = f"{alerting_rule.DEADMAN} does not fire: the platform's rules are not evaluated there"
"""The reason without which nothing that does not fire is calm."""


def overview(sources: Sources, now: datetime | None = None) -> Overview:
    """The state of everything at this moment; `now` stands for the clock of this machine."""
    now = now or datetime.now(UTC)
    view = View.of(sources)
    answers = ask.prometheus(view.client, sources.prometheus_url)
    asked = ask.of_alertmanager(sources.alertmanager)
    reader = _Reader(sources, answers, asked, now, view)
    return reader.overview()


class View:
    """What a view over regions does not see; of one plane there is nothing that it would not."""

    def __init__(self, client: Client, regions: Regions | None) -> None:
        self._regions, self._warnings = regions, list[str]()
        self.client = client if regions is None else client.taking_parts(self._warnings.append)

    @classmethod
    def of(cls, sources: Sources) -> View:
        """The view that the platform file is laid out for, if it is for one."""
        platform = sources.platform
        return cls(sources.prometheus, platform.regions if platform and platform.is_view else None)

    @cached_property
    def silent(self) -> tuple[str, ...]:
        """Regions that it does not see; all of them, where it does not say."""
        if self._regions is None:
            return ()
        try:
            return silent_regions.of_view(self.client, self._regions)
        except QueryError:
            return tuple(self._regions.sites)

    def unknown(self, standing: Sequence[Objective]) -> Iterator[str]:
        """What is not known, in words."""
        for name in self.silent:
            yield f"nothing is known of {name}: its plane is not seen"
        if self._warnings and not self.silent:
            yield f"the view's answers may be partial: {self._warnings[0]}"
        for one in standing:
            least = one.budget_at_least
            if least is not None and one.budget_left is not None and least < one.budget_left:
                yield f"{one.key} has at least {least:.1%} of its budget left: what a silent region counted is unseen"


class _Reader:
    """Joins the answers; what fails on the way is added to what was not answered."""

    def __init__(self, sources: Sources, answers: Answers, asked: OfAlertmanager, now: datetime, view: View) -> None:
        self._sources, self._answers, self._asked, self._now, self._view = sources, answers, asked, now, view
        self._platform = sources.platform
        self._unanswered = [*answers.unanswered, *asked.unanswered]

    def overview(self) -> Overview:
        firing = telling.firing(self._answers[Question.ALERTS], self._asked.alerts or ())
        switches = [one for one in firing if one.labels.get("alertname") == alerting_rule.DEADMAN]
        config = telling.running_config(self._asked.status)
        counters = self._counters(telling.reach_of_counters(config, firing, self._now))
        teller = telling.Teller(config=config, asked=self._asked, counters=counters, now=self._now)
        alerts = sorted(
            (teller.record(one) for one in firing if one not in switches and self._is_ours(one)), key=_loudest_first
        )
        standing = promises.of_objectives(self._answers, self._platform)
        standing += fairness.of_promises(self._answers, self._platform) if self._platform else []
        subjects = promises.of_subjects(self._answers, self._platform, standing, alerts)
        has_drills = self._answers.has(Question.DRILLS)
        drills = goings_on.drills(self._answers, self._platform, self._now) if has_drills else []
        models = frozenset(one.name for one in self._platform.models) if self._platform else None
        canaries = goings_on.canaries(self._answers, models)
        systems = goings_on.systems(self._answers, self._expected())
        opened = goings_on.episodes(self._answers, models)
        bad = [
            *_of_switch(switches, self._answers, self._asked),
            *_of_alerts(alerts),
            *_of_budgets(standing),
            *(f"{one.name} has no result since it was due" for one in drills if one.is_overdue),
            *(f"the canary {one.canary} of {one.model} fails" for one in canaries if one.verdict == "fail"),
            *(_of_system(one) for one in systems if one.expected and not one.up),
        ]
        unknown = [*self._unknown_by_switch(switches), *ask.in_words(self._unanswered)]
        unknown += self._view.unknown(standing)
        unknown += _of_unknown(standing) if self._answers.has(Question.OBJECTIVES) else ()
        state = State.ACT if bad else State.UNKNOWN if unknown else State.CALM
        clock = self._answers[Question.NOW]
        return Overview(
            platform=self._platform.platform if self._platform else "",
            as_of=self._now,
            state=state,
            reasons=(*bad, *unknown),
            prometheus=self._sources.prometheus_url,
            alertmanager=self._sources.alertmanager.url,
            prometheus_at=datetime.fromtimestamp(clock[0].time, UTC) if clock else None,
            subjects=tuple(subjects),
            alerts=tuple(alerts),
            silences=tuple(telling.silences(self._asked.silences or ())),
            episodes=tuple(opened),
            canaries=tuple(canaries),
            drills=tuple(drills),
            systems=tuple(systems),
            unanswered=tuple(self._unanswered),
            silent_regions=self._view.silent,
        )

    def _counters(self, reach: float | None) -> Counters | None:
        if reach is None or not self._answers.has(Question.ALERTS):
            return None
        end = self._now.timestamp()
        try:
            return ask.counters(self._view.client, start=end - reach, end=end)
        except QueryError as error:
            of = f"Prometheus {self._sources.prometheus_url}"
            self._unanswered.append(ask.unanswered("what Alertmanager counted", of, error))
            return None

    def _is_ours(self, one: Firing) -> bool:
        """Whether an alert is the platform's, of the many that an Alertmanager may have; without a file every one."""
        if self._platform is None:
            return True
        labels = one.sent.labels if one.sent else one.labels
        return labels.get("owner", "") in self._platform.owners or labels.get("alertname") in self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        """Names of the platform's alerts."""
        return frozenset(entry.name for entry in inventory.entries(self._platform)) if self._platform else frozenset()

    def _expected(self) -> frozenset[str] | None:
        """Jobs that Prometheus has to have; None where all that it has are shown."""
        if self._platform is None or not self._sources.expects_jobs:
            return None
        return goings_on.expected_jobs(self._platform)

    def _unknown_by_switch(self, switches: Sequence[Firing]) -> Iterator[str]:
        """Without the deadman's switch nobody knows whether rules are evaluated."""
        if self._platform is None or not self._answers.has(Question.ALERTS):
            return
        if not any(one.is_in_prometheus for one in switches):
            yield RULES_DO_NOT_RUN
        elif self._platform.regions is not None and self._platform.is_view:
            evaluating = {one.labels.get("region") for one in switches if one.is_in_prometheus}
            for name in self._platform.regions.sites:
                if name not in evaluating and name not in self._view.silent:
                    yield f"{RULES_DO_NOT_RUN} ({name})"


# What somebody should act on, in words ---------------------------------------------------------------------------


def _loudest_first(alert: Alert) -> tuple[bool, int, float, str]:
    order = {"page": 0, "critical": 0, "ticket": 1, "warning": 1}
    since = alert.since.timestamp() if alert.since else 0.0
    return alert.is_held_back, order.get(alert.severity, 2), -since, alert.name


def _of_switch(switches: Sequence[Firing], answers: Answers, asked: OfAlertmanager) -> Iterator[str]:
    """The switch fires in Prometheus and does not arrive: nothing else does."""
    if asked.alerts is not None and answers.has(Question.ALERTS) and switches and not any(one.sent for one in switches):
        yield f"{alerting_rule.DEADMAN} does not arrive at Alertmanager: nobody is told of anything"


def _of_alerts(alerts: Sequence[Alert]) -> Iterator[str]:
    for alert in alerts:
        if alert.is_held_back or alert.severity in promises.SILENT_SEVERITIES:
            continue
        about = " ".join(filter(None, (alert.name, alert.subject)))
        whose = f" of {alert.owner}" if alert.owner else ""
        untold = sorted({one.told.value for one in alert.telling if one.told in HEARD_OF})
        yield f"{about} fires ({alert.severity or 'no severity'}{whose}{''.join(f', {word}' for word in untold)})"


def _of_budgets(standing: Sequence[Objective]) -> Iterator[str]:
    for one in standing:
        if one.standing is Standing.EXHAUSTED:
            yield f"{one.key} has spent its budget of the {one.period or 'period'}"
        elif one.standing is Standing.BROKEN:
            yield f"{one.key} is broken"


def _of_system(one: System) -> str:
    return f"{one.name} does not answer" if one.targets else f"{one.name} is not scraped"


def _of_unknown(standing: Sequence[Objective]) -> Iterator[str]:
    """Objectives that are promised and of which nothing is known, by why."""
    for kind, words in (
        (Standing.UNKNOWN, "no record"),
        (Standing.NO_DATA, "nothing was counted"),
        (Standing.UNDECIDED, "no decision yet"),
    ):
        keys = [one.key for one in standing if one.standing is kind]
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            yield f"{words} of {', '.join(keys[:3])}{more}"
