"""How often the rules of a written proof are evaluated: as seldom as misses nothing of what its series do.

A proof of an alert that waits for a week has 40,000 evaluations at 15 s, of which all but a few see what the one before
saw. Its series are given as stretches (`1x20 _x20`): two evaluations in each stretch, and two in each range of the
expression, see every change that a finer grid sees. The first stretch is seen at its begin; what comes after it has to
be seen in time for an alert that waits to fire when it should.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from alerts import expressions
from midwatch.spec.rules import Proof
from midwatch.spec.values import parse_duration

MANY_EVALUATIONS = 500
"""Below so many evaluations promtool takes no longer than it takes to start."""
_REPEATED = re.compile(r"x(\d+)$")


def evaluation_seconds(proof: Proof, rule: Mapping[str, Any]) -> float:
    """Seconds between evaluations: a part of the stated time, so that the last one is at its end.

    Whole steps of the samples, or of milliseconds where few such steps divide the time.
    """
    samples = int(-(-proof.within // proof.interval))
    most = min([samples / MANY_EVALUATIONS, *(seconds / 2 / proof.interval for seconds in _lengths(proof, rule))])
    step = next(step for step in range(max(1, int(most)), 0, -1) if not samples % step)
    if 2 * step > int(most):
        return proof.interval * step
    milliseconds = round(samples * proof.interval * 1000)
    fewest = math.ceil(samples / max(1.0, most))
    evaluations = next((number for number in range(fewest, samples) if not milliseconds % number), samples)
    return milliseconds / evaluations / 1000


def _lengths(proof: Proof, rule: Mapping[str, Any]) -> Iterator[float]:
    """Seconds of every stretch of the series, but for the last of each, and of every range of the expression."""
    spare = 0.0 if "keep_firing_for" in rule else proof.within - parse_duration(rule.get("for", "0s"))
    for values in (*proof.fires.values(), *proof.silent.values()):
        lengths = [_samples(stretch) * proof.interval for stretch in values.split()[:-1]]
        yield from [max(lengths[0], spare), *lengths[1:]] if lengths else []
    tree = expressions.parse_or_none(rule["expr"])
    if tree is None:
        return
    for selector in expressions.selectors(tree):
        if selector.range_seconds:
            yield selector.range_seconds
    for length, step in expressions.subqueries(tree):
        yield step or length


def _samples(stretch: str) -> int:
    repeated = _REPEATED.search(stretch)
    return int(repeated[1]) if repeated else 1
