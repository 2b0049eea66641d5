"""Alertmanager is gone: here its process is killed and kept down, in a cluster its workload has no replica."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.kinds.base import DEADMAN, LosePart
from midwatch.spec import experiments as spec


@dataclass(frozen=True, kw_only=True)
class LoseAlertmanager(LosePart[spec.LoseAlertmanager]):
    """Take Alertmanager away."""

    part = "alertmanager"
    does = "lose Alertmanager"
    alert = DEADMAN
