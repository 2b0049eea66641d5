"""Rule files of the systems that a platform names: a folder's texts with the platform's settings filled in.

A system's folder is `midwatch/systems/NAME`. What is made of it is a rule file like a team's, so that whatever reads
rule files needs to know nothing of systems.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from midwatch import yamlfile
from midwatch.spec import placeholders, system_names
from midwatch.spec.base import Finding, Place, unknown
from midwatch.spec.model import Platform
from midwatch.spec.placeholders import Value, filled
from midwatch.spec.rules import AlertRule, AlertTuning, Proof, ShippedProof
from midwatch.spec.slo import ServiceSlo, Sli
from midwatch.spec.system_dialect import Dialect
from midwatch.spec.system_settings import DurationSetting, NamesSetting, SettingError
from midwatch.spec.systems import (
    ChosenSlo,
    ObservedFile,
    Panel,
    SystemAlert,
    SystemAlerts,
    SystemAnnotation,
    SystemFile,
    SystemRules,
    SystemSlo,
    SystemUse,
    Version,
    Versioned,
    job_name,
    texts,
)
from midwatch.spec.values import format_duration, parse_duration

FILE = "system.yaml"
TARGETS = "targets"
MODELS = "models"
"""What an alert may be `per` in every system; one on a model is its owner's."""


# Folders -----------------------------------------------------------------------------------------------------------


def folder(name: str) -> Traversable:
    """Folder of a system that is shipped."""
    return files("midwatch") / "systems" / name


@cache
def shipped() -> tuple[str, ...]:
    """Names of the systems that are shipped: of the folders with a `system.yaml`."""
    return tuple(sorted(one.name for one in (files("midwatch") / "systems").iterdir() if one.joinpath(FILE).is_file()))


@cache
def system(name: str) -> SystemFile:
    """What a shipped system's folder says."""
    text = folder(name).joinpath(FILE).read_text(encoding="utf-8")
    return SystemFile.model_validate(yamlfile.load(text))


@cache
def every_system() -> SystemAlerts:
    """Alerts and records that every system gets beside its own."""
    text = (files("midwatch") / "systems" / "every.yaml").read_text(encoding="utf-8")
    return SystemAlerts.model_validate(yamlfile.load(text))


OBSERVED = "observed.yaml"


@cache
def observed_of(name: str) -> ObservedFile:
    """What a system's folder makes of what the system is asked for."""
    return _observed(folder(name) / OBSERVED)


def _observed(file: Traversable) -> ObservedFile:
    if not file.is_file():
        return ObservedFile(alerts=[])
    return ObservedFile.model_validate(yamlfile.load(file.read_text(encoding="utf-8")))


@cache
def observed(name: str) -> ObservedFile:
    """What is made of what a system is asked for, and of whether it answers."""
    own, every = observed_of(name), _observed(files("midwatch") / "systems" / OBSERVED)
    return ObservedFile(
        alerts=[*every.alerts, *own.alerts],
        panels=[*own.panels, *every.panels],
        annotations=[*own.annotations, *every.annotations],
    )


def _with_observed(name: str, described: SystemFile) -> SystemFile:
    """What a folder says, together with what is made of what the system is asked for."""
    added = observed(name)
    return described.model_copy(
        update={
            "alerts": [*described.alerts, *added.alerts],
            "panels": [*described.panels, *added.panels],
            "annotations": [*described.annotations, *added.annotations],
        }
    )


# A system as the platform has it -----------------------------------------------------------------------------------


class Installed:
    """A system with the version, the settings and the targets that the platform file gives it."""

    def __init__(
        self,
        name: str,
        use: SystemUse,
        described: SystemFile,
        scrape_interval: float,
        owners: Mapping[str, str] = {},
    ) -> None:
        self.name, self.use = name, use
        self.described = _with_observed(name, described) if use.observe is not None else described
        self._owners = owners
        self.job = job_name(name)
        self.version: tuple[int, ...] = use.version or described.versions.read
        self.dialect = Dialect(described=described, version=self.version, exported=frozenset(use.exported_labels))
        self.values: dict[str, Value] = {
            "job": self.job,
            "scrape_wait": timedelta(seconds=4 * scrape_interval),  # one scrape that fails is noise
            **{
                key: one.value(use.settings[key]) if key in use.settings else one.default_value()
                for key, one in described.settings.items()
            },
            **(use.observe.placeholders() if use.observe is not None else {}),
        }

    def expr(self, text: str, values: Mapping[str, Value] = {}) -> str:
        """An expression with everything filled in, in the words of the version."""
        return self.dialect.expr(self._newest(text, values))

    def series(self, text: str, values: Mapping[str, Value] = {}) -> str:
        """A series of a proof with everything filled in, in the words of the version."""
        return self.dialect.series(self._newest(text, values))

    def _newest(self, text: str, values: Mapping[str, Value] = {}) -> str:
        return " ".join(filled(text, {**self.values, **values}, quoted=True).split())

    def legend(self, text: str, expr: str) -> str:
        """A legend or an annotation's text, which names labels of an expression's result."""
        return self.dialect.legend(text, self._newest(expr))

    def tags(self, tags: Iterable[str], expr: str) -> tuple[str, ...]:
        """Labels of an expression's result, as the version calls them."""
        names = self.dialect.labels_of(self._newest(expr))
        return tuple(names.get(tag, tag) for tag in tags)

    def left_out(self) -> Iterator[tuple[str, Versioned]]:
        """What is not there in this version, nor in another form: what it is, and its range."""
        for group in (self.described.slos, self.described.alerts, self.described.panels, self.described.annotations):
            parts: list[SystemSlo] | list[SystemAlert] | list[Panel] | list[SystemAnnotation] = group
            there = {_title(part) for part in parts if part.is_in(self.version)}
            yield from ((title, part) for part in parts if (title := _title(part)) not in there)

    def text(self, text: str, values: Mapping[str, Value] = {}) -> str:
        """A text with everything filled in."""
        return filled(text, {**self.values, **values})

    def each(self, alert: SystemAlert) -> list[str | None]:
        """What an alert is made for: the targets, names of a setting or of what is observed, or once."""
        if alert.per is None:
            return [None]
        if alert.per == TARGETS:
            return list(self.use.targets)
        names = self.use.observe.names(alert.per, list(self._owners)) if self.use.observe is not None else None
        if names is not None:
            return list(names)
        setting = self.described.settings[alert.per]
        if not isinstance(setting, NamesSetting):
            raise ValueError(f"{alert.alert} is per {alert.per}, which is no setting of names")
        return list(self.use.settings.get(alert.per, setting.default))

    def rules(self) -> SystemRules:
        """Its rule file."""
        return SystemRules(
            name=self.job,
            system=self.name,
            owner=self.use.owner,
            labels={"system": self.name},
            alerts=[
                *(
                    self.alert(alert, one)
                    for alert in self.described.alerts
                    if alert.is_in(self.version) and not self._is_off(alert)
                    for one in self.each(alert)
                ),
                *(self.alert(alert, None, self._names) for alert in self._of_every_system()),
            ],
            records=[
                record.model_copy(update={"expr": self.expr(record.expr, self._names), "labels": {"system": self.name}})
                for record in every_system().records
            ],
            objectives=[
                self.objective(shipped_slo(self.described, chosen.name, self.version), chosen)
                for chosen in self.use.slos
            ],
        )

    @cached_property
    def _names(self) -> dict[str, Value]:
        """What alerts on the system's metrics themselves are filled in with."""
        names = system_names.of(self.described, self.version)
        asked = {"own": names.own, "foreign": names.foreign, "lasting": names.lasting}
        return {
            "title": self.described.title,
            "version": version_text(self.version),
            **{key: "|".join(those) for key, those in asked.items()},
            **{f"one_{key}": those[0] for key, those in asked.items() if those},
        }

    def _of_every_system(self) -> Iterator[SystemAlert]:
        """Alerts on whether its metrics are those that its rules read, where there are names to ask for."""
        for alert in every_system().alerts:
            asked = {name for text in texts(alert.proof) for name in placeholders.names(text)}
            if asked <= {*self._names, *self.values} and not self._is_off(alert):
                yield alert

    def _is_off(self, alert: SystemAlert) -> bool:
        tuning = self.use.alerts.get(alert.alert)
        return tuning is not None and tuning.off_because is not None

    def alert(self, alert: SystemAlert, each: str | None, more: Mapping[str, Value] = {}) -> AlertRule:
        """An alert, for one of what it is per; `more` are values beside the settings."""
        values: dict[str, Value] = {**more} if each is None else {**more, "each": each}
        tuning = self.use.alerts.get(alert.alert) or AlertTuning.model_construct()
        wait = parse_duration(self.text(alert.for_, values))
        keys: dict[str, Any] = {
            "alert": alert.alert,
            "expr": self.expr(alert.expr, values),
            "for": format_duration(tuning.wait(wait)),
            "severity": tuning.severity or self.text(alert.severity, values),
            "labels": {label: self._template(value, alert, values) for label, value in alert.labels.items()},
            "summary": self._template(alert.summary, alert, values),
            "description": self._template(alert.description, alert, values),
            "proof": tuning.proof(self.proof(alert.proof, values), wait),
        }
        if alert.per == MODELS and each is not None and each in self._owners:
            keys["owner"] = self._owners[each]
        if tuning.keep_firing_for is not None:
            keys["keep_firing_for"] = format_duration(tuning.keep_firing_for)
        elif alert.keep_firing_for:
            keys["keep_firing_for"] = self.text(alert.keep_firing_for, values)
        return AlertRule.model_validate(keys)

    def _template(self, text: str, alert: SystemAlert, values: Mapping[str, Value]) -> str:
        return self.dialect.template(self.text(text, values), self._newest(alert.expr, values))

    def proof(self, proof: ShippedProof, values: Mapping[str, Value]) -> Proof:
        """A proof with everything filled in."""
        fires, silent = (
            {self.series(series, values): self.text(samples, values) for series, samples in group.items()}
            for group in (proof.fires, proof.silent)
        )
        within, interval = (parse_duration(self.text(text, values)) for text in (proof.within, proof.interval))
        return Proof(fires=fires, silent=silent, within=within, interval=interval)

    def objective(self, slo: SystemSlo, chosen: ChosenSlo) -> ServiceSlo:
        """An objective that the platform file chose."""
        return ServiceSlo(
            name=slo.name,
            service=self.job,
            sli=Sli.model_validate(self._filled(slo.sli.model_dump(exclude_none=True))),
            objective=chosen.objective or slo.objective,
            window=chosen.window or slo.window,
            burn_rate=chosen.burn_rate,
            description=slo.description,
        )

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(inner) for key, inner in value.items()}
        return self.expr(value) if isinstance(value, str) else value


def installed(platform: Platform) -> Iterator[Installed]:
    """The platform's systems whose section has no problem."""
    for name, use in platform.systems.items():
        if not list(_problems(name, use, platform.prometheus.scrape_interval)):
            owners = {model.name: model.owner for model in platform.models}
            yield Installed(name, use, system(name), platform.prometheus.scrape_interval, owners)


def expanded(platform: Platform) -> Platform:
    """The platform with a rule file for each of its systems; what is wrong with a section, `find_problems` says."""
    rule_files = [one.rules() for one in installed(platform)]
    return platform.model_copy(update={"rules": [*platform.rules, *rule_files]}) if rule_files else platform


# What may be wrong in the platform file ----------------------------------------------------------------------------


def find_problems(platform: Platform) -> Iterator[Finding]:
    """Systems, settings and objectives exist, values fit, and the version is one that is described."""
    for name, use in platform.systems.items():
        problems = list(_problems(name, use, platform.prometheus.scrape_interval))
        for place, message, remedy in problems:
            yield ("systems", name, *place), message, remedy
        if use.observe is not None:
            for place, message, remedy in use.observe.find_problems([model.name for model in platform.models]):
                yield ("systems", name, "observe", *place), message, remedy
        if problems and use.owner not in platform.owners:  # else the rule file that it becomes says so
            yield ("systems", name, "owner"), *unknown(use.owner, platform.owners, "owner")


def said(
    system_name: str, use: SystemUse, part: SystemSlo | SystemAlert | Panel | SystemAnnotation
) -> tuple[Place, str]:
    """Where the platform file changes a part of a system (its first setting in it, else the section), and its name."""
    named = {name for text in texts(part) for name in placeholders.names(text)}
    given = [("settings", key) for key in use.settings if key in named]
    return ("systems", system_name, *(given[0] if given else ())), _title(part)


def place_of_part(platform: Platform, rules: SystemRules, key: str, number: int) -> tuple[Place, str]:
    """As `said`, of an alert or an objective of the rule file that a system became."""
    described, use = system(rules.system), platform.systems[rules.system]
    if key == "objectives":
        chosen = rules.objectives[number]
        return ("systems", rules.system, "slos", number), f"objective {chosen.name}"
    name = rules.alerts[number].alert
    version = use.version or described.versions.read
    every = (*described.alerts, *every_system().alerts, *observed(rules.system).alerts)
    named = (alert for alert in every if alert.alert == name and alert.is_in(version))
    return said(rules.system, use, next(named))


def _unknown_alerts(system_name: str, use: SystemUse, described: SystemFile) -> Iterator[tuple[Place, str, str]]:
    names = [alert.alert for alert in (*described.alerts, *every_system().alerts)]
    names += [alert.alert for alert in observed(system_name).alerts] if use.observe is not None else []
    for name in use.alerts:
        if name not in names:
            yield ("alerts", name), *unknown(name, names, "alert of the system")


def _title(part: SystemSlo | SystemAlert | Panel | SystemAnnotation) -> str:
    if isinstance(part, SystemAlert):
        return f"alert {part.alert}"
    if isinstance(part, SystemSlo):
        return f"objective {part.name}"
    return f"annotation {part.name}" if isinstance(part, SystemAnnotation) else f"panel {part.title!r}"


def _problems(name: str, use: SystemUse, scrape_interval: float) -> Iterator[tuple[Place, str, str]]:
    if name not in shipped():
        yield (), *unknown(name, shipped(), "system")
        return
    described = system(name)
    yield from _setting_problems(described, use)
    yield from _unknown_alerts(name, use, described)
    yield from _window_problems(described, use, scrape_interval)
    if twice := sorted({one for one in use.targets if use.targets.count(one) > 1}):
        yield ("targets",), f"{twice[0]} twice", "write each once"
    oldest, newest = described.versions.oldest, described.versions.read
    if use.version is not None and use.version < oldest:
        yield ("version",), f"{version_text(use.version)} is not described", f"{version_text(oldest)} is the oldest"
        return
    if use.version is not None and use.version[0] > newest[0]:
        known = f"{version_text(newest)} is the newest that is known; write it, or remove the key"
        yield ("version",), f"{version_text(use.version)} is not described", known
        return
    yield from _slo_problems(described, use)


def _setting_problems(described: SystemFile, use: SystemUse) -> Iterator[tuple[Place, str, str]]:
    for key, given in use.settings.items():
        place: Place = ("settings", key)
        if key not in described.settings:
            yield place, *unknown(key, described.settings, "setting")
            continue
        if given is None:
            yield place, "no value", f"write a {described.settings[key].type}, or remove the key"
            continue
        try:
            described.settings[key].value(given)
        except SettingError as error:
            yield place, str(error), error.remedy
        except ValueError as error:
            yield place, str(error), "see the table of settings in docs/systems.md"


_WINDOW = re.compile(r"(?:\[|\bover )<([a-z][a-z0-9_]*)")


def _window_problems(described: SystemFile, use: SystemUse, scrape_interval: float) -> Iterator[tuple[Place, str, str]]:
    """Windows of expressions in which no two scrapes are: a rate or an increase there is nothing."""
    windows = {name for alert in described.alerts for name in _WINDOW.findall(alert.expr)}
    for key in sorted(windows & set(described.settings)):
        setting = described.settings[key]
        if not isinstance(setting, DurationSetting):
            continue
        try:
            window = setting.value(use.settings[key]) if key in use.settings else setting.default_value()
        except ValueError:
            continue  # it is said with the settings
        if isinstance(window, timedelta) and window.total_seconds() < 2 * scrape_interval:
            message = (
                f"a window of {format_duration(window.total_seconds())} has no two scrapes, so nothing rises in it"
            )
            yield ("settings", key), message, f"write at least {format_duration(2 * scrape_interval)}"


def _slo_problems(described: SystemFile, use: SystemUse) -> Iterator[tuple[Place, str, str]]:
    known = {slo.name for slo in described.slos}
    measured = {slo.name for slo in described.slos if slo.is_in(use.version or described.versions.read)}
    seen: set[str] = set()
    for number, chosen in enumerate(use.slos):
        place: Place = ("slos", number, "name")
        if chosen.name not in known:
            yield place, *unknown(chosen.name, known, "objective of this system")
        elif chosen.name not in measured:
            yield place, f"{chosen.name} cannot be measured in this version", "remove it"
        if chosen.name in seen:
            yield place, f"a second objective {chosen.name!r}", "write each once"
        seen.add(chosen.name)


def shipped_slo(described: SystemFile, name: str, version: Version) -> SystemSlo:
    """A system's objective by its name, as a version can measure it."""
    return next(slo for slo in described.slos if slo.name == name and slo.is_in(version))


def version_text(version: Version) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))
