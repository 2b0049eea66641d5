"""How late the events of a model may come, and how long their ids are remembered: never less.

An id is remembered from when it came. An event whose id has been forgotten is older than what is taken by then, so
nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from midwatch.spec import model as spec


class Lateness:
    """Of the models of a platform file, and of any other."""

    def __init__(self, settings: spec.Exporter, models: Iterable[spec.Model]) -> None:
        self._settings = settings
        self._models = {model.name: model for model in models if model.too_old or model.remember}
        self._horizon = settings.remember + settings.future
        self._horizons = {name: self._remember(model) + settings.future for name, model in self._models.items()}
        self._loaded = max(settings.remember_loaded + settings.future, self._horizon, *self._horizons.values(), 0.0)
        self.is_by_model = bool(self._models)
        self.least = min([settings.remember, *(self.too_old(name) for name in self._models)])
        """Seconds that a prediction of any model may be old."""

    def too_old(self, model: str, *, loaded: bool = False) -> float:
        """Seconds after which a prediction is refused; a file's may be older."""
        declared = self._models.get(model)
        own = self._settings.remember if declared is None else declared.too_old or self._remember(declared)
        return max(own, self._settings.remember_loaded) if loaded else own

    def horizon(self, model: str, *, loaded: bool = False) -> float:
        """Seconds that an id of the model is remembered for."""
        return self._loaded if loaded else self._horizons.get(model, self._horizon)

    def horizons(self) -> set[float]:
        """Every number of seconds that ids are remembered for."""
        return {self._horizon, self._loaded, *self._horizons.values()}

    def _remember(self, model: spec.Model) -> float:
        return model.remember or max(self._settings.remember, model.too_old or 0.0)
