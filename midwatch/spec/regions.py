"""Regions of a platform: a plane in each, a view over all of them, and whose plane a platform file is laid out for.

One file names every plane. An overlay says which of them is meant (`here`), so that all planes know the same inventory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from midwatch.spec.addresses import PlainUrl, origin
from midwatch.spec.base import Finding, HostPort, Name, Strict, unknown
from midwatch.spec.values import Duration, format_duration

if TYPE_CHECKING:
    from midwatch.spec.model import Platform

GLOBAL = "global"
"""What the view is called where a region's name would stand: in `here`, and in the label `region`."""

PEER_SECONDS = 15.0
"""How long an Alertmanager waits for each that is before it (`--cluster.peer-timeout`, when it is not set)."""

PLACE_LABELS = ("region", "cluster", "cloud")
"""Labels that say of every series and alert which plane it comes from."""


class Site(Strict):
    """Where a plane runs, and its Prometheus."""

    cloud: Name
    """The cloud that it runs in: the label `cloud`."""
    cluster: Name
    """The cluster that it runs in: the label `cluster`."""
    prometheus: PlainUrl
    """Where its Prometheus answers, for those who look at it and for the other planes, which copy its records."""


class Plane(Site):
    """The plane of one region."""

    alertmanager: PlainUrl
    """Where its Alertmanager answers: every plane sends its alerts to all of them."""
    gossip: HostPort
    """HOST:PORT where the other Alertmanagers reach it, so that of all of them one notifies."""


class View(Site):
    """The view over all regions: Thanos or Mimir, which is asked, and a Prometheus, which evaluates what is global."""

    query: PlainUrl
    """Where Thanos Query or Mimir answers about the series of all regions."""


class Regions(Strict):
    """Regions that the platform is served from, [each with a plane](regions.md), and the view over all of them."""

    here: Name | None = None
    """Whose plane this file is laid out for: a region, or `global` for the view. An overlay says it."""
    planes: Annotated[dict[Name, Plane], Field(min_length=2)]
    """The planes by the names of their regions: the label `region`."""
    view: View
    """The view over all of them."""
    primary: Name
    """The region whose plane runs what may run once only: the loop, retrainings, and drills of recovery."""
    silent_after: Duration = 120.0
    """How long a plane may not be heard of before the others page for it."""

    @property
    def is_view(self) -> bool:
        """Whether the view's plane is meant."""
        return self.here == GLOBAL

    @property
    def sites(self) -> dict[str, Site]:
        """Every plane by its region, and the view's as `global`."""
        return {**dict(sorted(self.planes.items())), GLOBAL: self.view}

    @property
    def others(self) -> dict[str, Site]:
        """Every site but this one: those it watches."""
        return {name: site for name, site in self.sites.items() if name != self.here}

    def asked(self, name: str) -> str:
        """Where the series of a site are asked for: at its Prometheus, and of all regions at the view's own address."""
        return self.view.query if name == GLOBAL else self.planes[name].prometheus

    def labels(self, name: str) -> dict[str, str]:
        """Labels of a site by its name."""
        site = self.sites[name]
        return dict(zip(PLACE_LABELS, (name, site.cluster, site.cloud), strict=True))

    @property
    def here_labels(self) -> dict[str, str]:
        """Labels of the plane that is meant; empty where none is said."""
        return self.labels(self.here) if self.here in self.sites else {}


def placed(platform: Platform) -> Platform:
    """The platform as the plane that `here` names has it: its own addresses, and only what runs there."""
    regions = platform.regions
    if regions is None or regions.here not in regions.sites:
        return platform
    alerting_plane = regions.planes.get(regions.here, regions.planes.get(regions.primary))
    addresses: dict[str, Any] = {
        "prometheus": platform.prometheus.model_copy(update={"url": regions.asked(regions.here)}),
    }
    if alerting_plane is not None:
        addresses["alertmanager"] = platform.alertmanager.model_copy(update={"url": alerting_plane.alertmanager})
    return platform.model_copy(update=addresses | dict(_left_out(platform, regions)))


def _left_out(platform: Platform, regions: Regions) -> Iterator[tuple[str, Any]]:
    """What a plane does not run: what may run once only runs in the primary one, and the view only evaluates."""
    if regions.here != regions.primary:
        yield "loop", None
        yield "disaster_recovery", None
        yield "models", [_without_retraining(model) for model in platform.models]
    if regions.is_view:
        yield "kubernetes", None
        yield "chaos", None
        yield "incidents", platform.incidents.model_copy(update={"watch": False})
        yield "rules", [one.model_copy(update={"alerts": [], "records": []}) for one in platform.rules]


def _without_retraining(model: Any) -> Any:
    """A model whose drift is judged here, and whose retraining another plane asks for."""
    drift = None if model.drift is None else model.drift.model_copy(update={"retrain": None})
    return model.model_copy(update={"drift": drift, "loop": None})


def find_problems(platform: Platform) -> Iterator[Finding]:
    """Names lead to planes, no two planes are one, and no address contradicts the plane that is meant."""
    if platform.regions is not None:
        yield from _names(platform.regions)
        yield from _shared(platform.regions)
        yield from _contradictions(platform, platform.regions)
        yield from _times(platform, platform.regions)


def _names(regions: Regions) -> Iterator[Finding]:
    if regions.here is None:
        remedy = f"lay an overlay over the file with regions: {{here: NAME}}; NAME is one of {', '.join(regions.sites)}"
        yield ("regions", "here"), "missing: nothing says which region's plane this is", remedy
    elif regions.here not in regions.sites:
        yield ("regions", "here"), *unknown(regions.here, regions.sites, "region")
    if regions.primary not in regions.planes:
        yield ("regions", "primary"), *unknown(regions.primary, regions.planes, "region")
    if GLOBAL in regions.planes:
        yield ("regions", "planes", GLOBAL), "is what the view is called", "give the region another name"


def _shared(regions: Regions) -> Iterator[Finding]:
    """Addresses and clusters that two planes share: their series could not be told apart."""
    taken: dict[tuple[str, object], str] = {}
    for name, plane in regions.planes.items():
        for key, value in (
            ("cluster", (plane.cloud, plane.cluster)),
            ("prometheus", _one(plane.prometheus)),
            ("alertmanager", _one(plane.alertmanager)),
            ("gossip", plane.gossip.lower()),
        ):
            other = taken.setdefault((key, value), name)
            if other != name:
                message = f"is that of {other} too: what comes from the two could not be told apart"
                yield ("regions", "planes", name, key), message, "give each region its own"
    other = taken.get(("prometheus", _one(regions.view.prometheus)), "")
    if other:
        message = f"is that of {other} too: what is global has to live on when a region does not"
        yield ("regions", "view", "prometheus"), message, "give the view a Prometheus of its own"
    other = taken.get(("prometheus", _one(regions.view.query)), "")
    if other:
        message = f"is the Prometheus of {other}, which has the series of that region alone"
        yield ("regions", "view", "query"), message, "write the address of Thanos Query or Mimir"


def _one(url: str) -> object:
    """What two addresses have in common that are one; a gateway may have several servers, by their paths."""
    return *origin(url), urlsplit(url).path.rstrip("/")


def _times(platform: Platform, regions: Regions) -> Iterator[Finding]:
    """Times that the planes keep to one another: too short ones page for a plane that is well, or twice."""
    asked = platform.prometheus
    heard = asked.evaluation_interval + asked.scrape_interval
    if regions.silent_after < heard:
        message = (
            f"{format_duration(regions.silent_after)}, and a heartbeat of a plane that is well may be "
            f"{format_duration(heard)} old, an evaluation_interval and a scrape_interval: it would page"
        )
        yield ("regions", "silent_after"), message, f"set it to {format_duration(heard)} or more"
    wait, told = PEER_SECONDS * (len(regions.planes) - 1), platform.alertmanager.group_interval
    if told <= wait:
        message = (
            f"{format_duration(told)}, and the last of {len(regions.planes)} Alertmanagers waits "
            f"{format_duration(wait)} for the others: it would tell what they took back meanwhile"
        )
        yield ("alertmanager", "group_interval"), message, f"set it to {format_duration(wait + PEER_SECONDS)} or more"


def _contradictions(platform: Platform, regions: Regions) -> Iterator[Finding]:
    """Addresses that are written twice, and differently."""
    site = regions.sites.get(regions.here or "")
    if site is None:
        return
    pairs: list[tuple[Any, str, str]] = [(platform.prometheus, "prometheus", regions.asked(regions.here or ""))]
    if isinstance(site, Plane):
        pairs.append((platform.alertmanager, "alertmanager", site.alertmanager))
    for section, name, wanted in pairs:
        if "url" in section.model_fields_set and section.url != wanted:
            message = f"{section.url} is not that of the plane of {regions.here}, {wanted}"
            yield (name, "url"), message, "leave it out: the plane's own address is used"
