"""What Grafana's dashboard JSON may hold, as strict models: an unknown key or a value of the wrong kind is refused.

Written from Grafana's published model: `kinds/dashboard/dashboard_kind.cue` and the panels' `panelcfg.cue` of
grafana/grafana (11.6 to 13.2), narrowed to what is made here. The field names are Grafana's in snake case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dashboards.schema.dashboard import Dashboard


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A place in a document, as a path of keys, and what the model says against its value."""

    place: str
    message: str


def violations(document: Mapping[str, Any]) -> Iterator[Violation]:
    """Everything in a document that the model does not allow."""
    try:
        Dashboard.model_validate(document)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            yield Violation(place=".".join(str(part) for part in one["loc"]), message=one["msg"])
