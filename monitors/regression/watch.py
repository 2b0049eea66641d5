"""Judges models against their history again and again, and publishes what was said last."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from midwatch import exposition
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client
from midwatch.spec.model import Platform
from monitors.regression import judged
from monitors.regression.judged import Judged

INTERVAL = 900.0
"""Seconds between two looks: trainings take longer, and a look costs the registry two questions a version."""

_log = logging.getLogger(__name__)


class Watch:
    """Looks at every model that has a regression section. `prometheus` is another URL than the platform file's."""

    def __init__(
        self, platform: Platform, prometheus: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._platform, self._clock = platform, clock
        self._client = Client.of(platform.prometheus, prometheus)
        self.models = [model for model in platform.models if model.regression is not None]
        self._said: dict[str, list[Judged]] = {}

    def look(self) -> None:
        """Judge every model once; what cannot be asked is undecided."""
        for model in self.models:
            try:
                self._said[model.name] = judged.judge(self._client, self._platform, model, now=self._clock())
            except MidwatchError as error:
                self._said.pop(model.name, None)
                _log.warning("%s is not compared with its history: %s", model.name, error)

    def run(self, stop: threading.Event) -> None:
        """Look in the interval until `stop`."""
        while self.models and not stop.is_set():
            try:
                self.look()
            except Exception:  # an answer of a form that nobody knows must not end the loop
                _log.exception("histories were not compared")
                self._said.clear()
            stop.wait(INTERVAL)

    def text(self) -> bytes:
        """Exposition of what was said last."""
        return exposition.text(sample for model, said in self._said.items() for sample in judged.samples(model, said))
