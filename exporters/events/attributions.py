"""What explanations say of features, as counts that add up: how much each adds and takes away, and its places.

An attribution is a feature's share of one prediction, from SHAP or whatever adds up to the model's answer. A sum over
predictions may fall, so it is kept as two that cannot: what the feature added, and what it took away.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping

import msgspec

from midwatch import metrics


class Attribution(msgspec.Struct, array_like=True, gc=False):
    """A feature: sums of what it added, of what it took away (as a positive number), and of squares; places by bucket.

    Place 1 is the feature with the greatest amount of a prediction; `places` has one count per bound and one beyond.
    """

    added: float = 0.0
    taken: float = 0.0
    squares: float = 0.0
    place_sum: float = 0.0
    places: list[int] = msgspec.field(default_factory=lambda: [0] * (len(metrics.PLACE_BUCKETS) + 1))


class Explained(msgspec.Struct):
    """Explained predictions of a version, and what was said of each feature."""

    count: int = 0
    features: dict[str, Attribution] = {}

    def add(self, attributions: Mapping[str, float], told: Callable[[str], str]) -> None:
        """Count one explanation; `told` is the name that a feature is counted under."""
        self.count += 1
        sizes = sorted(attributions.items(), key=lambda one: (-abs(one[1]), one[0]))
        for place, (name, amount) in enumerate(sizes, start=1):
            published = told(name)
            feature = self.features.get(published)
            if feature is None:
                feature = self.features[published] = Attribution()
            if amount > 0:
                feature.added += amount
            else:
                feature.taken -= amount
            feature.squares += amount * amount
            feature.place_sum += place
            feature.places[bisect_left(metrics.PLACE_BUCKETS, place)] += 1
