"""The section `grafana` of the platform file: where Grafana is, and where it finds logs and traces."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from midwatch.spec.addresses import PlainUrl
from midwatch.spec.base import Strict

Url = Annotated[PlainUrl, Field(pattern=r"^https?://[^\s]*[^\s/]$")]
"""An http or https address without a slash at its end, so that paths can be added."""


class Grafana(Strict):
    """The Grafana that shows the dashboards: addresses as people's browsers (`url`) and Grafana (the rest) see them.

    `logs` (LogQL) and `traces` (TraceQL) select those of a model's servers; `$model` and `$version` are filled in.
    """

    url: Url = "http://127.0.0.1:3000"
    """Where people's browsers find it."""
    loki: Url = "http://127.0.0.1:3100"
    """Where Grafana finds Loki."""
    tempo: Url = "http://127.0.0.1:3200"
    """Where Grafana finds Tempo."""
    logs: str = '{service_name="$model"}'
    """LogQL that selects the logs of a model's servers."""
    traces: str = '{resource.service.name="$model"}'
    """TraceQL that selects the traces of a model's servers."""
