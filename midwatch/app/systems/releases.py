"""Which version of each model is champion, which is deployed and which serves, and whether the three agree.

Prometheus is asked for what the systems exporter, Argo CD's section and the models' own metrics say; what follows is
pure. A part that cannot be seen makes agreement undecided, never a disagreement less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from midwatch.prometheus import Client, Sample
from midwatch.spec.model import Platform
from midwatch.spec.observed.argo_cd import ArgoCdObserved
from midwatch.spec.observed.mlflow import MlflowObserved

_TRAFFIC = "sum by (model, version) (rate(ml_requests_total[10m]) or model:ml_requests:rate) > 0"
_CHAMPIONS = "max by (model, version, served_version) (registry_champion_info)"
_COUNTS = "max by (model) (registry_champions)"
_DEPLOYED = (
    "max by (model, application, version, sync) (argo_cd_application_model_version_info"
    " * on (application, namespace) group_left (sync) argo_cd_application_info)"
)


class State(StrEnum):
    """What is known of a model."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A version that an application has, and the application's state of sync."""

    application: str
    version: str
    sync: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What Prometheus has of a model: champions as servers call them by their number, shares of traffic by version.

    `champions` is None where the registry is not seen; `is_deployed_asked` says whether Argo CD is asked for the model.
    """

    model: str
    champions: Mapping[str, str] | None
    traffic: Mapping[str, float]
    deployed: Sequence[Deployed]
    is_deployed_asked: bool


@dataclass(frozen=True, kw_only=True)
class Release:
    """What was seen of a model, its state, and the reasons for that."""

    seen: Seen
    state: State
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """One line for people."""
        parts = [_of_champion(self.seen), _of_traffic(self.seen), *_of_deployed(self.seen)]
        reasons = f" ({'; '.join(self.reasons)})" if self.reasons else ""
        return f"{self.seen.model}: {', '.join(parts)}: {self.state}{reasons}"


# Asking ------------------------------------------------------------------------------------------------------------


def ask(client: Client, platform: Platform, registry: MlflowObserved) -> list[Seen]:
    """What a Prometheus has of each model of the registry's section; QueryError when it does not answer."""
    argo_cd = next((use.observe for use in platform.systems.values() if isinstance(use.observe, ArgoCdObserved)), None)
    asked = {carried.model for carried in argo_cd.carries.values()} if argo_cd is not None else set()
    champions, counts = _by_model(client.query(_CHAMPIONS)), _by_model(client.query(_COUNTS))
    traffic, deployed = _by_model(client.query(_TRAFFIC)), _by_model(client.query(_DEPLOYED))
    return [
        Seen(
            model=model,
            champions=_champions(champions.get(model, [])) if model in counts else None,
            traffic=_shares(traffic.get(model, [])),
            deployed=[_deployed(sample) for sample in deployed.get(model, [])],
            is_deployed_asked=model in asked,
        )
        for model in registry.registered([model.name for model in platform.models])
    ]


def _by_model(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.labels.get("model", ""), []).append(sample)
    return found


def _champions(samples: Sequence[Sample]) -> dict[str, str]:
    return {sample.labels["version"]: sample.labels["served_version"] for sample in samples}


def _shares(samples: Sequence[Sample]) -> dict[str, float]:
    total = sum(sample.value for sample in samples)
    shares = {sample.labels.get("version", ""): sample.value / total for sample in samples}
    return dict(sorted(shares.items(), key=lambda one: (-one[1], one[0])))


def _deployed(sample: Sample) -> Deployed:
    labels = sample.labels
    return Deployed(application=labels["application"], version=labels["version"], sync=labels.get("sync", ""))


# Judging -----------------------------------------------------------------------------------------------------------


def judge(seen: Seen, tolerated_share: float) -> Release:
    """Whether a model's champion is what is deployed and what serves; so much of the traffic may be of others."""
    wrong, unseen = list(_wrong(seen, tolerated_share)), list(_unseen(seen))
    state = State.DISAGREES if wrong else State.UNDECIDED if unseen else State.AGREES
    return Release(seen=seen, state=state, reasons=(*wrong, *unseen))


def _wrong(seen: Seen, tolerated_share: float) -> Iterator[str]:
    if seen.champions is None:
        return
    if len(seen.champions) != 1:
        yield f"the registry has {len(seen.champions) or 'no'} champions"
        return
    ((champion, served),) = seen.champions.items()
    other = sum(share for version, share in seen.traffic.items() if version not in ("", served))
    if other > tolerated_share:
        yield f"{other:.0%} of traffic is not of the champion"
    for one in seen.deployed:
        if one.version != champion:
            yield f"{one.application} has {one.version}"


def _unseen(seen: Seen) -> Iterator[str]:
    if seen.champions is None:
        yield "the registry is not seen"
    if not seen.traffic:
        yield "no traffic is seen"
    if "" in seen.traffic:
        yield f"{seen.traffic['']:.0%} of traffic says no version"
    if seen.is_deployed_asked and not seen.deployed:
        yield "what is deployed is not seen"


# Saying ------------------------------------------------------------------------------------------------------------


def _of_champion(seen: Seen) -> str:
    if seen.champions is None:
        return "champion is not known"
    return f"champion is {' and '.join(sorted(seen.champions)) or 'no version'}"


def _of_traffic(seen: Seen) -> str:
    shares = [f"{share:.0%} of traffic is {version or 'of no version'}" for version, share in seen.traffic.items()]
    return ", ".join(shares) or "no traffic"


def _of_deployed(seen: Seen) -> Iterator[str]:
    for one in sorted(seen.deployed, key=lambda one: (one.application, one.version)):
        yield f"Argo CD has {one.version} in {one.application} ({one.sync or 'state unknown'})"
    if not seen.is_deployed_asked:
        yield "Argo CD is not asked"
