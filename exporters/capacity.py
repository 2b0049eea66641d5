"""Whether the exporter's limits hold what the platform file says will come: arithmetic, before anything runs.

What cannot hold is a problem; what nothing is stated of is a warning, since nobody can tell. The series are counted by
the code that counts them in service.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence

from exporters.events import store
from exporters.events.counters import Counters
from exporters.events.group_sums import Promised
from exporters.events.lateness import Lateness
from exporters.events.series_sizes import SERIES_OF_FEATURE
from exporters.events.waiting import WaitingPrediction
from midwatch import jobs, scrape_size
from midwatch.client.events import Prediction
from midwatch.errors import Problem
from midwatch.spec.base import Finding, Place
from midwatch.spec.document import Document
from midwatch.spec.model import Caps, Exporter, Model, Platform
from midwatch.spec.values import format_duration

WAITING_BYTES = 80
"""Bytes of a snapshot for a prediction that waits: 72 were measured with a score and one group."""

WAITING_MEMORY = 176
"""Bytes of memory of a prediction that waits: 236.3 MiB with a million of them, 68 MiB with none (`make bench
FLAGS=exporter`)."""

ID_BYTES = 8
GENERATIONS = 2
"""Ids are forgotten by generations: up to twice as many are kept as have to be remembered."""

FEWEST_GROUPS = 2
"""Groups of an attribute that a promise compares, at least: of each, scores, errors and exposure are summed."""

EVENTS = 2
"""A prediction and its label: the ids of both are remembered."""


def find_problems(platform: Platform, document: Document) -> list[Problem]:
    """What cannot hold."""
    return [document.problem(*found) for found in _findings(platform)]


def find_warnings(platform: Platform, document: Document) -> list[Problem]:
    """What cannot be judged, and what holds only as long as the caps are not reached."""
    return [
        document.problem(*found) for found in (*_unstated(platform), *_partitions(platform), *_slow_at_caps(platform))
    ]


def _findings(platform: Platform) -> Iterator[Finding]:
    yield from _names(platform)
    yield from _series(platform)
    yield from _waiting(platform)
    yield from _volume(platform)


# Names and series --------------------------------------------------------------------------------------------------


def _names(platform: Platform) -> Iterator[Finding]:
    caps, models = platform.exporter.caps, len(platform.models)
    if models > caps.models:
        message = (
            f"{models} models are in this file, and the cap is {caps.models}: events of the others count as `other`"
        )
        yield _cap("models"), message, f"set exporter.caps.models to {models} or more"
    for index, model in enumerate(platform.models):
        if model.canary and caps.versions < _versions(model):
            message = f"a canary is a second version, and the cap is {caps.versions}: it would count as `other`"
            yield ("models", index, "canary"), message, f"set exporter.caps.versions to {_versions(model)} or more"


def _versions(model: Model) -> int:
    """Versions of a model that serve together, at least."""
    return 2 if model.canary else 1


def _series(platform: Platform) -> Iterator[Finding]:
    caps = platform.exporter.caps
    counted, judged = least_series(platform), judged_series(platform)
    for series, what in ((counted, "counters"), (judged, "drift judge's gauges")):
        if series > caps.series:
            message = (
                f"{len(platform.models)} models have at least {series:,} series of {what}; the cap is {caps.series:,}"
            )
            yield _cap("series"), message, f"set exporter.caps.series to {series} or more, or watch less of each model"
    interval, total = platform.prometheus.scrape_interval, counted + judged
    if scrape_size.seconds(total) > interval:
        message = f"a scrape of {total:,} series may take {_seconds(total)}, longer than scrape_interval"
        yield ("prometheus", "scrape_interval"), message, f"set it to {_seconds(total)} or more"


def least_series(platform: Platform) -> int:
    """Series of the counters once every model, version and declared class was seen and each was right once."""
    caps = Caps(series=sys.maxsize)
    by_shape: dict[object, int] = {}
    total = 0
    for model in platform.models:
        shape = (
            model.task,
            len(model.latency_buckets),
            frozenset(model.class_names),
            len(model.attributes),
            model.positive is None,
            model.explanations and model.explanations.features,
            len(model.error_bounds),
            Promised.of(model).series,
            _versions(model),
        )
        if shape not in by_shape:
            by_shape[shape] = _series_of_model(model, caps)
        total += by_shape[shape]
    return total


def _series_of_model(model: Model, caps: Caps) -> int:
    counters = Counters(caps, [model])
    score = None if model.positive is None else 0.5
    for version in range(_versions(model)):
        for answer in _answers(model):
            asked = Prediction(id="", model=model.name, version=str(version), ts=0.0, prediction=answer, score=score)
            series = counters.count_request(asked)
            predicted = counters.count_prediction(series, asked, answer)
            waits = WaitingPrediction(0.0, 0.0, model.name, series.version, predicted, score, None)
            counters.count_outcome(waits, answer, 0.0)
    explained = model.explanations.features * SERIES_OF_FEATURE + 1 if model.explanations else 0
    return counters.series + _versions(model) * (explained + FEWEST_GROUPS * Promised.of(model).series)


def _answers(model: Model) -> Sequence[str | float]:
    """What a model answers at least: each class that is declared, two where none is, a number, or a text."""
    if model.task == "regression":
        return (1.0,)
    return sorted(model.class_names) or (("text",) if model.task == "generation" else ("yes", "no"))


def judged_series(platform: Platform) -> int:
    """Series of the drift judge, of the versions that serve together."""
    return sum(_versions(model) * scrape_size.drift_series(model.drift) for model in platform.models if model.drift)


def _seconds(series: int) -> str:
    return format_duration(float(-(-scrape_size.seconds(series) // 1)))


def _slow_at_caps(platform: Platform) -> Iterator[Finding]:
    series, interval = scrape_size.most_series(platform), platform.prometheus.scrape_interval
    if scrape_size.seconds(series) > interval:
        message = f"up to {series:,} series are let through, and a scrape of them may take {_seconds(series)}"
        yield _cap("series"), message, f"lower it, or set prometheus.scrape_interval to {_seconds(series)} or more"


# Predictions that wait, and the disk -------------------------------------------------------------------------------


def _rate(platform: Platform) -> float:
    """Predictions a second of one exporter that are stated."""
    return sum(model.requests_per_second or 0.0 for model in platform.models) / exporters_of(platform)


def exporters_of(platform: Platform) -> int:
    """How many exporters the platform file has that count: a judge of drift alone does not."""
    return max(1, len(jobs.service_targets(platform, jobs.EXPORTER)) - jobs.has_judge_alone(platform))


def _waiting_most(platform: Platform) -> float:
    """Predictions that wait when no label comes before the retention is over."""
    settings = platform.exporter
    return _rate(platform) * float(settings.sample) * settings.label_retention


def _waiting(platform: Platform) -> Iterator[Finding]:
    settings, waiting = platform.exporter, _waiting_most(platform)
    if settings.kafka is not None or waiting <= settings.max_waiting:
        return  # of a fleet on Kafka it is by partition
    message = (
        f"{_written(_rate(platform))} predictions/s{_of_sample(settings)} "
        f"for {format_duration(settings.label_retention)} are {waiting:,.0f}, "
        f"and {settings.max_waiting:,} may wait: labels of the others would come for nothing"
    )
    holds = settings.max_waiting / waiting
    remedies = [f"set max_waiting to {math.ceil(waiting)} ({waiting * WAITING_MEMORY / 2**30:,.1f} GiB of memory)"]
    if (retention := math.floor(settings.label_retention * holds)) >= 1:
        remedies.append(f"label_retention to {format_duration(float(retention))}")
    if share := _rounded_down(float(settings.sample) * holds):
        remedies.append(f"sample to {share}")
    yield ("exporter", "max_waiting"), message, ", or ".join(remedies)


def least_partitions(platform: Platform) -> int:
    """Partitions in which all predictions of a fleet may wait for their labels; 0 without Kafka."""
    kafka = platform.exporter.kafka
    return 0 if kafka is None else math.ceil(_waiting_most(platform) * exporters_of(platform) / kafka.max_waiting)


def _partitions(platform: Platform) -> Iterator[Finding]:
    kafka, least = platform.exporter.kafka, least_partitions(platform)
    if kafka is None or least <= 1:
        return
    waiting = _waiting_most(platform) * exporters_of(platform)
    message = (
        f"{waiting:,.0f} predictions may wait, and {kafka.max_waiting:,} in each partition: with fewer than {least:,} "
        "partitions labels of the others would come for nothing"
    )
    yield (
        ("exporter", "kafka", "max_waiting"),
        message,
        "see how many partitions the topic has; set max_waiting to what each is to hold",
    )


def _rounded_down(share: float) -> str:
    """A percentage of three digits that is no larger; nothing for one below a millionth.

    >>> _rounded_down(0.077160), _rounded_down(0.0000123), _rounded_down(1e-7)
    ('7.71%', '0.00123%', '')
    """
    if share < 1e-6:
        return ""
    digits = 2 - math.floor(math.log10(share * 100))
    percent = math.floor(share * 100 * 10**digits) / 10**digits
    return f"{percent:.{max(0, digits)}f}%"


def _written(rate: float) -> str:
    """Three digits, or more where a number has more before its point; a large one has no exponent.

    >>> _written(23.148), _written(99.96), _written(1234567.0)
    ('23.1', '100', '1,234,567')
    """
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _of_sample(settings: Exporter) -> str:
    return "" if settings.sample == 1 else f", of which {float(settings.sample):.3g} are kept,"


def least_volume(platform: Platform) -> int:
    """Bytes of the state at its largest: while a snapshot is written, the one before it and the journal are there.

    Then the journal is as large as the snapshot, or 64 MiB; and what the drift judge has not read is kept as well.
    """
    settings, lateness = platform.exporter, Lateness(platform.exporter, platform.models)
    waiting = min(_waiting_most(platform), settings.max_waiting)
    ids = sum((model.requests_per_second or 0.0) * lateness.horizon(model.name) for model in platform.models)
    remembered = EVENTS * GENERATIONS * ids / max(1, len(settings.targets))
    snapshot = waiting * WAITING_BYTES + remembered * ID_BYTES
    unread = store.UNREAD_LIMIT if any(model.drift for model in platform.models) else 0
    return int(2 * snapshot + max(store.SNAPSHOT_EVERY, snapshot) + unread)


def _volume(platform: Platform) -> Iterator[Finding]:
    volume, needed = platform.exporter.volume, least_volume(platform)
    if platform.exporter.kafka is not None:
        return  # how many partitions a member has is not in the file
    if volume is not None and needed > volume:
        message = (
            f"journal and snapshots may have {needed / 2**20:,.0f} MiB, and the volume has {volume / 2**20:,.0f} MiB"
        )
        yield (
            ("exporter", "volume"),
            message,
            f"give it {-(-needed // 2**20)}MiB or more, or let fewer predictions wait",
        )


def _unstated(platform: Platform) -> Iterator[Finding]:
    unstated = [model.name for model in platform.models if model.requests_per_second is None]
    if not unstated:
        return
    settings = platform.exporter
    names = ", ".join(unstated[:3]) + (f" and {len(unstated) - 3} more" if len(unstated) > 3 else "")
    message = (
        f"nothing states the traffic of {names}: whether max_waiting, label_retention and the disk hold is not judged"
    )
    remedy = "state requests_per_second of each model"
    if kept := settings.label_retention * float(settings.sample):
        most, of_one = settings.max_waiting, "exporter"
        if settings.kafka is not None:
            most, of_one = settings.kafka.max_waiting, "partition"
        remedy += f"; {most:,} hold {_written(most / kept)}/s of one {of_one}"
    yield ("exporter",), message, remedy


def _cap(name: str) -> Place:
    return "exporter", "caps", name
