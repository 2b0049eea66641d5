"""Everything that a `stream` section names to be read, as one streaming frame of records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from hashlib import sha256
from pathlib import Path
from typing import Any

from exporters.event_files import Reading
from exporters.stream.sources import delta, folder, kafka
from exporters.stream.sources.folder import Folder
from midwatch.spec.stream import EventFolder, Stream


def settings(stream: Stream) -> dict[str, str]:
    """Settings that Spark needs before it starts."""
    return dict(delta.EXTENSIONS) if stream.tables else {}


def settle(stream: Stream) -> float:
    """Seconds that a file can wait in a folder before it is read."""
    return max((one.settle for one in stream.folders), default=0.0)


def records(spark: Any, stream: Stream, base: Path, state: Path, properties: Mapping[str, str]) -> Any:
    """Records of all sources. `base` is the folder of the platform file, `state` that of the logs of files.

    DeltaError for a table that cannot be read.
    """
    frames = []
    if stream.kafka is not None:
        frames.append(kafka.read(spark, stream.kafka, dict(properties), cores=stream.cores, most=stream.most))
    frames += [folder.frame(spark, _folder(one, base, state)) for one in stream.folders]
    frames += [
        delta.frame(
            spark,
            _place(one.path, base),
            Reading(columns=one.columns, values=one.values, is_utc=one.utc),
            files=one.files,
        )
        for one in stream.tables
    ]
    return reduce(lambda whole, one: whole.unionByName(one), frames)


@contextmanager
def topic_ids(spark: Any, stream: Stream, properties: Mapping[str, str]) -> Iterator[Callable[[], Mapping[str, str]]]:
    """What asks for the ids of the topics that are read, by name; none where Kafka is not read."""
    if stream.kafka is None:
        yield dict
        return
    with kafka.topic_ids(spark, stream.kafka, properties) as now:
        yield now


def _folder(given: EventFolder, base: Path, state: Path) -> Folder:
    return Folder(
        path=_place(given.path, base),
        log=str(state / f"files-{sha256(given.path.encode()).hexdigest()[:16]}.log"),
        settle=given.settle,
        files=given.files,
        columns=given.columns,
        values=given.values,
        is_utc=given.utc,
    )


def _place(path: str, base: Path) -> str:
    return path if "://" in path else str((base / path).absolute())
