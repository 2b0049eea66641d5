"""The `incidents` section of the platform file: where changes are kept that no metric shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from midwatch.spec.base import Strict
from midwatch.spec.values import Duration

_Path = Annotated[Path, Field(strict=False)]


class Incidents(Strict):
    """What `midwatch explain` reads beside Prometheus, and where it keeps the causes that somebody confirmed.

    Paths are relative to the platform file.
    """

    evidence: list[_Path] = []
    """Evidence logs, and folders of them: of the gate, experiments, drills, retraining, the registry's history."""
    repositories: list[_Path] = []
    """Folders under Git whose commits change the platform; that of the platform file without any."""
    confirmed: Path = Field(default=Path("evidence/incidents.jsonl"), strict=False)
    """The evidence log of confirmed causes."""
    lookback: Duration = 6 * 3600.0
    """How long before an alert changes are looked for."""
    watch: bool = False
    """Whether alerts on models carry the line of `midwatch explain watch`, which has to run beside Prometheus."""
    answer_within: Duration = 1.2
    """How long sources may take; who has not answered by then is named."""
