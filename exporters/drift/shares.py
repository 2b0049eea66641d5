"""Both distributions of the features that a verdict rests on most, by bin: what is drawn beside it.

A bin is named by its edges or its category. A category that looks like no name of one, such as a sentence, is not
published by itself: all of those are the one bin `text`, as in every other label.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from exporters.drift.published import Group
from exporters.events.class_names import TEXT, is_class_like
from midwatch import metrics
from midwatch.scrape_size import DRAWN_FEATURES
from monitors.drift.counts import Counts, NumericGrid
from monitors.drift.histograms import histograms
from monitors.drift.reference import FeatureReference
from monitors.drift.verdict import Judgement

PREDICTION = "prediction"
"""The feature that is a model's answer, whose classes the platform file may declare."""

Bin = tuple[str, float, float]
"""Name, and the share of the reference's values and of the window's."""


def of_window(
    where: Mapping[str, str],
    features: Mapping[str, FeatureReference],
    window: Mapping[str, Counts],
    judgement: Judgement,
    classes: Collection[str] = (),
) -> Iterator[Group]:
    """What is published of a window: the shares of the features that drifted, then of those nearest to it.

    `classes` are those that the platform file declares of the model. A feature that names a person is none of these:
    the platform file is refused that would have it watched.
    """
    ranked = dict.fromkeys(finding.feature for finding in (*judgement.drifted, *judgement.ranked))
    shown = [name for name in ranked if name in window]
    for feature in shown[:DRAWN_FEATURES]:
        declared = classes if feature == PREDICTION else ()
        for place, (name, before, now) in enumerate(_bins(features[feature], window[feature], declared)):
            of_bin = {**where, "feature": feature, "place": f"{place:02}", "bin": name}
            yield {**of_bin, "side": "reference"}, {metrics.DRIFT_SHARE.name: before}
            yield {**of_bin, "side": "window"}, {metrics.DRIFT_SHARE.name: now}


def _bins(reference: FeatureReference, window: Counts, declared: Collection[str]) -> list[Bin]:
    names, before, now = histograms(reference, window)
    bins = list(zip(names, before.tolist(), now.tolist(), strict=True))
    return bins if isinstance(reference.grid, NumericGrid) else _told(bins, declared)


def _told(bins: list[Bin], declared: Collection[str]) -> list[Bin]:
    """Bins whose names may stand, and one for all others at the end."""
    told = [one for one in bins if one[0] in declared or is_class_like(one[0])]
    hidden = [one for one in bins if one not in told]
    if hidden:
        told.append((TEXT, sum(one[1] for one in hidden), sum(one[2] for one in hidden)))
    return told
