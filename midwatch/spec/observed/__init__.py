"""What is observed of a system beside its own metrics: one module per system, with all that the platform file may say.

A module `SYSTEM` has one subclass of `Observed` for the section `systems.SYSTEM.observe`. The table is built by looking
at this folder, so that another system is a new module here and one in `exporters.systems.kinds`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BeforeValidator, Discriminator, Tag

from midwatch.spec.observed.base import Observed


def _class_of(system: str) -> type[Observed]:
    module = import_module(f"{__name__}.{system}")
    classes = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Observed)]
    (observed,) = (one for one in classes if one is not Observed)
    if observed.system != system:
        raise AssertionError(f"{module.__name__} has to define what is observed of {system}")
    return observed


KINDS = {module.name: _class_of(module.name) for module in iter_modules(__path__) if module.name != "base"}
"""Class of each system's section. It is built by looking at the folder, so that a new system is a new module."""


class _Section(dict[str, Any]):
    """What the platform file says under `observe`, with the name of the system that it stands under."""

    system: str


def with_names(systems: Any) -> Any:
    """The platform file's `systems`, each `observe` with the name of its system: it says which class it is of."""
    if not isinstance(systems, dict):
        return systems
    return {name: _named(name, use) for name, use in systems.items()}


def _named(name: Any, use: Any) -> Any:
    if not isinstance(use, dict) or not isinstance(use.get("observe"), dict):
        return use
    section = _Section(use["observe"])
    section.system = str(name)
    return {**use, "observe": section}


def _of_known(raw: Any) -> Any:
    """The section as it is; ValueError where it is none, or of a system that nothing is observed of."""
    if isinstance(raw, Observed) or (isinstance(raw, _Section) and raw.system in KINDS):
        return raw
    if isinstance(raw, _Section):
        raise ValueError(f"nothing is observed of {raw.system}; remove it: known are {', '.join(KINDS)}")
    raise ValueError(f"{raw!r} is not a mapping; write observe: {{}} for what is usual, or remove the key")


def _tag(raw: Any) -> str:
    """The branch of the union. Its brackets keep it out of the places that problems name."""
    return f"[{raw.system}]"


if TYPE_CHECKING:
    AnyObserved = Observed
else:
    AnyObserved = Annotated[
        Union[tuple(Annotated[one, Tag(f"[{system}]")] for system, one in KINDS.items())],  # noqa: UP007 - made at run time
        Discriminator(_tag),
        BeforeValidator(_of_known),
    ]
"""What is observed of any system."""
