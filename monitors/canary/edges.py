"""Where a histogram has no edge near what is promised: a change of latency that stays within a bucket is not seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from midwatch import serving
from midwatch.errors import Problem
from midwatch.metrics import CATALOGUE
from midwatch.server_metrics import CATALOGUE as SERVERS
from midwatch.spec import canary as spec
from midwatch.spec.base import Place
from midwatch.spec.document import Document, path_text
from midwatch.spec.model import Model, Platform

WIDEST = 2.5
"""Times its lower edge that a bucket may reach, as the widest of the usual buckets do (0.1 s to 0.25 s)."""
NEAR = 4.0
"""Times an objective's threshold, up and down: the region in which a criterion has to see changes."""


def find_warnings(platform: Platform, document: Document) -> Iterator[Problem]:
    """Objectives and criteria of latency whose region has no bucket edge."""
    for index, model in enumerate(platform.models):
        for place, message in (*_objectives(model), *_criteria(model)):
            whole: Place = ("models", index, *place)
            file, line = document.at(whole)
            yield Problem(file=file, line=line, path=path_text(whole), message=message, remedy=_remedy(model))


def _objectives(model: Model) -> Iterator[tuple[Place, str]]:
    bounds = _bounds(model, of_events=model.serving == "midwatch")
    for number, threshold in _thresholds(model):
        below = [bound for bound in bounds if bound < threshold * (1 - 1e-9)]
        if bounds and threshold > WIDEST * max(below, default=0.0) * (1 + 1e-9):
            lowest = f"{below[-1]:g} s" if below else "0"
            place: Place = ("slos", number, "sli", "latency", "threshold")
            unseen = "what becomes slower up to the threshold is not seen"
            yield place, f"the histogram has no edge between {lowest} and {threshold:g} s: {unseen}"


def _criteria(model: Model) -> Iterator[tuple[Place, str]]:
    if model.canary is None:
        return
    of_events = model.canary.source == "events" or model.serving == "midwatch"
    bounds = _bounds(model, of_events=of_events)
    wide = _wide(bounds, [threshold for _, threshold in _thresholds(model)], all_count=of_events)
    for number, criterion in enumerate(model.canary.criteria):
        if isinstance(criterion, spec.Latency) and criterion.histogram is None and wide:
            gaps = ", ".join(f"{low:g} s to {high:g} s" for low, high in wide)
            place: Place = ("canary", "criteria", number)
            yield place, f"the histogram has no edge within {gaps}: a change of latency in there cannot be seen"


def _wide(bounds: Sequence[float], thresholds: Sequence[float], *, all_count: bool) -> list[tuple[float, float]]:
    """Buckets that are too wide, near a threshold; any of one's own histogram where nothing is promised."""
    return [
        (low, high)
        for low, high in pairwise(bounds)
        if high > WIDEST * low * (1 + 1e-9)
        and (any(low < NEAR * one and high > one / NEAR for one in thresholds) or (not thresholds and all_count))
    ]


def _thresholds(model: Model) -> list[tuple[int, float]]:
    return [
        (number, slo.sli.latency.threshold)
        for number, slo in enumerate(model.slos)
        if not isinstance(slo.sli, str) and slo.sli.latency
    ]


def _bounds(model: Model, *, of_events: bool) -> list[float]:
    """Bounds of a model's histogram of latency, in seconds; empty where they are not known."""
    if of_events:
        return list(model.latency_buckets)
    profile = serving.profile_of(model)
    name = (profile.duration or "").partition("{")[0]
    known = SERVERS.get(name) or CATALOGUE.get(name)
    return [bound * profile.unit for bound in known.buckets if math.isfinite(bound)] if known else []


def _remedy(model: Model) -> str:
    if model.serving == "midwatch" or (model.canary and model.canary.source == "events"):
        return "add one to latency_buckets, at most 2.5 times the one below"
    return "let the server publish more buckets, or watch the latency that the events tell"
