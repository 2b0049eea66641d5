"""Versions that the platform file says of Prometheus and Alertmanager, and those of the programs that are here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from midwatch import programs
from midwatch.errors import MidwatchError, Problem
from midwatch.programs import Version, version_text
from midwatch.spec import model
from midwatch.spec.alertmanager_fields import OLDEST
from midwatch.spec.document import Document
from midwatch.spec.model import Platform

_OLDEST = {"prometheus": model.OLDEST_PROMETHEUS, "alertmanager": OLDEST}


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A section of the platform file with the version that it says, and a program here that is of another one."""

    section: str
    stated: Version
    program: str
    found: Version

    @property
    def message(self) -> str:
        """Both versions in words."""
        found = version_text(self.found)
        return f"{self.section}.version is {version_text(self.stated)}, and {self.program} on PATH is {found}"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return f"put {self.program} of {version_text(self.stated)} first on PATH"


def of_tools(platform: Platform) -> list[Mismatch]:
    """Tools that check for another version than the platform file says."""
    return list(_mismatches(platform, {"prometheus": "promtool", "alertmanager": "amtool"}))


def of_servers(platform: Platform) -> list[Mismatch]:
    """Servers here that are of another version than the platform file says."""
    return list(_mismatches(platform, {"prometheus": "prometheus", "alertmanager": "alertmanager"}))


def _mismatches(platform: Platform, names: dict[str, str]) -> Iterator[Mismatch]:
    stated = {"prometheus": platform.prometheus.version, "alertmanager": platform.alertmanager.version}
    for section, program in names.items():
        version = stated[section]
        found = None if version is None else programs.version(program)
        if version is not None and found is not None and found != version:
            yield Mismatch(section=section, stated=version, program=program, found=found)


def warnings(mismatches: Sequence[Mismatch], document: Document) -> Iterator[Problem]:
    """What a check says of each."""
    for one in mismatches:
        place = (one.section, "version")
        yield document.problem(place, one.message, f"{one.remedy}: this one judges for its own version")


def explained(problems: Sequence[Problem], mismatches: Sequence[Mismatch]) -> Iterator[Problem]:
    """Problems that programs found; those of a mismatched program say that it may be the reason."""
    by_program = {one.program: one for one in mismatches}
    for problem in problems:
        mismatch = by_program.get(problem.message.partition(":")[0])
        yield replace(problem, remedy=f"{mismatch.message}: {mismatch.remedy}") if mismatch else problem


def as_running(platform: Platform) -> Platform:
    """The platform for the servers that are on PATH, which will read what is written; MidwatchError for one too old."""
    found = {name: programs.version(name) for name in _OLDEST}
    for name, version in found.items():
        if version is not None and version < _OLDEST[name]:
            oldest = version_text(_OLDEST[name])
            raise MidwatchError(
                f"{programs.path_of(name)} is {version_text(version)}, and {oldest} is the oldest that works"
            )
    sections = {
        "prometheus": platform.prometheus.model_copy(update=_known(found["prometheus"])),
        "alertmanager": platform.alertmanager.model_copy(update=_known(found["alertmanager"])),
    }
    return platform.model_copy(update=sections)


def _known(version: Version | None) -> dict[str, Version]:
    """What to change of a section; nothing where a program does not say its version."""
    return {} if version is None else {"version": version}
