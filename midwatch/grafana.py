"""What a dashboard is called, and its address: alerts link to dashboards by these names without making them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from midwatch.spec import model as spec
from midwatch.spec.rules import RuleFile
from midwatch.spec.systems import SystemRules, job_name

MAX_UID = 40
"""Characters of a uid that Grafana takes (kinds/dashboard: 8 to 40)."""


class Page(StrEnum):
    """The dashboards of a platform; the value is the last part of the uid."""

    FLEET = "fleet"
    MODEL = "model"
    OBJECTIVES = "objectives"
    DRIFT = "drift"
    CANARY = "canary"
    RESILIENCE = "resilience"
    PLANE = "plane"


@dataclass(frozen=True)
class SystemPage:
    """The dashboard of a system; as with `Page`, the value is the last part of the uid."""

    system: str

    @property
    def value(self) -> str:
        """Last part of the uid."""
        return f"system-{job_name(self.system)}"


AnyPage = Page | SystemPage


def page_of(rules: RuleFile) -> AnyPage:
    """The dashboard that alerts of a rule file link to: a system's own, else the fleet's."""
    return SystemPage(rules.system) if isinstance(rules, SystemRules) else Page.FLEET


class Source(StrEnum):
    """The data sources of a platform; the value is Grafana's name of the kind."""

    PROMETHEUS = "prometheus"
    LOKI = "loki"
    TEMPO = "tempo"
    ALERTMANAGER = "alertmanager"


def dashboard_uid(platform: str, page: AnyPage) -> str:
    """Uid of a platform's dashboard; it stays as long as the platform's name does.

    >>> dashboard_uid("flights", Page.MODEL)
    'midwatch-flights-model'
    """
    return _uid(platform, page.value)


def source_uid(platform: str, source: Source) -> str:
    """Uid of a platform's data source."""
    return _uid(platform, source.value)


def folder_uid(platform: str) -> str:
    """Uid of the folder that holds a platform's dashboards."""
    return _uid(platform, "folder")


def _uid(platform: str, last: str) -> str:
    uid = f"midwatch-{platform}-{last}"
    if len(uid) > MAX_UID:
        uid = f"midwatch-{_digest(platform)}-{last}"
    return uid if len(uid) <= MAX_UID else f"midwatch-{_digest(platform)}-{_digest(last)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def dashboard_url(platform: spec.Platform, page: AnyPage, *, since: str = "now-3h", **variables: str) -> str:
    """Address of a dashboard with its variables filled in; a rule's template such as `{{ $labels.model }}` stays one.

    Values are put in as they are: the labels used as variables are DNS labels or short names.
    """
    filled = "".join(f"&var-{name}={value}" for name, value in sorted(variables.items()))
    return f"{platform.grafana.url}/d/{dashboard_uid(platform.platform, page)}?from={since}&to=now{filled}"
