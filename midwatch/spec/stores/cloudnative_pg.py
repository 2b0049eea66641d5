"""Stores of kind `cloudnative_pg`: a PostgreSQL cluster of CloudNativePG."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from midwatch.spec.base import Name, Strict
from midwatch.spec.stores.base import Store


class Fault(StrEnum):
    """What a drill can do to it."""

    SWITCHOVER = "switchover"


class CloudNativePg(Strict):
    """A PostgreSQL cluster of CloudNativePG; drills switch its primary over."""

    namespace: Name
    """Namespace of the cluster, labelled `midwatch.dev/drills=allowed`."""
    cluster: Name
    """Name of the Cluster."""
    endpoint_file: Path = Field(strict=False)
    """File with the connection string that clients use."""


class CloudNativePgStore(Store):
    """A store of kind `cloudnative_pg`."""

    kind: ClassVar[str] = "cloudnative_pg"
    faults: ClassVar[type[StrEnum]] = Fault

    cloudnative_pg: CloudNativePg

    @property
    def has_standby(self) -> bool:
        """Always."""
        return True

    @property
    def has_backup_times(self) -> bool:
        """From the operator's resources."""
        return True
