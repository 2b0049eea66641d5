"""One objective of one subject: a model, or a service that a rule file names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from alerts.objectives.counters import TILE_SECONDS, Counters, counters_of
from alerts.objectives.sli import Sli, sli_of
from alerts.objectives.tiers import BurnAlert, tiers_of
from midwatch import promql
from midwatch.metrics import Kind, Metric
from midwatch.promql import Expr
from midwatch.spec.base import Place
from midwatch.spec.model import Model, Platform
from midwatch.spec.regions import GLOBAL
from midwatch.spec.slo import AlertAdditions, Severity, Slo
from midwatch.spec.systems import place_of

ALERT = "ErrorBudgetBurn"
"""Name of the alert on every objective's burn rate."""

VALUE = "slo:measured:value"
"""Record of the value that an SLI of time slices measures."""

IDENTITY = ("model", "slo")
"""Labels of an objective's counts. The owner is not among them: a team that is renamed keeps its history."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """An objective, its subject's name, who owns it, its rule file, and where it stands in the platform file.

    `model` is None when the subject is a service. `region` is `global` where its counts are those of all regions.
    """

    platform: Platform
    slo: Slo
    subject: str
    owner: str
    file: str
    place: Place
    model: Model | None = None
    labels: tuple[tuple[str, str], ...] = ()
    runbook: str | None = None
    region: str | None = None

    @property
    def identity(self) -> dict[str, str]:
        """Labels that say which it is, wherever it is recorded."""
        return dict(zip(IDENTITY, (self.subject, self.slo.name), strict=True))

    @property
    def own_labels(self) -> dict[str, str]:
        """Labels that each of its records has."""
        return self.identity | self._scope

    @property
    def _scope(self) -> dict[str, str]:
        return {"region": self.region} if self.region else {}

    @property
    def keys(self) -> tuple[str, ...]:
        """Labels that tell its series from all others."""
        return (*IDENTITY, *self._scope, *self.slo.by)

    @property
    def alert_name(self) -> str:
        """Name of its alerts on the burn rate."""
        return self.slo.alert_name or ALERT

    def additions(self, severity: Severity) -> AlertAdditions:
        """What its page or its ticket carries beside what is generated, with what both carry."""
        own = self.slo.page_alert if severity is Severity.PAGE else self.slo.ticket_alert
        return own.model_copy(
            update={
                "labels": {**dict(self.labels), **own.labels},
                "annotations": {**self.slo.annotations, **own.annotations},
            }
        )

    def recorded(self, name: str) -> Expr:
        """Select one of its records."""
        if name not in self._selected:
            record = Metric(name=name, kind=Kind.GAUGE, help="", labels=self.keys)
            self._selected[name] = promql.select(record, **self.own_labels)
        return self._selected[name]

    @cached_property
    def _selected(self) -> dict[str, Expr]:
        return {}

    @cached_property
    def sli(self) -> Sli:
        """What it counts."""
        return sli_of(self.slo, self.model, self.recorded(VALUE))

    @cached_property
    def counters(self) -> Counters | None:
        """The counters that its SLI reads over five minutes; None when it reads anything else."""
        sides = {"total": self.sli.total, "bad": self.sli.bad, "good": self.sli.good}
        texts = {side: str(over(TILE_SECONDS)) for side, over in sides.items() if over is not None}
        return counters_of(f"{self.subject}/{self.slo.name}", self.platform.prometheus.scrape_interval, texts)

    @cached_property
    def tiers(self) -> list[BurnAlert]:
        """Tiers that are on and can see anything."""
        scrape = self.platform.prometheus.scrape_interval
        return list(tiers_of(self.slo, least_short=self.sli.least_window, scrape=scrape))


def of_platform(platform: Platform) -> list[Objective]:
    """Every objective of the platform: of its models, then of the rule files.

    At the view over all regions they are of all regions; one in Sloth's form has ratios alone, which do not add up.
    """
    every = _every(platform)
    if not platform.is_view:
        return every
    return [replace(one, region=GLOBAL) for one in every if one.slo.compatibility != "sloth"]


def _every(platform: Platform) -> list[Objective]:
    of_models = [
        Objective(
            platform=platform,
            slo=slo,
            subject=model.name,
            owner=model.owner,
            model=model,
            runbook=model.runbook,
            file=f"model-{model.name}.yml",
            place=("models", index, "slos", number),
        )
        for index, model in enumerate(platform.models)
        for number, slo in enumerate(model.slos)
    ]
    of_services = [
        Objective(
            platform=platform,
            slo=slo,
            subject=slo.service,
            owner=slo.owner or file.owner or "",
            labels=tuple(sorted({**file.labels, **slo.labels}.items())),
            file=f"team-{file.name}.yml",
            place=(*place_of(file, index), "objectives", number),
        )
        for index, file in enumerate(platform.rules)
        for number, slo in enumerate(file.objectives)
    ]
    return [*of_models, *of_services]
