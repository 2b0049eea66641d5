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


class SignedWebhook(Strict):
    """An endpoint that takes a signed trigger: its address, and the secret of the signature."""

    url_file: Path = Field(strict=False)
    secret_file: Path = Field(strict=False)


class PipelineRun(Strict):
    """A Tekton pipeline to run. In `params`, `{model}`, `{version}`, `{features}` and the like are replaced."""

    namespace: Name
    pipeline: Name
    service_account: Name | None = None
    params: dict[str, str] = {}

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
    cooldown: Duration = 86400.0
    webhook: SignedWebhook | None = None
    pipeline_run: PipelineRun | None = None

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
    window: Duration = 3600.0
    rows: Annotated[int, Field(ge=2)] | None = None
    panes: Annotated[int, Field(ge=1, le=100)] = 1
    min_samples: Annotated[int, Field(ge=2)] = 500
    features: Annotated[dict[str, Annotated[Feature, Field(strict=False)]], Field(min_length=1)]
    methods: Annotated[list[FeatureMethodName | RowMethodName], Field(min_length=1)] = ["ks", "psi"]
    quorum: Annotated[int, Field(ge=1)] = 2
    false_alarms: Annotated[str, Field(pattern=r"^\d+ per \d+(ms|s|m|h|d|w)$")] = "1 per 90d"
    severity: Severity = Field(default=Severity.PAGE, strict=False)
    retrain: Retrain | None = None

    @property
    def looks_at_rows(self) -> bool:
        """Whether a method compares rows with all their features."""
        return not set(self.methods).isdisjoint(ROW_METHODS)
