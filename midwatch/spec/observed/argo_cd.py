"""What is observed of Argo CD: which revision and which model version each application has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from midwatch.spec.addresses import PlainUrl
from midwatch.spec.base import Finding, Name, Strict, unknown
from midwatch.spec.observed.base import Observed, Resource
from midwatch.spec.placeholders import Value
from midwatch.spec.prometheus_auth import Auth
from midwatch.spec.values import Duration


def _with_one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is no pattern: {error}") from error
    if groups != 1:
        raise ValueError(f"{pattern!r} has {groups} groups; write one around the version, as in fraud-server:(.+)")
    return pattern


APPLICATIONS = Resource(group="argoproj.io", version="v1alpha1", plural="applications")


class Carried(Strict):
    """The model that an application deploys, and where its version stands: in an image, an annotation or a label."""

    model: Name
    """Name of the model in this file."""
    image: Annotated[str, AfterValidator(_with_one_group)] | None = None
    """Pattern of a whole image with one group, the version, such as `.*/fraud-server:(.+)`."""
    annotation: Annotated[str, Field(min_length=1)] | None = None
    """Key of an annotation of the application whose value is the version."""
    label: Annotated[str, Field(min_length=1)] | None = None
    """Key of a label of the application whose value is the version."""

    @model_validator(mode="after")
    def _one_way(self) -> Carried:
        if sum(one is not None for one in (self.image, self.annotation, self.label)) != 1:
            raise ValueError("needs exactly one of image, annotation and label")
        return self


class ArgoCdObserved(Observed):
    """Argo CD's applications: the revision that is deployed and the one that is wanted, the last operation, the model.

    They are asked of its API at `url`, or as `Application` objects of the Kubernetes API in `namespace`.
    """

    system: ClassVar[str] = "argo_cd"

    url: PlainUrl | None = None
    """Where Argo CD's API answers."""
    auth: Auth | None = None
    """Who asks the API."""
    namespace: Name | None = None
    """Instead of `url`: the namespace of the Application objects."""
    applications: list[Name] = []
    """Applications that are published, and have to exist; every one that is found without them."""
    carries: dict[Name, Carried] = {}
    """Which model an application deploys, by the application."""
    failed_for: Annotated[Duration, Field(ge=1.0)] = 600.0
    """How long a failed operation may be the last one before that is a ticket: a retry follows within minutes."""
    behind_for: Annotated[Duration, Field(ge=1.0)] = 3600.0
    """How long a revision may be wanted and not deployed: a sync and its waves take less than an hour."""

    @model_validator(mode="after")
    def _one_way(self) -> ArgoCdObserved:
        if (self.url is None) == (self.namespace is None):
            raise ValueError("needs exactly one of url and namespace")
        if self.url is None and self.auth is not None:
            raise ValueError("auth is of url; the Kubernetes API is asked as the pod's own account")
        return self

    @property
    def resources(self) -> tuple[Resource, ...]:
        """What is listed of the Kubernetes API, where that is asked and not Argo CD's own."""
        return () if self.namespace is None else (APPLICATIONS,)

    @property
    def places(self) -> Sequence[str]:
        """The namespace of the Application objects."""
        return () if self.namespace is None else (self.namespace,)

    def placeholders(self) -> dict[str, Value]:
        """What texts of `observed.yaml` are filled in with, by name."""
        waits = {"failed_for": self.failed_for, "behind_for": self.behind_for}
        return {**super().placeholders(), **{name: timedelta(seconds=wait) for name, wait in waits.items()}}

    def names(self, per: str, models: Sequence[str]) -> list[str] | None:
        """What an alert that is `per` a word is made for: `applications` are those that have to exist."""
        return list(self.applications) if per == "applications" else super().names(per, models)

    def find_problems(self, models: Sequence[str]) -> Iterator[Finding]:
        """Models and applications of `carries` that nothing else has."""
        for application, carried in self.carries.items():
            if carried.model not in models:
                yield ("carries", application, "model"), *unknown(carried.model, models, "model")
            if self.applications and application not in self.applications:
                yield ("carries", application), *unknown(application, self.applications, "application")
