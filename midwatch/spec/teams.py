"""What the files of a team may say: its own owners and channels, nothing of the plane, no silence for others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from midwatch.errors import Problem
from midwatch.spec.base import Finding, Place, unknown
from midwatch.spec.document import Document, path_text

OF_THE_PLATFORM = ("teams", "plane_owner", "runbooks", "prometheus", "alertmanager", "grafana", "exporter", "gate")
"""Keys that bind everybody: they stand in files without a team."""


def problems_of(document: Document) -> list[Problem]:
    """Problems of all files that name a team."""
    if not document.teams:
        return []
    rights = _Rights(document)
    found = [*rights.of_everybody(), *rights.names(), *rights.silences()]
    return [*rights.unknown(), *rights.changes(), *(document.problem(*one) for one in found)]


class _Rights:
    """Who may name which owner and channel.

    A team has those that are called as it is, or so with a dash and more behind it (`payments`, `payments-pager`),
    and those that `teams` lists for it. A name that could be of two teams is of the one with the longer name.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        listed = document.values.get("teams")
        self._listed: dict[str, Any] = listed if isinstance(listed, dict) else {}
        self._teams = {*self._listed, *(team.name for team in document.teams.values())}

    def unknown(self) -> Iterator[Problem]:
        """Teams of files that `teams` does not know, where the platform has it."""
        for file, team in sorted(self._document.teams.items()):
            if self._listed and team.name not in self._listed:
                message, remedy = unknown(team.name, self._listed, "team")
                yield Problem(file=file, line=team.line, path="team", message=message, remedy=remedy)

    def changes(self) -> Iterator[Problem]:
        """What an overlay of a team changes that is not the team's: neither in a file of it, nor owned by it."""
        for change in self._document.changes:
            file, line = change.mark
            team = self._document.teams[file].name
            others = [one for one in sorted(change.before) if not self._is_of(team, one, change.owner)]
            if others:
                message = f"{others[0]} says it, which is not of {team}, and this file is of {team}"
                remedy = "ask its owner, or change it in a file without a team"
                yield Problem(file=file, line=line, path=path_text(change.place), message=message, remedy=remedy)

    def _is_of(self, team: str, file: str, owner: str | None) -> bool:
        """Whether what stands in a file is a team's: the file is, or it is nobody's and the entry's owner is."""
        whose = self._document.teams.get(file)
        return whose.name == team if whose else owner is not None and self._may(team, "owner", owner)

    def of_everybody(self) -> Iterator[Finding]:
        """What binds everybody, in a team's file."""
        for key in OF_THE_PLATFORM:
            for place in self._written_below((key,)):
                if team := self._team_at(place):
                    yield place, f"binds everybody, and this file is of {team}", "move it to a file without a team"
                    break

    def names(self) -> Iterator[Finding]:
        """Owners and channels of others that a team's file defines or uses."""
        for kind, place, name in self._named():
            team = self._team_at(place)
            if team and not self._may(team, kind, name):
                listed = f"teams.{team}.{kind}s"
                yield place, f"{name!r} is no {kind} of {team}", f"use {team} or {team}-…, or list it in {listed}"

    def silences(self) -> Iterator[Finding]:
        """Maintenance in a team's file that mutes alerts of whoever has them."""
        for index, one in enumerate(_list(self._document.values.get("maintenance"))):
            labels = one.get("labels") if isinstance(one, dict) else None
            place: Place = ("maintenance", index, "labels")
            team = self._team_at(place)
            if team and not (isinstance(labels, dict) and "owner" in labels):
                yield place, f"mutes alerts of others, and this file is of {team}", f"add owner: {team}"

    def _team_at(self, place: Place) -> str | None:
        team = self._document.teams.get(self._document.at(place)[0])
        return team.name if team else None

    def _may(self, team: str, kind: str, name: str) -> bool:
        own = [one for one in self._teams if name == one or name.startswith(f"{one}-")]
        listed = self._listed.get(team)
        return max(own, key=len, default="") == team or (
            isinstance(listed, dict) and name in _list(listed.get(f"{kind}s"))
        )

    def _named(self) -> Iterator[tuple[str, Place, str]]:
        """Kind, place and name of every owner and channel that is defined or used."""
        values = self._document.values
        for kind in ("owner", "channel"):
            yield from ((kind, (f"{kind}s", name), name) for name in _mapping(values.get(f"{kind}s")))
        for owner, given in _mapping(values.get("owners")).items():
            settings = _mapping(given)
            if isinstance(base := settings.get("extends"), str):
                yield "owner", ("owners", owner, "extends"), base
            for severity in ("page", "ticket"):
                for index, channel in enumerate(_list(settings.get(severity))):
                    yield "channel", ("owners", owner, severity, index), str(channel)
        yield from (("owner", place, name) for place, name in _owners_in(values, ()))

    def _written_below(self, place: Place) -> Iterator[Place]:
        """A key of the file, and the entries of its section: each may stand in another file."""
        value = self._document.values.get(str(place[0]))
        if isinstance(value, dict):
            yield from ((*place, key) for key in value)
        elif value is not None:
            yield place


def _owners_in(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Every text under a key `owner`, wherever it stands: models, rules, systems, labels of maintenance."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        if key == "owner" and isinstance(inner, str):
            yield (*place, key), inner
        else:
            yield from _owners_in(inner, (*place, key))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
