"""What every section `systems.NAME.observe` has: how often the owner is asked, and how much of it is published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from midwatch.spec.base import Finding, Strict
from midwatch.spec.placeholders import Value
from midwatch.spec.values import Duration

UNSEEN_INTERVALS = 3
"""Intervals without an answer after which nothing of it is published: two may fail while an owner restarts."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource of the Kubernetes API, such as `jobs` of the group `batch` in its version `v1`."""

    group: str
    version: str
    plural: str


class Observed(Strict):
    """What `midwatch systems export` asks the system for; without the section it is not asked."""

    system: ClassVar[str]
    """Name of the system."""
    interval: Annotated[Duration, Field(ge=1.0)] = 60.0
    """How often it is asked. After three of them without an answer, nothing of the last one is published."""
    timeout: Annotated[Duration, Field(ge=0.1)] = 10.0
    """How long one answer may take."""
    max_series: Annotated[int, Field(ge=1)] = 2_000
    """Most series that are published of it; what is left out is counted, and is a ticket."""

    @property
    def unseen(self) -> float:
        """Seconds without an answer after which nothing of the last one is published."""
        return UNSEEN_INTERVALS * self.interval

    @property
    def resources(self) -> tuple[Resource, ...]:
        """What is listed of the Kubernetes API, if anything is."""
        return ()

    @property
    def places(self) -> Sequence[str]:
        """Namespaces that the resources are listed in; without any, the whole cluster."""
        return ()

    def placeholders(self) -> dict[str, Value]:
        """What texts of `observed.yaml` are filled in with, by name."""
        return {
            "source": self.system,
            "interval": timedelta(seconds=self.interval),
            "unseen": timedelta(seconds=self.unseen),
        }

    def names(self, per: str, models: Sequence[str]) -> list[str] | None:
        """What an alert that is `per` a word is made for, once each; None for a word that is none of its own.

        `models` are those of the platform file.
        """
        return list(models) if per == "models" else None

    def find_problems(self, models: Sequence[str]) -> Iterator[Finding]:  # noqa: ARG002 - what subclasses compare with
        """What only the platform file as a whole shows, with places below `observe`; `models` are its models."""
        return iter(())


def outside(key: str, objects: Iterable[str], namespaces: Sequence[str]) -> Iterator[Finding]:
    """Objects of a key, as NAMESPACE/NAME, in namespaces that are not looked into; without any, all are."""
    for index, text in enumerate(objects):
        namespace = text.partition("/")[0]
        if namespaces and namespace not in namespaces:
            place = text if isinstance(objects, Mapping) else index
            yield (key, place), f"{text} is in no namespace that is looked into", f"add {namespace} to namespaces"
