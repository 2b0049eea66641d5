"""What is said of a canary as a whole, and of one criterion."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitors.canary.criteria import Evidence
from monitors.canary.forecast import Forecast
from monitors.canary.mannwhitney import Classified


class Verdict(StrEnum):
    """What is said of a canary; of two versions compared both ways, that they differ (fail) or do not (pass)."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Verdict on one criterion; `evidence` of a counted one, `classified` of a gauge, neither without data."""

    name: str
    metric: str
    verdict: Verdict
    reason: str
    evidence: Evidence | None = None
    classified: Classified | None = None
    needs: Forecast | None = None
