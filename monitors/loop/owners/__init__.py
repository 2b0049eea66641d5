"""Owners of steps: one module each, with the steps that it can see and what builds it from the platform file.

A module has `STEPS`, and `build(place)`, which is an owner, or a text: why nobody can be asked. The table is built by
looking at the folder, so that another owner is a new module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules

from monitors.loop.episode import OF_VERSION, Step
from monitors.loop.owner import Owner, Place

Build = Callable[[Place], Owner | str]


def _kind(name: str) -> tuple[frozenset[Step], Build]:
    module = import_module(f"{__name__}.{name}")
    return module.STEPS, module.build


KINDS = {module.name: _kind(module.name) for module in iter_modules(__path__)}
"""Steps and builder of each owner."""


@dataclass(frozen=True, kw_only=True)
class Owners:
    """Who can be asked about a model's episodes, and why nobody can be asked about the other steps."""

    owners: tuple[Owner, ...]
    unobserved: dict[Step, str]


def of_model(place: Place) -> Owners:
    """The owners that the platform file names."""
    built = {name: build(place) for name, (_, build) in KINDS.items()}
    found = tuple(one for one in built.values() if not isinstance(one, str))
    seen = {step for owner in found for step in owner.steps}
    reasons = {
        step: "; ".join(why for name, why in built.items() if isinstance(why, str) and step in KINDS[name][0])
        for step in Step
    }
    unobserved = {step: why for step, why in reasons.items() if why and step not in seen}
    return Owners(owners=found, unobserved=_without_version(unobserved) | unobserved)


def _without_version(unobserved: Mapping[Step, str]) -> dict[Step, str]:
    """Steps of the new version, which nobody can be asked about where nobody says which one it is."""
    why = unobserved.get(Step.REGISTERED)
    return {} if why is None else dict.fromkeys(OF_VERSION, f"nobody says which version is the new one: {why}")
