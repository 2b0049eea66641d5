"""Requests and errors of the target and of the control, as Prometheus counts them, between two looks."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.run.sequential import Counts
from midwatch import metrics, promql
from midwatch.prometheus import Client

Key = tuple[str, str]


class Traffic:
    """Remembers the counters, and tells what was added since. The target is one model, or some of its versions."""

    def __init__(self, client: Client, model: str, versions: Sequence[str]) -> None:
        self._client, self._model, self._versions = client, model, frozenset(versions)
        self._before: dict[str, dict[Key, float]] = {}

    def since(self) -> tuple[Counts, Counts]:
        """Target and control since the last call; zeros at the first. QueryError when Prometheus does not answer."""
        requests = self._added("requests", promql.select(metrics.REQUESTS))
        errors = self._added("errors", promql.select(metrics.REQUESTS, outcome="error"))
        target, control = ({"requests": 0.0, "errors": 0.0} for _ in range(2))
        for name, added in (("requests", requests), ("errors", errors)):
            for key, count in added.items():
                (target if self._is_target(key) else control)[name] += count
        # Both are asked one after the other: an error may be seen before its request.
        return tuple(  # type: ignore[return-value] # two of them
            Counts(requests=max(arm["requests"], arm["errors"]), errors=arm["errors"]) for arm in (target, control)
        )

    def _is_target(self, key: Key) -> bool:
        model, version = key
        return model == self._model and (not self._versions or version in self._versions)

    def _added(self, name: str, series: promql.Expr) -> dict[Key, float]:
        now = {
            (sample.labels["model"], sample.labels["version"]): sample.value
            for sample in self._client.query(promql.sum_by(series, "model", "version"))
        }
        before = self._before.get(name)
        self._before[name] = {**(before or {}), **now}
        if before is None:
            return {}
        # A counter that is lower than it was began again at 0; a new one began at 0 too.
        return {
            key: value - before[key] if value >= before.get(key, 0.0) and key in before else value
            for key, value in now.items()
        }
