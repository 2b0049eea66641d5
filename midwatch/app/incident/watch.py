"""Explains alerts while they are pending, and publishes one line for each: the rules' annotations read it from there.

Nothing waits for it. An alert that has no line yet goes out without one; where this process is away its lines
are not scraped any more, and the annotations are empty.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event

import midwatch
from midwatch import exposition, http_service, metrics, upstream
from midwatch.app.incident import explain
from midwatch.app.incident.explain import Sources
from midwatch.errors import MidwatchError
from midwatch.prometheus import QueryError
from monitors.incident.records import Incident

AGAIN_SECONDS = 30.0
"""After so long an alert that still holds is explained anew: by then there is more to see."""

MOST_ALERTS = 20
"""Alerts that have a line; when more hold at once, nobody reads them one by one."""

MOST_AT_ONCE = 4
"""Alerts that are explained between two looks, so that new ones do not wait for long."""

MOST_LINE = 400
"""Characters of a line: it is a label's value."""

KEY = ("alertname", "model", "version", "slo")
"""Labels that a rule's annotation finds its line by."""

Key = tuple[str, ...]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Said:
    line: str
    at: float


class Watch:
    """The lines of the alerts that hold. `explained` answers for one alert; `clock` gives seconds since the epoch."""

    def __init__(
        self,
        sources: Sources,
        *,
        explained: Callable[[Sources, str, Mapping[str, str], float, float], Incident] = explain.of_alert,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sources, self._explained, self._clock = sources, explained, clock
        self._said: Mapping[Key, _Said] = {}  # another one at each change: whoever scrapes reads it meanwhile
        self._last_look, self.problem = 0.0, "Prometheus has not been asked yet"

    async def serve(self, every: float, address: http_service.Address, started: Callable[[str], None]) -> None:
        """Look at the alerts each `every` seconds, and publish until SIGTERM or SIGINT; ServeError on a taken port."""
        published = http_service.Published(text=self.text, problem=lambda: self.problem)
        beside = {"watch": lambda ended: self.run(every, ended)}
        await http_service.publish(published, address, beside=beside, started=started)

    def run(self, every: float, ended: Event) -> None:
        """Look again and again until it is ended; a look that fails is said, and the next may well succeed."""
        while not ended.is_set():
            try:
                self.look()
            except Exception as error:
                _log.exception("a look was not finished")
                self.problem = f"unexpected {type(error).__name__}: {error}"
            ended.wait(every)

    def look(self) -> None:
        """Explain what is new or was explained long ago; forget what no longer holds.

        A Prometheus that does not answer changes nothing, and lines that it cannot confirm are gone after a while.
        `problem` says that it did not answer; it is empty when it did.
        """
        now = self._clock()
        try:
            held = self._held()
        except QueryError as error:
            if not self.problem:
                _log.error("nobody says which alerts hold: %s", error)
            self.problem = str(error)
            self._said = {key: said for key, said in self._said.items() if now - said.at < 4 * AGAIN_SECONDS}
            return
        self._last_look, self.problem = now, ""
        self._said = {key: said for key, said in self._said.items() if key in held}
        due = [key for key in held if key not in self._said or now - self._said[key].at >= AGAIN_SECONDS]
        for key in sorted(due, key=lambda key: self._said[key].at if key in self._said else 0.0)[:MOST_AT_ONCE]:
            self._explain(key, now)

    def _held(self) -> list[Key]:
        """Alerts of models that are pending or fire; one that has a line does not lose it to one that has none."""
        selector = f'{upstream.ALERTS.name}{{model!=""}}'
        found = self._sources.client.query(selector)
        keys = dict.fromkeys(tuple(sample.labels.get(name, "") for name in KEY) for sample in found)
        return sorted(keys, key=lambda key: (key not in self._said, key))[:MOST_ALERTS]

    def _explain(self, key: Key, now: float) -> None:
        labels = {name: value for name, value in zip(KEY, key, strict=True) if value}
        name = labels.pop("alertname")
        try:
            said = self._explained(self._sources, name, labels, now, now).line
        except MidwatchError as error:
            said = f"What changed could not be said: {error}"
        except Exception as error:  # of this alert: the others are explained all the same
            _log.exception("%s was not explained", name)
            said = f"What changed could not be said: unexpected {type(error).__name__}"
        line = " ".join(said.split())
        shown = line if len(line) <= MOST_LINE else f"{line[: MOST_LINE - 1]}…"
        self._said = {**self._said, key: _Said(line=shown, at=now)}

    def text(self) -> bytes:
        """The lines as Prometheus scrapes them, and when it last said which alerts hold."""
        samples: list[exposition.Sample] = [
            (metrics.MIDWATCH_BUILD_INFO, {"version": midwatch.__version__}, 1),
            (metrics.INCIDENT_LAST_LOOK, {}, self._last_look),
        ]
        samples += [
            (metrics.INCIDENT_INFO, {**dict(zip(KEY, key, strict=True)), "line": said.line}, 1.0)
            for key, said in sorted(self._said.items())
        ]
        return exposition.text(samples)
