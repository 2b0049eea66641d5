"""Objects that are rendered for a cluster: which they are, and whether two of them, or a name, cannot be.

Two renders of one name overwrite each other without a word from anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from midwatch import object_names, yamlfile
from midwatch.errors import InvalidInputError, Problem

FOLDERS = ("kubernetes/", "argo-rollouts/")
"""Where objects are, of what is rendered for a cluster."""
LONGEST = {"CronJob": object_names.CRON_JOB, "Deployment": object_names.LABEL, "StatefulSet": object_names.CRON_JOB}
"""Longest names by kind; 253 characters of others (Kubernetes, "Object Names and IDs")."""
SUBDOMAIN = 253
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


class NameTakenError(InvalidInputError):
    """Two objects have one name, or a name is none."""


@dataclass(frozen=True, order=True)
class Identity:
    """What tells an object from all others; no namespace is that of whoever applies it, or none."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {f'{self.namespace}/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True)
class Object:
    """An object and the file that it is rendered to."""

    file: str
    document: Mapping[str, Any]

    @property
    def identity(self) -> Identity:
        """Which it is."""
        metadata = self.document["metadata"]
        named = metadata.get("namespace", ""), metadata["name"]
        return Identity(self.document["apiVersion"], self.document["kind"], *named)


def of_files(rendered: Mapping[str, str]) -> list[Object]:
    """Every object of the files, in their order."""
    return [
        Object(name, document)
        for name, text in sorted(rendered.items())
        if name.startswith(FOLDERS) and name.endswith(".yaml")
        for document in yamlfile.load_all(text)
    ]


def find_problems(objects: list[Object]) -> Iterator[Problem]:
    """Objects of one name, and names that Kubernetes does not take."""
    first: dict[Identity, Object] = {}
    for one in objects:
        which = one.identity
        if first.setdefault(which, one) is not one:
            message = f"{which} is also in {first[which].file}: the later would overwrite the earlier"
            yield Problem(
                file=one.file, path="metadata.name", message=message, remedy="rename one in the platform file"
            )
        longest = LONGEST.get(which.kind, SUBDOMAIN)
        if len(which.name) > longest or not _SUBDOMAIN.fullmatch(which.name):
            message = f"{which}: no name of at most {longest} small letters, digits and dashes"
            yield Problem(file=one.file, path="metadata.name", message=message)


def ensure_apart(objects: list[Object]) -> None:
    """Raise NameTakenError for the problems of `find_problems`."""
    if problems := list(find_problems(objects)):
        raise NameTakenError(problems)
