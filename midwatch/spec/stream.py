"""The `stream` section: the exporter's counts by Spark, from topics of Kafka, folders of files, or Delta tables."""

from __future__ import annotations

import posixpath
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from midwatch.spec.base import HostPorts, Strict, Topic
from midwatch.spec.scraped import Scraped
from midwatch.spec.values import Duration

EVENT_FIELDS = frozenset(
    {
        *("event", "id", "model", "version", "ts", "duration_seconds", "outcome", "prediction", "score", "rank"),
        *("trace_id", "label", "label_ts"),
    }
)
"""Fields of an event that a column of a table may have under another name, or a value for all of its rows."""


def _known_fields(fields: dict[str, str]) -> dict[str, str]:
    if unknown := min(set(fields) - EVENT_FIELDS, default=None):
        raise ValueError(f"has {unknown}, which is no field of an event; they are {', '.join(sorted(EVENT_FIELDS))}")
    return fields


def _of_all_rows(values: dict[str, str]) -> dict[str, str]:
    if "id" in values:
        raise ValueError("has an id for all rows, which would be one event sent again and again; it has to be a column")
    return values


Columns = Annotated[dict[str, str], AfterValidator(_known_fields)]
Values = Annotated[Columns, AfterValidator(_of_all_rows)]


def _each_once(topics: list[str]) -> list[str]:
    if again := next((topic for topic in topics if topics.count(topic) > 1), None):
        raise ValueError(f"has {again} twice; write each topic once")
    return topics


class KafkaTopics(Strict):
    """Topics with predictions, labels and inference logs, of one cluster of brokers."""

    servers: HostPorts
    """HOST:PORT of brokers that know the others."""
    topics: Annotated[list[Topic], Field(min_length=1), AfterValidator(_each_once)]
    """The topics; a record has one or more of our events as JSON, or is a CloudEvent of an inference log."""
    begin: Literal["earliest", "latest"] = "earliest"
    """Where a new checkpoint begins; one that there is goes on where it was."""
    properties_file: Path | None = Field(default=None, strict=False)
    """File with properties of a Kafka client, a `name=value` a line, such as its security protocol and credentials."""


class EventFolder(Strict):
    """A folder that files of events come into: Parquet, JSON lines or CSV, in folders of their own below it as well.

    A file is read once nobody has written to it for a while, and again when it changes: what came before is dropped
    by its ids. Names that begin with `.` or `_` are hidden. Its events arrive at the time that it was written.
    """

    path: Annotated[str, StringConstraints(min_length=1)]
    """The folder, or an address of one, such as `s3://bucket/events`; from the folder of this file where relative."""
    settle: Duration = 10.0
    """How long nobody has written to a file before it is read."""
    files: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Most files of a batch."""
    columns: Columns = {}
    """Columns by the field of an event, where they have other names."""
    values: Values = {}
    """Values of fields that no column has."""
    utc: bool = False
    """Times without a zone are UTC."""


class EventTable(Strict):
    """A Delta table that rows of events are appended to; they arrive at the time that their file was written."""

    path: Annotated[str, StringConstraints(min_length=1)]
    """The table's folder, or its address; from the folder of this file where relative."""
    files: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Most files of a batch."""
    columns: Columns = {}
    """Columns by the field of an event, where they have other names."""
    values: Values = {}
    """Values of fields that no column has."""
    utc: bool = False
    """Times without a zone are UTC."""


class Stream(Scraped):
    """The job of `midwatch stream run`; in a cluster it is rendered where this section is."""

    listen: str = "127.0.0.1:9590"
    """HOST:PORT where the driver serves `/metrics`; off loopback it needs a token."""
    kafka: KafkaTopics | None = None
    """Topics that it reads."""
    folders: list[EventFolder] = []
    """Folders that it reads."""
    tables: list[EventTable] = []
    """Delta tables that it reads."""
    exporters: bool = True
    """Whether exporters take events beside it; without them none is scraped, missed or rendered."""
    cores: Annotated[int, Field(ge=1, le=512)] = 2
    """Processors of the driver's machine that work, unless `--master` names a cluster."""
    every: Duration = 2.0
    """How often a batch begins; one that takes longer is followed at once."""
    most: Annotated[int, Field(ge=1000, le=50_000_000)] = 500_000
    """Most records of a batch: it is held in memory at the driver."""
    buckets: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Parts of the ids, each kept by one worker at a time; a new checkpoint is needed for another number."""
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Partitions of Spark's state: as many workers can join; a new checkpoint is needed for another number."""

    @model_validator(mode="after")
    def _has_a_source(self) -> Stream:
        if self.kafka is None and not self.folders and not self.tables:
            raise ValueError("needs something to read: kafka, folders or tables")
        places = [folder.path for folder in self.folders] + [table.path for table in self.tables]
        for number, path in enumerate(places):
            for other in places[:number]:
                if _is_inside(path, other) or _is_inside(other, path):
                    raise ValueError(f"{other} and {path} have files in common, which would be read twice")
        return self


def _place(path: str) -> tuple[str, ...]:
    """Parts of the one way to write a folder: Hadoop's three names of S3 are one, and `a/./b/` is `a/b`."""
    scheme, _, rest = path.rpartition("://")
    scheme = {"s3a": "s3", "s3n": "s3", "file": ""}.get(scheme.lower(), scheme.lower())
    return (scheme, *PurePosixPath(posixpath.normpath(rest)).parts)


def _is_inside(path: str, folder: str) -> bool:
    """Whether what is in a folder is read with another one: names below it that are hidden are not."""
    inner, outer = _place(path), _place(folder)
    below = inner[len(outer) :]
    return inner[: len(outer)] == outer and not any(name.startswith((".", "_")) for name in below)
