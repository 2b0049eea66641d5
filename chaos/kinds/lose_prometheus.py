"""Prometheus is gone: here its process is killed and kept down, in a cluster its workload has no replica."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.kinds.base import DEADMAN, LosePart
from midwatch.spec import experiments as spec


@dataclass(frozen=True, kw_only=True)
class LosePrometheus(LosePart[spec.LosePrometheus]):
    """Take Prometheus away."""

    part = "prometheus"
    does = "lose Prometheus"
    alert = DEADMAN
    blinds = True
    silences = True
