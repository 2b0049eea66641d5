"""Recordings of systems: what a real program exposed, kept beside what its folder says, and compared with it.

`recordings/VERSION.prom` is the exposition of a program that has done something, `recordings/VERSION-idle.prom` of the
same before it did anything: from the two, the births of its counters can be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from midwatch import exposition
from midwatch.errors import MidwatchError
from midwatch.exposition import Family
from midwatch.metrics import Kind
from midwatch.spec.base import Place
from midwatch.spec.systems import SystemFile, SystemMetric, parse_version

FOLDER = "recordings"
IDLE = "-idle"

_KINDS = {
    Kind.COUNTER: {"counter"},
    Kind.GAUGE: {"gauge"},
    Kind.HISTOGRAM: {"histogram"},
    Kind.SUMMARY: {"summary"},
}


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What a program of a version exposed, by the names of its series' metrics."""

    file: str
    version: tuple[int, ...]
    is_idle: bool
    text: str

    def families(self) -> dict[str, Family]:
        """Families by the name that a query says."""
        return {_queried(family): family for family in exposition.parse(self.text)}


def _queried(family: Family) -> str:
    """A family's name as queries say it: of a counter with its `_total`, where the samples have one."""
    names = [sample.name for sample in family.samples if not sample.name.endswith("_created")]
    return names[0] if family.type == "counter" and names else str(family.name)


def load(folder: Path | Traversable) -> list[Recording]:
    """Recordings of a system's folder; MidwatchError for a file whose name or text is none."""
    inside = folder / FOLDER
    files = sorted(inside.iterdir(), key=lambda one: one.name) if inside.is_dir() else []
    return [_load(file) for file in files if file.name.endswith(".prom")]


def _load(file: Path | Traversable) -> Recording:
    stem = file.name.removesuffix(".prom")
    try:
        recording = Recording(
            file=file.name,
            version=parse_version(stem.removesuffix(IDLE)),
            is_idle=stem.endswith(IDLE),
            text=file.read_text(encoding="utf-8"),
        )
        recording.families()
    except ValueError as error:
        raise MidwatchError(
            f"{file}: {error}; name it VERSION.prom, or VERSION-idle.prom, and record it anew"
        ) from error
    return recording


def find_problems(described: SystemFile, recordings: Sequence[Recording]) -> Iterator[tuple[Place, str, str]]:
    """Where the folder says otherwise than what was recorded: kinds, labels, bounds, names, births."""
    for recording in recordings:
        families = recording.families()
        for newest, metric in described.metrics.items():
            for name in sorted(metric.every_name(newest) & set(families)):
                place: Place = ("metrics", newest)
                for message, remedy in _of_family(metric, newest, name, recording, families[name]):
                    yield place, f"{FOLDER}/{recording.file}: {message}", remedy
    yield from _births(described, recordings)


def _of_family(
    metric: SystemMetric, newest: str, name: str, recording: Recording, family: Family
) -> Iterator[tuple[str, str]]:
    version = recording.version
    if name not in metric.names_exposed(newest, version):
        yield f"{name} was recorded, and the folder says that this version has none", "correct since, until or was"
        return
    if family.type not in {*_KINDS[metric.kind], "unknown", "untyped"}:
        yield f"{name} is a {family.type}, not a {metric.kind}", f"write kind: {family.type}"
        return
    known = {*metric.labels_in(version), "le", "quantile"}
    recorded = {label for sample in family.samples for label in sample.labels}
    if strange := sorted(recorded - known):
        yield f"{name} has the label {strange[0]}", f"add {', '.join(strange)} to labels"
    bounds = sorted({float(sample.labels["le"]) for sample in family.samples if "le" in sample.labels})
    if metric.kind is Kind.HISTOGRAM and bounds and bounds[:-1] != metric.buckets_in(version):
        yield f"{name} has other bounds", f"write buckets: [{', '.join(f'{one:g}' for one in bounds[:-1])}]"


def _births(described: SystemFile, recordings: Sequence[Recording]) -> Iterator[tuple[Place, str, str]]:
    """Counters that are there at 0 before their first event, and those of which a series comes with it."""
    busy = {one.version: one.families() for one in recordings if not one.is_idle}
    for idle in (one for one in recordings if one.is_idle and one.version in busy):
        before, after = idle.families(), busy[idle.version]
        for newest, metric in described.metrics.items():
            names = metric.names_exposed(newest, idle.version) if metric.kind is Kind.COUNTER else set()
            for name in sorted(names & set(before) & set(after)):
                born = _is_born_at_one(before[name], after[name])
                if born is not None and born != metric.born_at_one:
                    told = "has series that appear with their first event" if born else "is there at 0 before any event"
                    message = f"{FOLDER}/{idle.file}: {name} {told}"
                    yield ("metrics", newest), message, f"write born_at_one: {str(born).lower()}"


def _is_born_at_one(before: Family, after: Family) -> bool | None:
    """Whether series of a counter appear with their first event; None where nothing tells.

    Of a family without a series before, nothing does: what it counts may not have been there.
    """
    told = {_key(sample): sample.value for sample in before.samples}
    if any(sample.value > 0 for sample in after.samples if _key(sample) not in told):
        return True
    return False if any(value == 0 for value in told.values()) else None


def _key(sample: Any) -> tuple[str, tuple[tuple[str, str], ...]]:
    return sample.name, tuple(sorted(sample.labels.items()))


def written(text: str, about: str, described: SystemFile) -> str:
    """A recording as it is kept: what it is, and the families that the folder knows by any name."""
    known = {name for newest, metric in described.metrics.items() for name in metric.every_name(newest)}
    families = [one for one in exposition.parse(text) if one.samples and _queried(one) in known]
    head = "".join(f"# {line}\n" for line in about.splitlines())
    return head + exposition.render_as_parsed(sorted(families, key=lambda family: str(family.name)))
