"""What a dashboard is called, and its address: alerts link to dashboards by these names without building them."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from midwatch.spec.model import Platform

MAX_UID = 40
"""Characters of a uid that Grafana takes (kinds/dashboard: 8 to 40)."""


class Page(StrEnum):
    """The pages that alerts and tables link to; the value is the page's name, the last part of its uid.

    A page needs a row here only when something links to it. The pages themselves are modules of `dashboards.pages`.
    """

    FLEET = "fleet"
    MODEL = "model"
    OBJECTIVES = "objectives"
    DRIFT = "drift"
    CANARY = "canary"
    RESILIENCE = "resilience"
    PLANE = "plane"


class DataSource(StrEnum):
    """The data sources of a platform; the value is Grafana's name of their type."""

    PROMETHEUS = "prometheus"
    LOKI = "loki"
    TEMPO = "tempo"
    ALERTMANAGER = "alertmanager"


def dashboard_uid(platform_name: str, page: str) -> str:
    """Uid of a platform's dashboard by the name of its page; it stays as long as the platform's name does.

    >>> dashboard_uid("flights", Page.MODEL)
    'midwatch-flights-model'
    """
    return _uid(platform_name, page)


def data_source_uid(platform_name: str, source: DataSource) -> str:
    """Uid of a platform's data source."""
    return _uid(platform_name, source.value)


def folder_uid(platform_name: str) -> str:
    """Uid of the folder that holds a platform's dashboards."""
    return _uid(platform_name, "folder")


def _uid(platform_name: str, last: str) -> str:
    uid = f"midwatch-{platform_name}-{last}"
    return uid if len(uid) <= MAX_UID else f"midwatch-{hashlib.sha256(platform_name.encode()).hexdigest()[:12]}-{last}"


def dashboard_url(platform: Platform, page: str, *, since: str = "now-3h", **variables: str) -> str:
    """Address of a dashboard with its variables filled in; a rule's template such as `{{ $labels.model }}` stays one.

    Values are put in as they are: the labels used as variables are DNS labels or short names.
    """
    filled = "".join(f"&var-{name}={value}" for name, value in sorted(variables.items()))
    return f"{platform.grafana.url}/d/{dashboard_uid(platform.platform, page)}?from={since}&to=now{filled}"
