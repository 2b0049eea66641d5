"""Whom `midwatch explain` asks: the platform file's Prometheus and logs, or those of a plane that runs here."""

from __future__ import annotations

from pathlib import Path

from midwatch import options
from midwatch.app.incident.explain import Sources
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client
from midwatch.spec import load
from midwatch.spec.model import Platform

CONFIRMED = "incidents.jsonl"
"""The log of confirmed causes in the state folder of a plane."""


def sources(file: Path | None, prometheus: str | None, state: Path | None) -> Sources:
    """Sources of a command; MidwatchError when nothing says which platform it is."""
    if state is not None:
        return _of_plane(state, file, prometheus)
    found = file or options.default_file()
    if found is None:
        raise MidwatchError("there is no platform file here; name one with -f, or a plane that runs with --state")
    platform = load.load_platform(found)
    return of_platform(platform, load.base_folder(found), Client.of(platform.prometheus, prometheus, retries=0))


def of_platform(platform: Platform, base: Path, client: Client) -> Sources:
    """Sources of a platform whose file is in a folder."""
    settings = platform.incidents
    logs = [base / path for path in settings.evidence]
    drills = base / platform.disaster_recovery.evidence.folder if platform.disaster_recovery else None
    if drills is not None and drills.exists():
        logs.append(drills)
    repositories = [base / path for path in settings.repositories] or _repository(base)
    return Sources(
        platform=platform,
        client=client,
        evidence=tuple(dict.fromkeys(logs)),
        repositories=tuple(repositories),
        confirmed=base / settings.confirmed,
        within=settings.answer_within,
        lookback=settings.lookback,
    )


def _of_plane(state: Path, file: Path | None, prometheus: str | None) -> Sources:
    from chaos.places.local.plane import LocalPlane

    plane = LocalPlane(state, file)
    part = plane.parts.get("prometheus")
    url = prometheus or (part.url if part else None)
    if url is None:
        raise MidwatchError(f"{state}: the plane there has no Prometheus")
    own = of_platform(plane.platform, load.base_folder(plane.platform_file), Client(url, retries=0))
    return Sources(
        platform=own.platform,
        client=own.client,
        evidence=(state, *own.evidence),
        # It runs what its file said when it started: later commits change nothing of it.
        repositories=own.repositories if plane.platform.incidents.repositories else (),
        confirmed=state / CONFIRMED,
        within=own.within,
        lookback=own.lookback,
    )


def _repository(base: Path) -> list[Path]:
    """The platform file's folder, where it is under Git."""
    return [base] if any((folder / ".git").exists() for folder in (base.resolve(), *base.resolve().parents)) else []
