"""What a drill asks of owners by itself: Prometheus, the registry, the run's owner; and the loop's own log.

Each that does not answer is a fact, too. Nothing is judged here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from midwatch import cluster_objects, evidence, kubernetes, metrics, promql, registry, serving
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client
from midwatch.registry import Registered
from midwatch.rest import Api
from midwatch.spec.model import Model
from monitors.drift import trigger
from monitors.loop import episode_log
from monitors.loop.drill.facts import AnyFact, Blind, Counted, Registry, RegistryVersion, Run, Told
from monitors.loop.episode import Began, Seen, Step
from monitors.loop.owners import mlflow, tekton

PROMOTED_BY = "midwatch.promoted_by"
"""Tag of a version with who promoted it: the registry keeps no actor."""

_TEKTON_RUN = "/apis/tekton.dev/v1/namespaces/{}/pipelineruns/{}"


def now() -> dict[str, Any]:
    """Both clocks, as every fact has them."""
    return {"at": time.monotonic_ns(), "wall": time.time()}


@dataclass(kw_only=True)
class Looks:
    """Asks about one model, the copy. `name` is its registered model, `champion_role` as the registry's section says.

    `log` is the loop's log of episodes, of which records are read from where the last look ended.
    """

    model: Model
    client: Client
    api: Api
    name: str
    champion: Callable[[Registered], str]
    log: Path
    timeout: float
    _read: int = 0
    _mine: set[str] = field(default_factory=set)
    _runs: dict[tuple[str, str], str] = field(default_factory=dict)

    def look(self) -> Iterator[AnyFact]:
        """Ask everybody once."""
        yield from self._or_blind("prometheus", self._counted)
        yield from self._or_blind("registry", self._registry)
        yield from self._or_blind("loop", self._told)
        for key in list(self._runs):
            yield from self._or_blind(key[0], partial(self._run, *key))

    def _or_blind(self, source: str, ask: Callable[[], list[AnyFact]]) -> list[AnyFact]:
        try:
            return ask()
        except MidwatchError as error:
            return [Blind(**now(), source=source, why=str(error)[:300])]

    def _counted(self) -> list[AnyFact]:
        """Requests by version, as whoever counts them for this model does; windows of every judge."""
        profile = serving.profile_of(self.model)
        label = profile.version_label or "version"
        requests: dict[str, float] = {}
        for text in profile.requests:
            for sample in self.client.query(promql.sum_by(serving.selector(text), label)):
                version = sample.labels.get(label, "")
                requests[version] = requests.get(version, 0.0) + sample.value
        judged = promql.select(metrics.DRIFT_WINDOWS, model=self.model.name)
        windows: dict[str, dict[str, float]] = {}
        for sample in self.client.query(promql.sum_by(judged, "version", "verdict")):
            windows.setdefault(sample.labels["version"], {})[sample.labels["verdict"]] = sample.value
        return [Counted(**now(), requests=requests, windows=windows)]

    def _registry(self) -> list[AnyFact]:
        found = registry.ask(self.api, self.name)
        versions = tuple(
            RegistryVersion(
                number=one.number, created=one.created, run_id=one.run_id, promoted_by=one.tags.get(PROMOTED_BY, "")
            )
            for one in found.versions
        )
        return [Registry(**now(), versions=versions, champion=self.champion(found))]

    def _told(self) -> list[AnyFact]:
        """What is new in the loop's log about the copy."""
        records = evidence.read(self.log)
        if len(records) < self._read:
            raise MidwatchError(f"{self.log} has become shorter")
        new, self._read = records[self._read :], len(records)
        return [fact for one in new for fact in self._of_record(one)]

    def _of_record(self, record: evidence.Record) -> Iterator[AnyFact]:
        data = record.data
        if record.kind == Began.__struct_config__.tag and data.get("model") == self.model.name:
            self._mine.add(str(data["episode"]))
        if data.get("episode") not in self._mine:
            return
        yield Told(**now(), kind=record.kind, data=data)
        if record.kind == Seen.__struct_config__.tag:
            seen = episode_log.record_of(record.kind, data)
            if isinstance(seen, Seen) and seen.step is Step.RUN_STARTED:
                self._runs[seen.source, seen.id] = seen.episode

    # The run, as its owner has it ------------------------------------------------------------------------------------

    def _run(self, source: str, number: str) -> list[AnyFact]:
        """Asked for until it is found once: runs are pruned."""
        found = {tekton.Tekton.source: self._of_tekton, mlflow.Mlflow.source: self._of_mlflow}[source](number)
        if found is not None:
            del self._runs[source, number]
        return [] if found is None else [found]

    def _of_tekton(self, number: str) -> Run | None:
        namespace, _, name = number.partition("/")
        run = kubernetes.find(_TEKTON_RUN.format(namespace, name), timeout=self.timeout)
        if run is None:
            return None
        labels = run["metadata"].get("labels") or {}
        episode = labels.get(trigger.EPISODE_LABEL, "")
        by_name = {trigger.run_name(self.model.name, one): one for one in self._mine}
        return Run(
            **now(),
            source="tekton",
            id=number,
            created=cluster_objects.created(run),
            request=labels.get(tekton.EVENT, ""),
            episode=episode or by_name.get(name, ""),
        )

    def _of_mlflow(self, number: str) -> Run | None:
        run = registry.run(self.api, number)
        if run is None or run.started is None:
            return None
        return Run(**now(), source="mlflow", id=number, created=run.started, episode=run.tags.get(mlflow.EPISODE, ""))
