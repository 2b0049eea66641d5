"""A judgement of attributions as samples of metrics."""

from __future__ import annotations

from collections.abc import Iterator

from midwatch import metrics
from midwatch.exposition import Sample
from monitors.attribution.change import Change, Feature, Verdict
from monitors.attribution.judge import Judgement

VALUES = {Verdict.STABLE: 1.0, Verdict.UNKNOWN: 0.0, Verdict.CHANGED: -1.0}
"""What a verdict is published as."""

INPUTS, USE = "inputs", "use"
"""Whether a version's inputs moved, by its own past; whether a version uses its features otherwise than the one that it
replaces."""


def samples(model: str, version: str, question: str, said: Judgement) -> Iterator[Sample]:
    """All of it: verdict, how sure, and each feature before and now."""
    of = {"model": model, "version": version, "question": question}
    yield metrics.ATTRIBUTION_VERDICT, of, VALUES[said.verdict]
    yield metrics.ATTRIBUTION_LASTING, of, float(said.lasts)
    if said.change is None:
        return
    yield metrics.ATTRIBUTION_WINDOWS, of, float(said.change.windows)
    if said.change.limit is None:  # too few windows: nothing was compared
        return
    yield metrics.ATTRIBUTION_P_VALUE, of, said.change.p
    yield from _order(of, said.change)
    for one in said.change.features:
        yield from _feature(of, one, moved=one.spreads)
    for one in said.change.others:
        yield from _feature(of, one, moved=0.0)


def blind(model: str, version: str, question: str, said: Judgement) -> Iterator[Sample]:
    """What stays said while nothing can be seen: a change that was shown, and nothing that was calm."""
    of = {"model": model, "version": version, "question": question}
    yield metrics.ATTRIBUTION_VERDICT, of, min(0.0, VALUES[said.verdict])
    yield metrics.ATTRIBUTION_LASTING, of, float(said.lasts)


def _order(of: dict[str, str], change: Change) -> Iterator[Sample]:
    for side, number in (("now", change.ndcg), ("usual", change.usual_ndcg)):
        if number is not None:
            yield metrics.ATTRIBUTION_NDCG, {**of, "side": side}, number


def _feature(of: dict[str, str], one: Feature, *, moved: float) -> Iterator[Sample]:
    named = {**of, "feature": one.name}
    yield metrics.ATTRIBUTION_MOVED, named, moved
    for side, share, mean in (("before", one.share_before, one.mean_before), ("now", one.share_now, one.mean_now)):
        yield metrics.ATTRIBUTION_SHARE, {**named, "side": side}, share
        yield metrics.ATTRIBUTION_MEAN, {**named, "side": side}, mean
    low, high = one.share_change
    for bound, change in (("estimate", one.share_now - one.share_before), ("low", low), ("high", high)):
        yield metrics.ATTRIBUTION_SHARE_CHANGE, {**named, "bound": bound}, change
    if one.divergence is not None:
        yield metrics.ATTRIBUTION_DIVERGENCE, named, one.divergence
