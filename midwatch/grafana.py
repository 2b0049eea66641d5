"""What a dashboard is called, and its address: alerts link to dashboards by these names without building them."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from urllib.parse import quote

from midwatch.spec.model import Platform
from midwatch.spec.rules import RuleFile
from midwatch.spec.systems import SystemRules, job_name

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
    FAIRNESS = "fairness"
    EXPLANATIONS = "explanations"
    LOOP = "loop"
    RESILIENCE = "resilience"
    PLANE = "plane"


def system_page(system: str) -> str:
    """Name of the page of a system."""
    return f"system-{job_name(system)}"


def page_of(rules: RuleFile) -> str:
    """Name of the page that alerts of a rule file link to: a system's own, else the fleet's."""
    return system_page(rules.system) if isinstance(rules, SystemRules) else Page.FLEET


REGION_VARIABLE = "region"
"""Variable of dashboards at a view over several regions: whose series are shown."""


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
    if len(uid) > MAX_UID:
        uid = f"midwatch-{_digest(platform_name)}-{last}"
    return uid if len(uid) <= MAX_UID else f"midwatch-{_digest(platform_name)}-{_digest(last)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def dashboard_url(platform: Platform, page: str, *, since: str = "now-3h", **variables: str) -> str:
    """Address of a dashboard with its variables filled in; a rule's template such as `{{ $labels.model }}` stays one.

    Every value is escaped for the address: here, and that of a label where Prometheus fills it in.

    >>> in_address("{{ $labels.version }}"), in_address("a&b")
    ('{{ $labels.version | urlquery }}', 'a%26b')
    """
    filled = "".join(f"&var-{name}={in_address(value)}" for name, value in sorted(variables.items()))
    return f"{platform.grafana.url}/d/{dashboard_uid(platform.platform, page)}?from={since}&to=now{filled}"


_LABEL = re.compile(r"\{\{ (\$labels\.\w+) \}\}")


def in_address(value: str) -> str:
    """A value as it stands in an address; a label that Prometheus fills in is escaped by Prometheus."""
    if _LABEL.fullmatch(value):
        return _LABEL.sub(r"{{ \1 | urlquery }}", value)
    return quote(value, safe="$|{}.*")  # dashboards' own variables stay what they are
