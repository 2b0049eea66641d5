"""What the gate publishes of itself: the last verdict of each comparison, and its answers by verdict and duration.

Of a verdict its samples are kept, and not the counts that it was made from: a day's are two megabytes.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterator

from midwatch import exposition, metrics
from monitors.canary.counts import Counts
from monitors.canary.document import e_value
from monitors.canary.findings import Verdict
from monitors.canary.judge import Judgement
from monitors.gate.refusals import Reason

_log = logging.getLogger(__name__)

MAX_COMPARISONS = 1000
"""Comparisons whose last verdict is published, of some twenty series each; the oldest goes first, and is counted."""

Key = tuple[str, str, str]
"""Model, baseline, canary."""


class Published:
    """The last verdict of each comparison, and counts of answers, as metric families."""

    def __init__(self) -> None:
        self._last: OrderedDict[Key, list[exposition.Sample]] = OrderedDict()
        self._answers: Counter[str] = Counter({verdict.value: 0 for verdict in Verdict})
        self._refusals: Counter[str] = Counter({reason.value: 0 for reason in Reason})
        self._durations = [0] * (len(metrics.GATE_BUCKETS) + 1)
        self._seconds = 0.0
        self._dropped = 0

    def publish(self, counts: Counts, judgement: Judgement, verdict: str) -> None:
        """Take a verdict for the next scrape."""
        key = (counts.model, counts.baseline, counts.canary)
        self._last[key] = list(_samples(counts, judgement, verdict))
        self._last.move_to_end(key)
        while len(self._last) > MAX_COMPARISONS:
            (model, baseline, canary), _ = self._last.popitem(last=False)
            self._dropped += 1
            _log.warning("the verdict on %s, %s against %s, is published no more", model, canary, baseline)

    def count(self, verdict: str, seconds: float) -> None:
        """Count an answer and its time."""
        self._answers[verdict] += 1
        self._seconds += seconds
        within = sum(seconds > bound for bound in metrics.GATE_BUCKETS)
        self._durations[within] += 1

    def refuse(self, reason: Reason) -> None:
        """Count a question that is refused."""
        self._refusals[reason.value] += 1

    def text(self) -> bytes:
        """Every metric with its samples."""
        answers = [
            (metrics.CANARY_GATE_REQUESTS, {"verdict": verdict}, float(count))
            for verdict, count in sorted(self._answers.items())
        ]
        refusals = [
            (metrics.CANARY_GATE_REFUSED, {"reason": reason}, float(count))
            for reason, count in sorted(self._refusals.items())
        ]
        durations = exposition.Histogram(
            metrics.CANARY_GATE_DURATION, {}, metrics.GATE_BUCKETS, self._durations, self._seconds
        )
        dropped: exposition.Sample = (metrics.CANARY_GATE_DROPPED, {}, float(self._dropped))
        verdicts = (sample for samples in self._last.values() for sample in samples)
        return exposition.text([*verdicts, *answers, *refusals, dropped], [durations])


def _samples(counts: Counts, judgement: Judgement, verdict: str) -> Iterator[exposition.Sample]:
    of = {"model": counts.model, "baseline": counts.baseline, "canary": counts.canary}
    for one in Verdict:
        yield metrics.CANARY_VERDICT, {**of, "verdict": one.value}, float(one.value == verdict)
    for direction, level in (("fail", judgement.fail_level), ("pass", judgement.pass_level)):
        yield metrics.CANARY_E_VALUE_LIMIT, {**of, "direction": direction}, e_value(level)
    for arm, requests in (("baseline", counts.baseline_requests), ("canary", counts.canary_requests)):
        yield metrics.CANARY_REQUESTS, {**of, "arm": arm}, float(requests.sum())
    for finding in judgement.findings:
        if finding.evidence is None:
            continue
        named = {**of, "criterion": finding.name}
        reached = {"fail": finding.evidence.reached_fail, "pass": finding.evidence.reached_pass}
        for direction, log in reached.items():
            yield metrics.CANARY_E_VALUE, {**named, "direction": direction}, e_value(log)
        if finding.evidence.interval.ratio is not None:
            yield metrics.CANARY_EFFECT_RATIO, named, finding.evidence.interval.ratio
