"""What is observed of MLflow: the versions in its model registry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from midwatch.spec.addresses import PlainUrl
from midwatch.spec.base import Finding, Name, unknown
from midwatch.spec.observed.base import Observed
from midwatch.spec.placeholders import Value
from midwatch.spec.prometheus_auth import Auth
from midwatch.spec.values import Duration, Ratio

ALIAS = "champion"

RegistryText = Annotated[str, Field(min_length=1, max_length=255)]
"""A name in the registry, whose columns hold so many characters (mlflow store/model_registry/dbmodels/models.py)."""


class MlflowObserved(Observed):
    """MLflow's registry: which version is champion, since when it was seen, and what versions lack."""

    system: ClassVar[str] = "mlflow"

    url: PlainUrl
    """Where MLflow answers."""
    auth: Auth | None = None
    """Who asks, where it does not answer anybody."""
    models: dict[Name, RegistryText] = {}
    """Registered models by the model of this file; without them every model by its own name."""
    alias: RegistryText | None = None
    """The alias of the version that is in production; `champion` without it and without `stage`."""
    stage: RegistryText | None = None
    """Instead of an alias the stage of that version, such as `Production`; MLflow gives stages up."""
    served_as: Annotated[str, Field(pattern=r"^[^{}$]*\{version\}([^\w{}$][^{}$]*)?$")] = "{version}"
    """What servers call a version in the label `version`, as `v{version}`; no letter or digit may follow the brace."""
    owner_tag: RegistryText = "owner"
    """The tag of a version, or of its registered model, that names who made it."""
    evaluation_tag: RegistryText = "evaluation"
    """The tag of a version that says it was evaluated; metrics of its logged model or run say so, too."""
    disagree_for: Annotated[Duration, Field(ge=60.0)] = 3600.0
    """How long traffic or Argo CD may have another version than the champion: a canary takes less than an hour."""
    tolerated_share: Ratio = Decimal("0.01")
    """Share of traffic that may be of other versions: a client that keeps a connection, or a shadow that compares."""
    max_age: Annotated[Duration, Field(ge=3600.0)] = 180 * 86400.0
    """How long a version may be champion before that is a ticket: half a year in which nothing better was trained."""

    @model_validator(mode="after")
    def _one_way(self) -> MlflowObserved:
        if self.alias is not None and self.stage is not None:
            raise ValueError("needs at most one of alias and stage")
        if len(set(self.models.values())) < len(self.models):
            raise ValueError("models has one registered model twice")
        return self

    @property
    def role(self) -> str:
        """The alias or the stage of the version that is in production."""
        return self.stage or self.alias or ALIAS

    @property
    def champion_role(self) -> str:
        """The role that makes a version champion, as the history has it."""
        return f"stage {self.stage}" if self.stage else f"alias {self.role}"

    def served_version(self, number: str) -> str:
        """What servers call a version of the registry."""
        return self.served_as.replace("{version}", number)

    def number_of(self, served: str) -> str | None:
        """The registry's number of a version as servers call it; None for a name that none can have."""
        before, _, after = self.served_as.partition("{version}")
        number = served.removeprefix(before).removesuffix(after)
        return number if number.isdigit() and self.served_version(number) == served else None

    def registered(self, models: Sequence[str]) -> dict[str, str]:
        """Names in the registry by those of the platform file's `models`."""
        return self.models or {model: model for model in models}

    def placeholders(self) -> dict[str, Value]:
        """What texts of `observed.yaml` are filled in with, by name."""
        waits = {"max_age": self.max_age, "disagree_for": self.disagree_for}
        return {
            **super().placeholders(),
            **{name: timedelta(seconds=wait) for name, wait in waits.items()},
            "role": self.role,
            "served": self.served_as.replace("{version}", "$1"),  # Grafana would take ${1} for a variable
            "tolerated_share": float(self.tolerated_share),
        }

    def names(self, per: str, models: Sequence[str]) -> list[str] | None:
        """What an alert that is `per` a word is made for: `models` are those that are looked up in the registry."""
        return list(self.registered(models)) if per == "models" else super().names(per, models)

    def find_problems(self, models: Sequence[str]) -> Iterator[Finding]:
        """Models of the section that the platform file does not have."""
        for model in self.models:
            if model not in models:
                yield ("models", model), *unknown(model, models, "model")
