"""Runs all checks of what was given: a platform's rules and routes, or any Alertmanager configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alerts import inventory, tuning
from alerts.lint import foreign, inhibitions, links, receivers, rules
from alerts.lint import routes as route_checks
from alerts.lint.problem import Check, Context, LintProblem, problems_of, run
from alerts.routing import amtool, configuration, generate, versions
from alerts.routing.configuration import Config
from alerts.tuning import TurnedOff
from midwatch import metrics, yamlfile
from midwatch.errors import MidwatchError, Problem
from midwatch.spec import load
from midwatch.spec.alertmanager_fields import OLDEST, Version
from midwatch.spec.document import Document
from midwatch.spec.model import Platform
from midwatch.spec.routing import parse_version

CHECKS: dict[str, Check] = {**route_checks.CHECKS, **inhibitions.CHECKS, **receivers.CHECKS}
"""Checks of an Alertmanager configuration by id."""

RENDERED = "alertmanager/alertmanager.yml"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the checks found, metrics of others that nothing could be said of, and the alerts that are off."""

    problems: list[LintProblem]
    unjudged: list[str]
    turned_off: list[TurnedOff] = field(default_factory=list)

    def __add__(self, other: Report) -> Report:
        return Report(
            problems=[*self.problems, *other.problems],
            unjudged=sorted({*self.unjudged, *other.unjudged}),
            turned_off=[*self.turned_off, *other.turned_off],
        )


def lint(
    platform_file: Path | None,
    alertmanager: Path | None,
    version: str | None,
    *,
    live: Collection[str] | None,
    exported: Collection[tuple[str, str]] | None = None,
    secrets: bool,
) -> Report:
    """Check a platform, a configuration, or a configuration with a platform's alerts.

    `live` are the metrics of a Prometheus, if one was asked.

    Raises InvalidInputError for input that Prometheus or Alertmanager would not load.
    """
    if platform_file is None and alertmanager is None:
        raise MidwatchError("give a platform file with -f, or an Alertmanager configuration with --alertmanager")
    platform, document = load.load_with_places(platform_file) if platform_file else (None, None)
    report = _lint(platform, document, alertmanager, version, live=live, exported=exported, secrets=secrets)
    if platform is None or document is None:
        return report
    # Of a platform that runs on this machine alone it is no mistake: `midwatch check` does not ask.
    of_links = list(problems_of("dashboard-loopback", links.dashboard_loopback(platform), document))
    return report + Report(problems=of_links, unjudged=[])


OF_ANYBODY = {
    name: check
    for name, check in rules.CHECKS.items()
    if name not in ("owner-missing", "runbook-missing", "alert-unrouted", "record-unused")
}
"""Checks of rules that know nothing of Midwatch."""


def lint_rules(
    files: Sequence[Path],
    *,
    live: frozenset[str] | None,
    exported: frozenset[tuple[str, str]] | None = None,
    scrape_interval: float = 15.0,
) -> Report:
    """Check anybody's rule files; InvalidInputError for what Prometheus would not load."""
    every = [
        one
        for file in files
        for one in foreign.load(file, live=live, exported=exported, scrape_interval=scrape_interval)
    ]
    return Report(
        problems=[problem for one in every for problem in rules.run(one, OF_ANYBODY)],
        unjudged=sorted({name for one in every for name in rules.unjudged(one)}),
    )


def problems(platform: Platform, document: Document) -> list[Problem]:
    """Problems of a platform's own rules and routes."""
    return [*_lint(platform, document, None, None, live=None, secrets=False).problems]


def _lint(
    platform: Platform | None,
    document: Document | None,
    alertmanager: Path | None,
    version: str | None,
    *,
    live: Collection[str] | None,
    exported: Collection[tuple[str, str]] | None = None,
    secrets: bool,
) -> Report:
    config, wanted = _config(platform, alertmanager, version)
    entries = list(inventory.entries(platform)) if platform else []
    context = Context(
        config=config,
        version=wanted,
        alerts=[entry.labels for entry in entries] if platform else None,
        dynamic=_labels_of_series(entries) if platform else frozenset(),
        folder=alertmanager.parent if alertmanager else Path(),
        look_at_files=secrets,
        is_file=alertmanager is not None,
    )
    of_routes = run(_checks(alertmanager), context)
    if platform is None or document is None:
        return Report(problems=of_routes, unjudged=[])
    groups = [{"rules": [entry.rule for entry in entries]}, *(entry.group for entry in entries if entry.group)]
    all_rules = rules.Rules(
        document=document,
        alerts=entries,
        groups=groups,
        config=config,
        live=live,
        scrape_interval=platform.prometheus.scrape_interval,
        bounds={metrics.REQUEST_DURATION.name: platform.latency_bounds},
        versions={name: use.version for name, use in platform.systems.items() if use.version is not None},
        exported=exported,
        test_series=[(entry.place, series) for entry in entries for series in _proof_series(entry)],
    )
    return Report(
        problems=sorted([*rules.run(all_rules), *of_routes]),
        unjudged=rules.unjudged(all_rules),
        turned_off=list(tuning.turned_off(platform)),
    )


def _proof_series(entry: inventory.Entry) -> Iterator[str]:
    """Series of a proof that a team wrote."""
    proof = entry.alert.proof
    if proof is not None and entry.place[:1] == ("rules",):
        yield from (*proof.fires, *proof.silent)


def _checks(alertmanager: Path | None) -> dict[str, Check]:
    """Of routes that were generated, an alert that none takes is found where it is written (`alert-unrouted`)."""
    return CHECKS if alertmanager else {name: check for name, check in CHECKS.items() if name != "alert-at-default"}


def _config(platform: Platform | None, alertmanager: Path | None, version: str | None) -> tuple[Config, Version]:
    try:
        stated = parse_version(version) if version else None
    except ValueError as error:
        raise MidwatchError(f"--alertmanager-version: {error}") from error
    if platform is not None and stated is not None:
        settings = platform.alertmanager.model_copy(update={"version": stated})
        platform = platform.model_copy(update={"alertmanager": settings})
    if alertmanager is not None:
        wanted = stated or _version_of(platform)
        return configuration.load(alertmanager, wanted), wanted
    if platform is None:
        raise AssertionError("one of the two is there")
    wanted = versions.version_of(platform)
    return configuration.parse(yamlfile.dump(generate.alertmanager_config(platform)), RENDERED, wanted), wanted


def _version_of(platform: Platform | None) -> Version:
    return versions.version_of(platform) if platform else amtool.installed() or OLDEST


def _labels_of_series(entries: list[inventory.Entry]) -> frozenset[str]:
    """Labels that come from series: those that expressions keep."""
    grouped = {label for entry in entries if entry.objective for label in entry.objective.slo.by}
    return frozenset({"model", "version", "instance", "job", *grouped})
