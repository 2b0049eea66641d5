"""Versions of a model in its traffic: one that is new, how far it got, and one that came back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from midwatch import metrics
from midwatch.app.incident.asked import Asked, Found, Question
from midwatch.spec.values import format_duration
from monitors.incident.records import Change, Kind

LEAST_SHARE = 0.001
"""Share of its model's requests from which a version serves; below it are probes."""

WHOLE = 0.95
"""Share from which a version has taken over."""


def questions(asked: Asked) -> Iterator[Question]:
    """One question for the traffic of all models."""
    yield Question(source="Prometheus: versions in traffic", ask=partial(_changes, asked))


def _changes(asked: Asked) -> Found:
    window = format_duration(max(asked.step, 4 * asked.platform.prometheus.scrape_interval))
    expr = f"sum by (model, version) (increase({metrics.REQUESTS.name}[{window}]))"
    served = asked.client.query_range(expr, start=asked.first, end=asked.end, step=asked.step)
    models: dict[str, dict[str, Mapping[int, float]]] = {}
    for line in served:
        model, version = line.labels.get("model", ""), line.labels.get("version", "")
        models.setdefault(model, {})[version] = {round(at): value for at, value in line.points}
    looks = [round(asked.first + asked.step * number) for number in range(asked.looks)]
    for model, versions in sorted(models.items()):
        shares = _shares(versions, looks)
        for version in sorted(versions):
            yield from _of_version(asked, model, version, shares, looks)


def _shares(versions: Mapping[str, Mapping[int, float]], looks: Sequence[int]) -> dict[str, list[float | None]]:
    """Share of each version at each look; None without traffic of the model."""
    totals = [sum(points.get(at, 0.0) for points in versions.values()) for at in looks]
    return {
        version: [points.get(at, 0.0) / total if total else None for at, total in zip(looks, totals, strict=True)]
        for version, points in versions.items()
    }


def _of_version(
    asked: Asked, model: str, version: str, shares: Mapping[str, list[float | None]], looks: Sequence[int]
) -> Iterator[Change]:
    """Each time that the version began to serve while its model had served before."""
    own = shares[version]
    was, has_served, others_served = 0.0, False, False
    for number, share in enumerate(own):
        if share is None:
            continue
        if share > LEAST_SHARE and was <= LEAST_SHARE and others_served:
            yield _began(asked, model, version, own, looks, number, came_back=has_served)
        has_served = has_served or share > LEAST_SHARE
        others_served = others_served or share < 1 - LEAST_SHARE
        was = share


def _began(
    asked: Asked,
    model: str,
    version: str,
    own: Sequence[float | None],
    looks: Sequence[int],
    number: int,
    *,
    came_back: bool,
) -> Change:
    """The version's time in the traffic that begins at a look, until it gets none.

    Its requests are counted by themselves, so that how many it gets is in the counts already: it has no doses.
    """
    most, ended = 0.0, None
    for at, share in zip(looks[number:], own[number:], strict=True):
        if share is not None and share <= LEAST_SHARE:
            ended = float(at)
            break
        most = max(most, share or 0.0)
    kind = Kind.ROLLBACK if came_back else Kind.DEPLOYMENT if most >= WHOLE else Kind.CANARY
    verb = "came back" if came_back else "went live" if most >= WHOLE else "got its first traffic"
    return Change(
        kind=kind,
        at=max(float(looks[number]) - asked.step, asked.first),
        latest=float(looks[number]),
        ended=ended,
        what=f"version {version} of {model} {verb} (up to {most:.0%} of its requests)",
        source="Prometheus: requests by version",
        scope={"model": model, "version": version},
        undo=_undo(asked, model),
    )


def _undo(asked: Asked, model: str) -> str:
    """How traffic goes back to the version before."""
    if "argo_rollouts" in asked.platform.systems:
        return f"kubectl argo rollouts list rollouts -A  # then: kubectl argo rollouts undo ROLLOUT of {model}"
    return ""
