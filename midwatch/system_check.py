"""What is wrong with a system's folder: names, labels, bounds, settings, versions, and the traps of real systems.

The folder is looked at as the platform has it, with its settings and version; for a folder by itself, with the defaults
and every version in which something changes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from midwatch import promql, system_expressions, system_recordings
from midwatch.errors import InvalidInputError, MidwatchError, Problem
from midwatch.spec import placeholders, system_dialect, system_rules
from midwatch.spec.base import Place
from midwatch.spec.document import Document, read_file
from midwatch.spec.model import Platform
from midwatch.spec.system_rules import FILE, TARGETS, Installed
from midwatch.spec.system_settings import NamesSetting
from midwatch.spec.systems import SystemFile, SystemUse, Versioned, texts
from midwatch.system_expressions import Said

EXAMPLE = SystemUse(owner="owner", targets=["target:1"])
BUILT_IN = frozenset({"job", "each", "scrape_wait"})
"""Placeholders that are no settings."""

# Folders -----------------------------------------------------------------------------------------------------------


def find_problems(platform: Platform, document: Document) -> list[Problem]:
    """Problems that the platform file's settings and version make in its systems; the folders by themselves have none.

    `document` says where the platform file has each system.
    """
    problems = {
        _as_installed(one, place, message, remedy): None
        for one in system_rules.installed(platform)
        for place, message, remedy in system_expressions.problems(one, one.described)
    }
    return [document.problem(*one) for one in problems]


def _as_installed(system: Installed, place: Place, message: str, remedy: str) -> Said:
    """A problem of a system's text at the setting that the text is filled in with."""
    key, number = place[:2]
    where, title = system_rules.said(system.name, system.use, getattr(system.described, str(key))[number])
    return where, f"{title}: {message}", remedy


def find_warnings(platform: Platform, document: Document) -> list[Problem]:
    """What the stated version of a system does not have, so that it is left out."""
    return [
        document.problem(
            ("systems", one.name, "version"),
            f"{title} is left out: {_range(part)}, and this is {system_rules.version_text(one.version)}",
            "nothing else says what it would have said; see the system's page of docs/systems.md",
        )
        for one in system_rules.installed(platform)
        if one.use.version is not None
        for title, part in one.left_out()
    ]


def _range(part: Versioned) -> str:
    since = f"it needs {system_rules.version_text(part.since)} or newer" if part.since else ""
    until = f"it ended with {system_rules.version_text(part.until)}" if part.until else ""
    return " and ".join(text for text in (since, until) if text)


def check_folder(folder: Path) -> list[Problem]:
    """Problems of a system's folder, each with file and line."""
    try:
        document = read_file(folder / FILE)
        described = SystemFile.model_validate(document.values)
    except InvalidInputError as error:
        return list(error.problems)
    except ValidationError as error:
        return [_form(document, dict(one)) for one in error.errors(include_url=False)]
    problems = dict.fromkeys(
        (
            *_settings(described),
            *_clashes(described),
            *_callers(described),
            *_runbooks(described, folder),
            *_recordings(described, folder),
            *of_versions(folder.name, described),
        )
    )
    return [*document.problems, *(document.problem(*one) for one in problems)]


def _form(document: Document, error: dict[str, Any]) -> Problem:
    """A problem of form; keys that pydantic puts into a location for the branches of a union are left out."""
    place: list[str | int] = []
    values: Any = document.values
    for part in error["loc"]:
        if (isinstance(values, dict) and part in values) or (isinstance(values, list) and isinstance(part, int)):
            values = values[part]
            place.append(part)
    missing = f"{error['loc'][-1]}: missing" if error["type"] == "missing" else error["msg"]
    return document.problem(tuple(place), missing, "see docs/contributing/systems.md")


def _recordings(described: SystemFile, folder: Path) -> Iterator[Said]:
    try:
        recordings = system_recordings.load(folder)
    except MidwatchError as error:
        yield ("metrics",), str(error), ""
        return
    yield from system_recordings.find_problems(described, recordings)


def of_versions(name: str, described: SystemFile) -> Iterator[Said]:
    """Problems in every version in which something changes."""
    for version in versions(described):
        use = EXAMPLE.model_copy(update={"version": version})
        yield from system_expressions.problems(Installed(name, use, described, 15.0), described)


def versions(described: SystemFile) -> list[tuple[int, ...]]:
    """The oldest version that is described, the newest that was read, and those between them that change something."""
    oldest, read = described.versions.oldest, described.versions.read
    changes = {oldest, read}
    for one in _versioned(described):
        changes |= {version for version in (one.since, one.until) if version is not None}
    for metric in described.metrics.values():
        changes |= metric.changes()
    return sorted(version for version in changes if oldest <= version <= read)


def _versioned(described: SystemFile) -> list[Versioned]:
    return [*described.slos, *described.alerts, *described.panels, *described.annotations]


# Settings and pages ------------------------------------------------------------------------------------------------


def _settings(described: SystemFile) -> Iterator[Said]:
    """Settings that nothing uses, and placeholders without a setting."""
    places: list[tuple[Place, Any]] = [
        ((key, number), one)
        for key in ("slos", "alerts", "panels", "annotations")
        for number, one in enumerate(getattr(described, key))
    ]
    used = {alert.per for alert in described.alerts}
    for place, one in places:
        named = {name for text in texts(one) for name in placeholders.names(text)}
        used |= named
        for name in sorted(named - set(described.settings) - BUILT_IN):
            close = difflib.get_close_matches(name, described.settings, 1)
            yield place, f"<{name}> is no setting", f"did you mean <{close[0]}>?" if close else "add it to settings"
    for name in described.settings:
        if name not in used:
            yield ("settings", name), "nothing uses this setting", "remove it"
    for number, alert in enumerate(described.alerts):
        is_names = alert.per is not None and isinstance(described.settings.get(alert.per), NamesSetting)
        if alert.per not in (None, TARGETS) and not is_names:
            yield ("alerts", number, "per"), f"{alert.per} is no setting of names", "write targets, or such a setting"


def _clashes(described: SystemFile) -> Iterator[Said]:
    """Labels that the target has as well: Prometheus keeps the system's own as `exported_…`."""
    if described.scrape.honor_labels:
        return
    for name, metric in described.metrics.items():
        for label in sorted(promql.TARGET_LABELS & set(metric.labels)):
            message = f"the target has the label {label}, too: this one is kept as exported_{label}"
            yield ("metrics", name), message, "write scrape: {honor_labels: true}"


def _callers(described: SystemFile) -> Iterator[Said]:
    """A guard that lets all pass while it is down, where no alert reads what its callers count."""
    read = {name for alert in described.alerts for name in system_dialect.words(alert.expr)}
    if described.counted_by and not read & set(described.counted_by):
        message = "no alert reads what counts requests that pass while this is down"
        yield ("counted_by",), message, f"alert on {described.counted_by[0]}"


def _observed_alerts(folder: Path) -> set[str]:
    """Names of alerts on what the system is asked for."""
    file = folder / system_rules.OBSERVED
    if not file.is_file():
        return set()
    return {str(alert["alert"]) for alert in read_file(file).values["alerts"]}


def _runbooks(described: SystemFile, folder: Path) -> Iterator[Said]:
    """Every alert has a page with its name as title, every panel names one, and no page is of nothing."""
    pages = {page.stem: page for page in sorted((folder / "runbooks").glob("*.md"))}
    alerts = {alert.alert for alert in described.alerts}
    alerts |= _observed_alerts(folder)
    for number, alert in enumerate(described.alerts):
        page = pages.get(alert.alert)
        if page is None:
            yield ("alerts", number, "alert"), f"{alert.alert} has no runbook", f"write runbooks/{alert.alert}.md"
        elif page.read_text(encoding="utf-8").partition("\n")[0] != f"# {alert.alert}":
            yield ("alerts", number, "alert"), f"runbooks/{page.name} has another title", f"write # {alert.alert}"
    for number, panel in enumerate(described.panels):
        if panel.runbook not in pages:
            yield ("panels", number, "runbook"), f"there is no runbooks/{panel.runbook}.md", "name one that is there"
    for name in sorted(set(pages) - alerts):
        yield ("alerts",), f"runbooks/{name}.md is of no alert", "remove it"
