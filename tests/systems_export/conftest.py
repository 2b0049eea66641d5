"""Platforms whose systems are asked for what they do not publish."""

from __future__ import annotations

from typing import Any

import pytest

from midwatch.spec.observed import KINDS
from tests.systems.conftest import platform_with, section, write_platform  # noqa: F401 - fixtures

OBSERVED: dict[str, dict[str, Any]] = {
    "mlflow": {"url": "http://mlflow:5000"},
    "argo_cd": {
        "url": "https://argocd",
        "applications": ["fraud-server"],
        "carries": {"fraud-server": {"model": "fraud", "image": ".*/fraud:v(.+)"}},
    },
}
"""A section of each system that can be asked."""


@pytest.fixture(params=sorted(KINDS))
def asked(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def observing(name: str, **changes: Any) -> dict[str, Any]:
    """A system's section that says what is asked."""
    return section(name, slos=None, observe={**OBSERVED[name], **changes})
