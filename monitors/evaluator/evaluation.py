"""What a kind of evaluation gives: the samples that are published of its promises, also while nothing can be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from midwatch.exposition import Sample
from midwatch.prometheus import Client
from midwatch.spec.model import Platform


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Samples of one evaluation of all promises of a kind.

    `when_blind` are published instead once Prometheus has not answered for a while: what is broken stays said, and
    nothing is said to be kept.
    """

    samples: tuple[Sample, ...]
    when_blind: tuple[Sample, ...]


Evaluate = Callable[[Client, float], Evaluation]
"""Evaluates every promise of a kind at a time, seconds since the epoch; QueryError where Prometheus does not answer.

The number of questions is fixed, however many promises there are.
"""

Prepare = Callable[[Platform], Evaluate]
"""Makes a kind's evaluation of a platform once, when the service starts; MidwatchError for what it cannot use."""
