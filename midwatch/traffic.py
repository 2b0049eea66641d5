"""How much is asked of models, and how it is answered, by whatever counts it: our events, or their servers' metrics.

Rules record what model servers count in one form (`metrics.SERVED_REQUESTS` and the like). Of a model whose server
counts its requests the records are shown, of all others the events.
"""

from __future__ import annotations

from dataclasses import dataclass

from midwatch import metrics, promql, signals
from midwatch.metrics import Metric
from midwatch.promql import Expr
from midwatch.signals import RATE, Selection
from midwatch.spec.model import Platform

_BY_SERVERS = {"serving": promql.not_equal("midwatch")}


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Expressions of a platform's models; `has_servers` says whether servers count requests of any of them."""

    has_servers: bool

    @property
    def names(self) -> Metric:
        """The metric whose labels name every model and version."""
        return metrics.SERVED_REQUESTS if self.has_servers else metrics.REQUESTS

    def requests(self, where: Selection, *by: str) -> Expr:
        """Requests per second."""
        if not self.has_servers:
            return signals.requests(where, *by)
        return promql.sum_by(self._counted(where), *by)

    def errors(self, where: Selection, *by: str) -> Expr:
        """Share of requests that failed; 0 where none did, and nothing where nobody counts failures."""
        if not self.has_servers:
            return signals.errors(where, *by)
        known = self._counted(where, outcome=promql.matches("ok|error"))
        failed = promql.sum_by(self._counted({**where, "outcome": "error"}), *by)
        total = promql.sum_by(known, *by)
        share = failed.or_(total * 0)
        return share.over(total, on=by) if by else share / total

    def quantile(self, share: float, where: Selection, *by: str) -> Expr:
        """Quantile of the time to answer; nothing of a server without a histogram."""
        if not self.has_servers:
            return signals.quantile(metrics.REQUEST_DURATION, share, where, *by)
        return self._quantile(metrics.SERVED_DURATION, metrics.REQUEST_DURATION, share, where, *by)

    def buckets(self, where: Selection) -> Expr:
        """Requests per second by bucket of the time to answer, for a heatmap."""
        if not self.has_servers:
            return signals.buckets(metrics.REQUEST_DURATION, where)
        return promql.sum_by(_either(metrics.SERVED_DURATION, where, _rates(metrics.REQUEST_DURATION, where)), "le")

    def mean(self, where: Selection) -> Expr:
        """Mean time to answer, of every server that says it in any form."""
        spent, timed = (signals.total(metric, where) for metric in (metrics.SERVED_TIME, metrics.SERVED_TIMED))
        return spent / (timed > 0)

    def in_flight(self, where: Selection, *by: str) -> Expr:
        """Requests that servers are working on."""
        own = signals.series(metrics.SERVER_IN_FLIGHT, where)
        return promql.sum_by(_either(metrics.SERVED_RUNNING, where, own) if self.has_servers else own, *by)

    # Language models -------------------------------------------------------------------------------------------------

    def first_token(self, share: float, where: Selection, *by: str) -> Expr:
        """Quantile of the time to the first token."""
        return self._quantile(metrics.SERVED_FIRST_TOKEN, metrics.TIME_TO_FIRST_TOKEN, share, where, *by)

    def per_token(self, share: float, where: Selection, *by: str) -> Expr:
        """Quantile of the time that a token takes."""
        return self._quantile(metrics.SERVED_PER_TOKEN, metrics.TIME_PER_OUTPUT_TOKEN, share, where, *by)

    def tokens(self, where: Selection, *by: str) -> Expr:
        """Tokens per second."""
        own = promql.rate(signals.series(metrics.TOKENS, where), RATE)
        return promql.sum_by(_either(metrics.SERVED_TOKENS, where, own), *by)

    def _counted(self, where: Selection, **recorded: promql.Matcher) -> Expr:
        """Requests per second, each model by one who counts them; `recorded` narrows the records only."""
        own = promql.rate(signals.series(metrics.REQUESTS, where), RATE)
        return _either(metrics.SERVED_REQUESTS, {**recorded, **where}, own)

    def _quantile(self, record: Metric, own: Metric, share: float, where: Selection, *by: str) -> Expr:
        both = promql.sum_by(_either(record, where, _rates(own, where)), *by, "le")
        return promql.histogram_quantile(share, both)


def of_platform(platform: Platform) -> Traffic:
    """The traffic of a platform's models."""
    return Traffic(has_servers=any(model.serving != "midwatch" for model in platform.models))


def _either(record: Metric, where: Selection, own: Expr) -> Expr:
    """Records of models that servers count, and what is our own of all others."""
    return signals.series(record, {**where, **_BY_SERVERS}).or_(own, on=("model",))


def _rates(histogram: Metric, where: Selection) -> Expr:
    return promql.rate(signals.series(histogram, where, "_bucket"), RATE)
