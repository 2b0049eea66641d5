"""Which alert tells of an experiment's fault, where it arrives and how soon: read from the inventory of alerts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from alerts import inventory
from alerts.inventory import Entry
from chaos import kinds
from chaos.causes import Causes
from chaos.kinds.base import DEADMAN, NONE, SCRAPES
from midwatch.errors import MidwatchError, Problem
from midwatch.spec import base, load, system_rules
from midwatch.spec.document import Document
from midwatch.spec.experiments import Expect, Experiment
from midwatch.spec.model import Model, Platform
from midwatch.spec.slo import Severity

SPECIAL = (DEADMAN, NONE)
"""Words that stand where an alert does."""
BUDGET_ALERT = "ErrorBudgetBurn"
LEAST_SECONDS = 300.0
"""An alert that the platform file names may take so long, whatever its rule needs."""
SLACK_SECONDS = 15.0
"""For what takes time beyond every wait that is stated: starting, looking, reverting."""


class UnknownAlertError(MidwatchError):
    """An experiment expects an alert that the platform does not have; `where` is the key that says so."""

    def __init__(self, title: str, where: tuple[str, ...], message: str, remedy: str) -> None:
        self.where, self.problem, self.remedy = where, message, remedy
        super().__init__(f"chaos experiment {title}: {message}; {remedy}")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is expected to tell of a fault: `alert` or one of the special words. Times are seconds.

    `labels` tell the alert from others of its name; it has to reach all `channels`.
    """

    alert: str
    within: float
    resolved_within: float
    labels: dict[str, str] = field(default_factory=dict)
    channels: list[str] = field(default_factory=list)


class Expectations:
    """What each experiment of a platform expects."""

    def __init__(self, platform: Platform) -> None:
        self._platform, self._alerts = platform, list(inventory.entries(platform))

    def of(self, experiment: Experiment, model: Model) -> Expected:
        """What is expected of an experiment on a model; UnknownAlertError when there is no such alert."""
        if experiment.expect is not None:
            return self._as_written(experiment, model, experiment.expect)
        kind = kinds.table()[experiment.kind]
        if kind.alert in SPECIAL:
            return self._timed(kind.alert, 2 * SCRAPES * self._platform.prometheus.scrape_interval)
        entries = self._of_kind(experiment, model, kind.alert)
        if not entries:
            message = f"{model.name} has no alert {kind.alert}, so nobody would be told"
            raise UnknownAlertError(experiment.title, (), message, "say with expect which alert tells of it")
        return self._told_by(entries, self._needs(experiment, model, entries[0]))

    def _as_written(self, experiment: Experiment, model: Model, expect: Expect) -> Expected:
        if expect.alert in SPECIAL:
            expected = self._timed(expect.alert, 0.0)
        else:
            entries = self._preferred(experiment, self._named(expect.alert, model))
            if not entries:
                message, remedy = base.unknown(expect.alert, self._names(model), "alert")
                is_elsewhere = any(entry.name == expect.alert for entry in self._alerts)
                message += f" that anybody is told of for {model.name}" if is_elsewhere else ""
                raise UnknownAlertError(experiment.title, ("expect", "alert"), message, remedy)
            expected = self._told_by(entries, self._needs(experiment, model, entries[0]))
        return Expected(
            alert=expected.alert,
            within=max(LEAST_SECONDS, expected.within) if expect.within is None else expect.within,
            resolved_within=max(LEAST_SECONDS, expected.resolved_within)
            if expect.resolved_within is None
            else expect.resolved_within,
            labels=expected.labels,
            channels=expected.channels,
        )

    # The inventory -------------------------------------------------------------------------------------------------

    def _telling(self, model: Model) -> Iterator[Entry]:
        """Alerts that somebody is told of, on this model or on nothing that is a model."""
        for entry in self._alerts:
            if entry.severity in list(Severity) and _model_name(entry) in (None, model.name):
                yield entry

    def _names(self, model: Model) -> set[str]:
        return {entry.name for entry in self._telling(model)} | set(SPECIAL)

    def _named(self, alert: str, model: Model) -> list[Entry]:
        return [entry for entry in self._telling(model) if entry.name == alert]

    def _of_kind(self, experiment: Experiment, model: Model, alert: str) -> list[Entry]:
        """The kind's own alert; where the model has none, that on the error budget of the objective that is hurt."""
        if own := self._named(alert, model):
            return self._preferred(experiment, own)
        budgets = self._preferred(experiment, self._named(BUDGET_ALERT, model))
        return [entry for entry in budgets if entry.target and entry.target.slo.kind == experiment.objective]

    def _preferred(self, experiment: Experiment, entries: Sequence[Entry]) -> list[Entry]:
        """Of several alerts of one name those on the model, of the objective that is hurt, that page; if there are."""
        chosen = list(entries)
        for is_preferred in (
            lambda entry: _model_name(entry) is not None,
            lambda entry: entry.target is not None and entry.target.slo.kind == experiment.objective,
            lambda entry: entry.severity == Severity.PAGE,
        ):
            chosen = [entry for entry in chosen if is_preferred(entry)] or chosen
        return chosen

    def _told_by(self, entries: Sequence[Entry], needs: float) -> Expected:
        """Any of these alerts, which have one name and severity."""
        owners = {(entry.owner, entry.severity) for entry in entries}
        return self._timed(
            entries[0].name,
            needs,
            self._labels(entries),
            sorted({one for who in owners for one in self._channels(*who)}),
        )

    def _channels(self, owner: str | None, severity: str) -> list[str]:
        owned = self._platform.owner(owner) if owner else None
        channels = {Severity.PAGE: owned.page, Severity.TICKET: owned.ticket}[Severity(severity)] if owned else None
        return channels or []

    def _labels(self, entries: Sequence[Entry]) -> dict[str, str]:
        """Labels that these alerts share, and that tell them from the platform's others of their name."""
        labels, name = [_labels(entry) for entry in entries], entries[0].name
        chosen = {id(entry) for entry in entries}
        others = [_labels(entry) for entry in self._alerts if entry.name == name and id(entry) not in chosen]
        shared = {key: value for key, value in labels[0].items() if all(one.get(key) == value for one in labels)}
        return {
            key: shared[key]
            for key in ("model", "severity", "slo", "owner")
            if key in shared and (key == "model" or any(other.get(key) != shared[key] for other in others))
        }

    # Times ---------------------------------------------------------------------------------------------------------

    def _needs(self, experiment: Experiment, model: Model, entry: Entry) -> float:
        """How long the alert's rule takes at most.

        An alert on an error budget pages when an outage has spent 2% of it: after an hour's share of 14.4 times what is
        allowed (SRE Workbook, chapter 5, table 5-8).
        """
        if entry.target is not None and entry.direct is None:
            scrapes = SCRAPES * self._platform.prometheus.scrape_interval
            return min(3600.0, 3600.0 * 14.4 * (1 - float(entry.target.slo.objective))) + 120.0 + scrapes
        return kinds.table()[experiment.kind].seconds_to_alert(entry, self._platform, model)

    def _timed(
        self, alert: str, needs: float, labels: dict[str, str] | None = None, channels: list[str] | None = None
    ) -> Expected:
        """An alert with the time that its rule, and Alertmanager's grouping, need."""
        times, looks = self._platform.alertmanager, 4 * self._platform.prometheus.evaluation_interval
        return Expected(
            alert=alert,
            within=needs + (times.group_wait + looks + SLACK_SECONDS),
            resolved_within=2 * needs + (times.group_interval + looks + SLACK_SECONDS),
            labels=labels or {},
            channels=channels or [],
        )


def _model_name(entry: Entry) -> str | None:
    """The model that an alert is on: some take the label from their series."""
    return entry.labels.get("model") or (entry.origin if entry.place[:1] == ("models",) else None)


def _labels(entry: Entry) -> dict[str, str]:
    name = _model_name(entry)
    return entry.labels | ({"model": name} if name else {})


def causes(platform: Platform, actions: Iterable[tuple[str, str | None]], expected: Iterable[str]) -> Causes:
    """Which pages actions, by kind and model, can be the cause of, beside the alerts that are `expected`.

    A fault at a model may be felt as anything that is wrong with it; one that is wide by every model and the plane. An
    alert of a team's own has to be expected.
    """
    chosen = [(kinds.table()[kind], model) for kind, model in actions if kind in kinds.table()]
    is_wide = any(kind.is_wide for kind, _ in chosen)
    plane = {entry.name for entry in inventory.entries(platform) if is_wide and not entry.place}
    models = {model.name for model in platform.models} if is_wide else {model for _, model in chosen if model}
    return Causes(alerts=sorted({*expected, *plane}), models=sorted(models))


def told_names(platform: Platform) -> set[str]:
    """Names of the alerts that somebody is told of."""
    return {entry.name for entry in inventory.entries(platform) if entry.severity in list(Severity)}


def model_of(platform: Platform, experiment: Experiment) -> Model:
    """The model that an experiment is about: the one it names, else the platform's only one."""
    by_name = {model.name: model for model in platform.models}
    return by_name[experiment.model] if experiment.model else platform.models[0]


def check_alerts(platform: Platform, document: Document) -> Iterator[Problem]:
    """Alerts that experiments expect and the platform does not have, each with its place in the platform file."""
    for index, error in _unknown(platform):
        yield document.problem(("chaos", "experiments", index, *error.where), error.problem, error.remedy)


def without_unknown(platform: Platform) -> Platform:
    """The platform without the experiments that expect an alert which it does not have."""
    unknown = {index for index, _ in _unknown(platform)}
    if platform.chaos is None or not unknown:
        return platform
    experiments = [one for index, one in enumerate(platform.chaos.experiments) if index not in unknown]
    return platform.model_copy(update={"chaos": platform.chaos.model_copy(update={"experiments": experiments})})


def _unknown(platform: Platform) -> Iterator[tuple[int, UnknownAlertError]]:
    experiments = platform.chaos.experiments if platform.chaos else []
    expectations = Expectations(platform) if experiments else None
    for index, experiment in enumerate(experiments):
        try:
            assert expectations is not None  # noqa: S101 - there is an experiment
            expectations.of(experiment, model_of(platform, experiment))
        except UnknownAlertError as error:
            yield index, error


def check_names(reading: load.Reading) -> Iterator[Problem]:
    """Alerts that experiments of a file with problems expect, and that it would not have without those either.

    An alert that Midwatch ships, or whose name stands in what is wrong, may be there once that is mended.
    """
    platform = reading.platform
    if platform is None or platform.chaos is None or reading.document.problems:
        return
    own = {alert.alert for team in platform.rules for alert in team.alerts}
    known = {*own, *SPECIAL, *_shipped()}
    for index, experiment in enumerate(platform.chaos.experiments):
        name = experiment.expect.alert if experiment.expect else NONE
        place = ("chaos", "experiments", index, "expect", "alert")
        if name not in known | reading.removed and reading.document.has(place, name):
            yield reading.document.problem(place, *base.unknown(name, known, "alert"))


def _shipped() -> set[str]:
    """Names of the alerts that some platform may have: each has a page."""
    pages = (one.name for one in (files("alerts") / "runbooks").iterdir())
    systems = (alert.alert for name in system_rules.shipped() for alert in system_rules.system(name).alerts)
    return {*(name.removesuffix(".md") for name in pages), *systems}
