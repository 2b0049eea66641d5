"""The `incidents` section: where changes are kept that no metric shows, and who says of each alert what changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from midwatch.spec.scraped import Scraped
from midwatch.spec.values import Duration

_Path = Annotated[Path, Field(strict=False)]


class Incidents(Scraped):
    """What `midwatch explain` reads beside Prometheus, where it keeps confirmed causes, and its service.

    Paths are relative to the platform file.
    """

    listen: str = "127.0.0.1:9570"
    """HOST:PORT where `midwatch explain watch` serves `/metrics`; off loopback it needs a token."""
    evidence: list[_Path] = []
    """Evidence logs, and folders of them: of the gate, experiments, drills, retraining, the registry's history."""
    repositories: list[_Path] = []
    """Folders under Git whose commits change the platform; that of the platform file without any."""
    confirmed: Path = Field(default=Path("evidence/incidents.jsonl"), strict=False)
    """The evidence log of confirmed causes."""
    lookback: Duration = 6 * 3600.0
    """How long before an alert changes are looked for."""
    watch: bool = False
    """Whether alerts on models carry the line of `midwatch explain watch`: then it is scraped and runs in clusters."""
    answer_within: Duration = 1.2
    """How long sources may take; who has not answered by then is named."""
