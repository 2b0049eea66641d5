"""What is asked of Prometheus: selectors of a comparison's series. Pure text."""

from __future__ import annotations

from dataclasses import dataclass

from midwatch import metrics, promql, serving
from midwatch.spec import canary as spec
from monitors.canary.question import Question

ARMS = ("baseline", "canary")


@dataclass(frozen=True)
class Expressions:
    """Selectors for one question under a model's settings."""

    question: Question
    settings: spec.Canary

    def matchers(self) -> tuple[str, str]:
        """Matchers of the baseline's series, and of the canary's."""
        baseline, canary = self._of_arms()
        if self.question.region is None or not self.question.is_labelled:
            return baseline, canary
        region = promql.matcher("region", self.question.region)
        return f"{baseline}, {region}", f"{canary}, {region}"

    def _of_arms(self) -> tuple[str, str]:
        own, names = self.settings.selectors, (self.question.baseline, self.question.canary)
        if own is None:
            return promql.matcher(self.settings.label, names[0]), promql.matcher(self.settings.label, names[1])
        return self._filled_in(own.baseline), self._filled_in(own.canary)

    def _filled_in(self, matchers: str) -> str:
        for arm, name in zip(ARMS, (self.question.baseline, self.question.canary), strict=True):
            quoted = promql.matcher("x", name).removeprefix('x="').removesuffix('"')
            matchers = matchers.replace("{" + arm + "}", quoted)
        return matchers

    def traffic(self) -> tuple[str, ...]:
        """Counters of the arms' requests: Midwatch's own, unless every criterion has counters of its own."""
        first = self.settings.criteria[0]
        if all(isinstance(one, spec.Counters) for one in self.settings.criteria) and isinstance(first, spec.Counters):
            return (first.total,)
        return self.requests()

    def errors(self) -> list[str]:
        """Counters of requests; where failures have a counter of their own, it comes last."""
        served = self.question.served
        return [*self.requests(), *(() if served is None else served.failures)]

    def requests(self) -> tuple[str, ...]:
        """The model's requests by outcome; a server may count those that failed apart."""
        if self.question.served is not None:
            return self.question.served.requests
        return (self.own(metrics.SERVER_REQUESTS if self.settings.source == "servers" else metrics.REQUESTS),)

    def durations(self, suffix: str = "") -> str:
        """The model's histogram of latencies; `_bucket` of a classic one."""
        served = self.question.served
        if served is not None and served.duration is not None:
            return str(serving.selector(served.duration, suffix))
        by_server = self.settings.source == "servers"
        return self.own(metrics.SERVER_REQUEST_DURATION if by_server else metrics.REQUEST_DURATION, suffix)

    def own(self, metric: metrics.Metric, suffix: str = "") -> str:
        """A metric of the model."""
        return str(promql.select(metric, suffix, model=self.question.model))
