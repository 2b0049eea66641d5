"""What Prometheus says of each model version now, and of the whole run at its end."""

from __future__ import annotations

from dataclasses import dataclass, field

from midwatch import metrics, promql, signals
from midwatch.prometheus import Client
from midwatch.promql import Expr
from midwatch.spec.model import Model

WINDOW = "15s"

Key = tuple[str, str]


@dataclass(kw_only=True)
class Figures:
    """Figures by column, then by model and version; a column lacks the versions that have no data for it."""

    columns: dict[str, dict[Key, float]] = field(default_factory=dict)

    def keys(self) -> list[Key]:
        """Every model and version with a figure."""
        return sorted({key for column in self.columns.values() for key in column})


def ask(client: Client, models: list[Model]) -> Figures:
    """Figures of the last moments; QueryError when Prometheus does not answer fully."""
    figures = Figures()
    for model in models:
        for name, expr in _expressions(model).items():
            column = figures.columns.setdefault(name, {})
            for sample in client.query(expr):
                column[sample.labels["model"], sample.labels["version"]] = sample.value
    return figures


def _expressions(model: Model) -> dict[str, Expr]:
    requests = promql.select(metrics.REQUESTS, model=model.name)
    errors = promql.select(metrics.REQUESTS, model=model.name, outcome="error")
    buckets = promql.select(metrics.REQUEST_DURATION, "_bucket", model=model.name)
    rate = promql.sum_by(promql.rate(requests, WINDOW), *signals.BY_VERSION)
    expressions = {
        "requests/s": rate,
        "errors": promql.sum_by(promql.rate(errors, WINDOW), *signals.BY_VERSION).over(rate, on=signals.BY_VERSION),
        "p99": promql.histogram_quantile(0.99, promql.sum_by(promql.rate(buckets, WINDOW), *signals.BY_VERSION, "le")),
    }
    if model.task == "classification":
        expressions["accuracy"] = signals.accuracy({"model": model.name}, *signals.BY_VERSION, window=WINDOW)
    if model.drift:
        expressions["drift votes"] = promql.max_by(
            promql.select(metrics.DRIFT_VOTES, model=model.name), *signals.BY_VERSION
        )
    return expressions


def totals(client: Client) -> dict[str, float | None]:
    """What the final document says of the run."""
    up = promql.scraped()
    return {
        # by its newest scrape; a request that failed has none
        "predictions_counted": client.value(promql.sum_by(promql.select(metrics.REQUESTS, outcome="ok"))),
        "labels_joined": client.value(promql.sum_by(promql.select(metrics.OUTCOMES))),
        "labels_waiting": client.value(promql.sum_by(promql.select(metrics.EXPORTER_LABELS_WAITING))),
        "predictions_waiting": client.value(promql.sum_by(promql.select(metrics.EXPORTER_PREDICTIONS_WAITING))),
        "targets_up": client.value(promql.sum_by(up)),
    }
