"""How many series a scrape of one exporter may bring, and how long Prometheus waits for them."""

from __future__ import annotations

from midwatch.spec.drift import FEATURE_METHODS, Drift, Feature
from midwatch.spec.model import Platform

SECONDS_PER_SERIES = 10e-6
"""A series takes 2 microseconds of a core when every one has changed (`make bench FLAGS=size`). Five times as long on a
machine that has other work, with what the network and Prometheus take."""

USUAL_TIMEOUT = 10.0
"""Seconds; Prometheus' own `scrape_timeout`."""

NEAR = 0.5
"""Share of the timeout from which a scrape is said to be slow: twice as many series would not arrive."""

OF_A_RESULT = 5
"""Series of a method that looked at a feature: vote, statistic, p-value, effect, and the least effect it would see."""

OF_A_CHECK = 4
"""Series of a check of quality of a feature: vote, statistic, p-value, effect."""

CHECKS = {Feature.NUMERIC: 3, Feature.CATEGORICAL: 2}
"""Checks of a feature: missing values; of numbers the type and the range, of categories new ones."""

OF_A_FEATURE = 2
"""Series of a feature beside its methods': whether it was judged, and the rows that it needs."""

OF_A_WINDOW = 10
"""Series of a version beside its features': verdict, votes, samples, end, episode and episodes, windows by verdict."""


DRAWN_FEATURES = 5
"""Features of a version whose distributions the judge publishes by bin, at most."""

OF_A_DRAWN_FEATURE = 2 * 12
"""Series of those: the reference's and the window's share of each of twelve bins."""


def drift_series(drift: Drift) -> int:
    """Most series that the judge says of one version; fewer where a method does not fit a feature's kind."""
    of_features = sum(method in FEATURE_METHODS for method in drift.methods)
    results = len(drift.features) * of_features + len(drift.methods)  # each also of many features, or of whole rows
    checks = sum(CHECKS[kind] for kind in drift.features.values()) * OF_A_CHECK
    drawn = min(DRAWN_FEATURES, len(drift.features)) * OF_A_DRAWN_FEATURE
    return results * OF_A_RESULT + checks + len(drift.features) * OF_A_FEATURE + drawn + OF_A_WINDOW


def most_series(platform: Platform) -> int:
    """Most series of one exporter: its counters up to `caps.series`, and as many at most of the drift judge."""
    caps = platform.exporter.caps
    judged = sum(drift_series(model.drift) for model in platform.models if model.drift)
    return caps.series + min(caps.series, 2 * caps.versions * judged)


def seconds(series: int) -> float:
    """How long a scrape of so many series may take."""
    return series * SECONDS_PER_SERIES


def timeout(platform: Platform) -> float:
    """Seconds that Prometheus waits for the exporter: fitted to its most series, and never more than the interval."""
    return min(platform.prometheus.scrape_interval, max(USUAL_TIMEOUT, float(round(seconds(most_series(platform))))))
