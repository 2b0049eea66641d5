"""The `evaluator` section: the service that evaluates promises which PromQL alone cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from midwatch.spec.scraped import Scraped
from midwatch.spec.values import Duration

if TYPE_CHECKING:
    from midwatch.spec.model import Platform


class Evaluator(Scraped):
    """The service of `midwatch evaluate serve`; it runs where something is promised that it evaluates."""

    listen: str = "127.0.0.1:9610"
    """HOST:PORT where it serves `/metrics`; off loopback it needs a token."""
    every: Duration = 60.0
    """How often it asks Prometheus, and judges."""


PROMISED: Mapping[str, Callable[[Platform], bool]] = {
    "fairness": lambda platform: any(model.fairness for model in platform.models),
    "attributions": lambda platform: any(model.explanations for model in platform.models),
}
"""Kinds of evaluation by name, and whether a platform promises something of the kind."""


def promised(platform: Platform) -> tuple[str, ...]:
    """Names of the kinds that this platform promises something of."""
    return tuple(name for name, is_promised in PROMISED.items() if is_promised(platform))
