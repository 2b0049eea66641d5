"""Sections that nothing would ever be published of: who had to ask for it, or who would be asked, is not in the file.

Their alerts would be rendered and could never fire, which looks like calm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from midwatch.spec.base import Finding, Place
from midwatch.spec.observed.mlflow import MlflowObserved
from midwatch.spec.observed.tekton import TektonObserved
from midwatch.spec.regression import Regression

if TYPE_CHECKING:
    from midwatch.spec.model import Model, Platform

ADD_MLFLOW = "add systems.mlflow.observe with its url"
ADD_LOOP = "add loop: {} to the file, and run midwatch loop serve"


def find_problems(platform: Platform) -> Iterator[Finding]:
    """Problems of models whose histories, promotions, runs or drills nobody would ask for, or could be asked about."""
    for index, model in enumerate(platform.models):
        place: Place = ("models", index)
        if model.regression is not None:
            yield from _of_regression(platform, (*place, "regression"), model, model.regression)
        if model.promotion is not None and _mlflow(platform) is not None:
            yield from _of_registered(platform, (*place, "promotion"), model)
        if model.loop is None:
            continue
        if model.loop.experiment is not None and _mlflow(platform) is None:
            yield (*place, "loop", "experiment"), "nobody says where MLflow is: no run of it would be seen", ADD_MLFLOW
        if model.loop.drill is not None:
            yield from _of_registered(platform, (*place, "loop", "drill"), model)


def _of_regression(platform: Platform, place: Place, model: Model, section: Regression) -> Iterator[Finding]:
    if platform.loop is None:
        message = "nobody compares and publishes it without the section loop: ModelRegressed could never fire"
        yield place, message, ADD_LOOP
    if section.metrics:
        yield from _of_registered(platform, (*place, "metrics"), model)
    if section.pipeline is not None and not _sees_pipeline(platform, section.pipeline):
        message = f"nobody asks Tekton for the runs of {section.pipeline}"
        namespace = section.pipeline.partition("/")[0]
        yield (*place, "pipeline"), message, f"add {namespace} to systems.tekton.observe.namespaces"


def _of_registered(platform: Platform, place: Place, model: Model) -> Iterator[Finding]:
    """What the registry has to be asked about, where nobody says where it is or what the model is called there."""
    observed = _mlflow(platform)
    if observed is None:
        yield place, "nobody says where the registry is", ADD_MLFLOW
    elif model.name not in observed.registered([one.name for one in platform.models]):
        message = f"systems.mlflow.observe.models does not say what {model.name} is called in the registry"
        yield place, message, f"add {model.name} there"


def _mlflow(platform: Platform) -> MlflowObserved | None:
    use = platform.systems.get("mlflow")
    return use.observe if use is not None and isinstance(use.observe, MlflowObserved) else None


def _sees_pipeline(platform: Platform, pipeline: str) -> bool:
    """Whether the systems exporter lists the runs in the pipeline's namespace."""
    sections = [use.observe for use in platform.systems.values() if isinstance(use.observe, TektonObserved)]
    return any(not one.namespaces or pipeline.partition("/")[0] in one.namespaces for one in sections)
