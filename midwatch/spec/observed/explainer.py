"""What is observed of explainers: whether they explain a row, how long that takes, and whether it adds up."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from midwatch.spec.addresses import PlainUrl
from midwatch.spec.base import Name, Strict
from midwatch.spec.observed.base import Observed
from midwatch.spec.placeholders import Value
from midwatch.spec.prometheus_auth import SecretFile
from midwatch.spec.values import Duration

Cell = str | bool | float | None
_Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]


class Endpoint(Strict):
    """An explainer, the row that it is asked to explain, and what is known of the answer."""

    url: PlainUrl
    """Where it explains: `http://HOST/v1/models/MODEL:explain` of KServe, or the URL of `infer` or `explain`."""
    protocol: Literal["v1", "v2"] = "v1"
    """KServe's first protocol, or the second, the open inference protocol."""
    row: Annotated[list[Cell] | dict[str, Cell], Field(min_length=1)]
    """The row: values in the order of the model's features, or by their names. The second protocol takes numbers as one
    tensor, in their order; a row with text stands by names, and is a tensor for each."""
    base: _Number | None = None
    """The answer without knowing the row, where the explainer does not say it."""
    prediction: _Number | None = None
    """The model's answer to the row, where the explainer does not say it; with both the explanation has to add up."""
    token_file: SecretFile | None = None
    """File of the bearer token that it wants."""
    ca_file: SecretFile | None = None
    """File of the authorities of its certificate; the system's without it."""

    @model_validator(mode="after")
    def _fits_a_tensor(self) -> Self:
        if self.protocol == "v2" and isinstance(self.row, list) and any(isinstance(cell, str) for cell in self.row):
            raise ValueError(
                "row has text, which a tensor of numbers does not take; write the row by its features' names"
            )
        return self


class ExplainerObserved(Observed):
    """Explainers of anybody, each asked for an explanation of the same row again and again."""

    system: ClassVar[str] = "explainer"

    endpoints: Annotated[dict[Name, Endpoint], Field(min_length=1)]
    """Explainers by name, such as that of their model."""
    timeout: Annotated[Duration, Field(ge=0.1)] = 10.0
    """How long one explanation may take."""
    failing_for: Annotated[Duration, Field(ge=1.0)] = 300.0
    """How long one may fail: an explainer that is replaced is back within minutes."""
    slow_after: Annotated[Duration, Field(ge=0.001)] = 2.0
    """How long an explanation may take before that is a ticket: who looks at a decision waits for it."""
    most_additivity_error: Annotated[float, Field(gt=0, le=1, strict=False)] = 0.001
    """What base and attributions may lack of the prediction, by 1 + their sizes: who samples is off more."""

    def placeholders(self) -> dict[str, Value]:
        """What texts of `observed.yaml` are filled in with, by name."""
        waits = {"failing_for": self.failing_for, "slow_after": self.slow_after}
        durations: dict[str, Value] = {name: timedelta(seconds=wait) for name, wait in waits.items()}
        return {**super().placeholders(), **durations, "most_additivity_error": self.most_additivity_error}
