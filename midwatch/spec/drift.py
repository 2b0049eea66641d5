"""The drift section of the platform file: how a model's inputs are watched, and what drift that holds triggers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from midwatch.spec.base import Name, Strict
from midwatch.spec.slo import Severity
from midwatch.spec.values import Duration


class Feature(StrEnum):
    """How a feature's values are compared."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


FeatureMethodName = Literal["ks", "psi", "chi2"]
"""Methods that compare one feature at a time. Each is a module in `monitors/drift/methods/`."""

RowMethodName = Literal["mmd", "isolation_forest", "classifier"]
"""Methods that compare rows with all their features. Each is a module in `monitors/drift/methods/`."""

FEATURE_METHODS: tuple[str, ...] = get_args(FeatureMethodName)
ROW_METHODS: tuple[str, ...] = get_args(RowMethodName)


VERSION = "{version}"
"""Stands for a version in the name of its reference."""


class SignedWebhook(Strict):
    """An endpoint that takes a signed trigger: its address, and the secret of the signature."""

    url_file: Path = Field(strict=False)
    """File with the address."""
    secret_file: Path = Field(strict=False)
    """File with the secret of the signature."""


class PipelineRun(Strict):
    """A Tekton pipeline to run. In `params`, `{model}`, `{version}`, `{features}` and the like are replaced."""

    namespace: Name
    """Namespace of the pipeline."""
    pipeline: Name
    """Its name."""
    service_account: Name | None = None
    """Service account of the run."""
    params: dict[str, str] = {}
    """Parameters of the run; fields of an episode are filled in."""

    @model_validator(mode="after")
    def _known_fields(self) -> PipelineRun:
        for name, text in self.params.items():
            unknown = {field for _, field, _, _ in Formatter().parse(text) if field is not None} - set(EPISODE_FIELDS)
            if unknown:
                raise ValueError(
                    f"params.{name} has {{{sorted(unknown)[0]}}}; what an episode has is {', '.join(EPISODE_FIELDS)}"
                )
        return self


EPISODE_FIELDS = ("episode", "platform", "model", "version", "began", "windows", "features", "reason")


class Retrain(Strict):
    """What drift that holds triggers: exactly one of a webhook and a pipeline run."""

    after: Annotated[str, Field(pattern=r"^[1-9]\d* windows?$")] = "3 windows"
    """Drifted windows in a row that make a trigger due."""
    cooldown: Duration = 86400.0
    """Time between two triggers of a model."""
    webhook: SignedWebhook | None = None
    """A signed webhook."""
    pipeline_run: PipelineRun | None = None
    """A Tekton PipelineRun."""

    @property
    def windows(self) -> int:
        """Drifted windows that make a trigger due."""
        return int(self.after.split()[0])

    @model_validator(mode="after")
    def _one_target(self) -> Retrain:
        if (self.webhook is None) == (self.pipeline_run is None):
            raise ValueError("needs exactly one of webhook and pipeline_run")
        return self


class Drift(Strict):
    """How a model's features are watched for drift from a reference.

    A window ends after `window`, or after `rows` predictions where they come first; with `panes` it slides by a part.
    """

    reference: Path = Field(strict=False)
    """File that `midwatch drift fit` wrote."""
    version_references: Path | None = Field(default=None, strict=False)
    """File of a version's own reference, with `{version}` in its name: where it is there when the version's windows
    begin, it is compared with that instead of `reference`. A model that was trained again has seen other data."""
    window: Duration = 3600.0
    """How long a window is."""
    rows: Annotated[int, Field(ge=2)] | None = None
    """A window also ends after so many predictions."""
    panes: Annotated[int, Field(ge=1, le=100)] = 1
    """Parts by which a window slides."""
    min_samples: Annotated[int, Field(ge=2)] = 500
    """Fewest rows of a window that is judged."""
    features: Annotated[dict[str, Annotated[Feature, Field(strict=False)]], Field(min_length=1)]
    """Features that are watched; `prediction` and `score` are the model's own answers."""
    methods: Annotated[list[FeatureMethodName | RowMethodName], Field(min_length=1)] = ["ks", "psi"]
    """Methods that vote."""
    quorum: Annotated[int, Field(ge=1)] = 2
    """Votes that make drift, of the methods that can look at a feature."""
    false_alarms: Annotated[str, Field(pattern=r"^\d+ per \d+(ms|s|m|h|d|w)$")] = "1 per 90d"
    """False alarms that are accepted."""
    severity: Severity = Field(default=Severity.TICKET, strict=False)
    """Who acts, and when: `page` wakes somebody, `ticket` waits."""
    retrain: Retrain | None = None
    """What drift that holds triggers."""

    @model_validator(mode="after")
    def _of_versions(self) -> Drift:
        if self.version_references is not None and self.version_references.name.count(VERSION) != 1:
            raise ValueError(f"version_references needs {VERSION} once in the name of its file, as own-{VERSION}.npz")
        return self

    @property
    def looks_at_rows(self) -> bool:
        """Whether a method compares rows with all their features."""
        return not set(self.methods).isdisjoint(ROW_METHODS)
