"""Whether a Prometheus has a system's metrics as the platform file says them, and if not, what to set.

Prometheus is asked what targets there are and which names they expose; what follows from that is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from midwatch import system_check
from midwatch.prometheus import Client
from midwatch.spec import system_names
from midwatch.spec.system_names import Names
from midwatch.spec.system_rules import Installed, version_text
from midwatch.system_facts import OF_A_TARGET


class State(StrEnum):
    """What is known of a system."""

    ANSWERS = "answers"
    OTHER_VERSION = "speaks another version"
    OTHER_LABELS = "has other labels"
    EXPOSES_NOTHING = "exposes nothing"
    NOT_SCRAPED = "not scraped"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a Prometheus has of a system: targets by whether they answer, names by the job that has them.

    `exported` are labels that it keeps as `exported_…`.
    """

    targets: Mapping[str, bool] = field(default_factory=dict)
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    exported: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The state of a system, why, and what to do; `missing` are names that rules read and nothing exposes."""

    system: str
    title: str
    state: State
    stated: str
    message: str
    remedy: str = ""
    spoken: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    down: tuple[str, ...] = ()


# Asking ------------------------------------------------------------------------------------------------------------


def ask(client: Client, system: Installed) -> Seen:
    """What a Prometheus has of a system; QueryError when it does not answer, or not fully."""
    names = _names(system)
    every = "|".join(sorted({*names.own, *names.foreign}))
    targets = client.query(f'up{{job="{system.job}"}}')
    by_job: dict[str, set[str]] = {}
    for sample in client.query(f'count by (job, __name__) ({{__name__=~"{every}"}})'):
        by_job.setdefault(sample.labels.get("job", ""), set()).add(sample.labels["__name__"])
    return Seen(
        targets={sample.labels.get("instance", ""): sample.value == 1 for sample in targets},
        names={job: frozenset(those) for job, those in by_job.items()},
        exported=frozenset(_exported(client, system, every)),
    )


def _exported(client: Client, system: Installed, every: str) -> Iterable[str]:
    own = {label for metric in system.described.metrics.values() for label in metric.labels_in(system.version)}
    for label in sorted(OF_A_TARGET & own):
        if client.query(f'count({{job="{system.job}", __name__=~"{every}", exported_{label}!=""}})'):
            yield label


def _names(system: Installed) -> Names:
    return system_names.of(system.described, system.version)


# Judging -----------------------------------------------------------------------------------------------------------


def judge(system: Installed, seen: Seen) -> Answer:
    """What was seen of a system, as one state."""
    names, exposed = _names(system), seen.names.get(system.job, frozenset())
    missing = tuple(name for name in names.lasting if name not in exposed) if exposed else ()

    def answer(state: State, message: str, remedy: str = "", spoken: Sequence[str] = ()) -> Answer:
        return Answer(
            system=system.name,
            title=system.described.title,
            state=state,
            stated=version_text(system.version),
            message=message,
            remedy=remedy,
            spoken=tuple(spoken),
            missing=missing,
            down=tuple(sorted(target for target, is_up in seen.targets.items() if not is_up)),
        )

    if not any(seen.targets.values()):
        return answer(State.NOT_SCRAPED, *_not_scraped(system, seen))
    if not exposed:
        return answer(State.EXPOSES_NOTHING, _nothing(seen), _switched_on(system))
    if foreign := sorted(exposed & set(names.foreign)):
        spoken = _spoken(system, exposed)
        message = (
            f"{_some(foreign)} {'is' if len(foreign) == 1 else 'are'} not of version {version_text(system.version)}"
        )
        return answer(State.OTHER_VERSION, message, _set_version(system, spoken), spoken)
    if seen.exported != set(system.use.exported_labels):
        return answer(State.OTHER_LABELS, *_other_labels(system, seen))
    return answer(State.ANSWERS, _not_there(system, missing))


def _not_scraped(system: Installed, seen: Seen) -> tuple[str, str]:
    if seen.targets:
        return f"none of its {len(seen.targets)} targets answers", f"see the alert on {system.job}'s targets"
    others = sorted(job for job, names in seen.names.items() if names and job != system.job)
    if others:
        remedy = f"load the rendered job {system.job} in place of it"
        return f"there is no job {system.job!r}; job {others[0]!r} has its metrics, and no rule reads those", remedy
    return f"there is no job {system.job!r}", "load the scrape configuration that midwatch render writes"


def _nothing(seen: Seen) -> str:
    answering = sum(seen.targets.values())
    return f"{answering} of its targets answer{'s' if answering == 1 else ''}, without one metric that any version has"


def _switched_on(system: Installed) -> str:
    if system.described.switch_on:
        return system.described.switch_on
    return f"see whether {system.use.targets[0]} is the port of its metrics"


def _spoken(system: Installed, exposed: frozenset[str]) -> list[str]:
    """The first and the last version whose names these are."""
    versions = system_check.versions(system.described)
    fitting = system_names.versions_of(system.described, set(exposed), versions)
    return list(dict.fromkeys(version_text(version) for version in (fitting[0], fitting[-1])))


def _set_version(system: Installed, spoken: Sequence[str]) -> str:
    if system.version in system_check.versions(system.described) and version_text(system.version) in spoken:
        return "during a rollout both versions are there; else look at which targets expose which"
    return f'write systems.{system.name}.version: "{spoken[-1]}", or the one from {spoken[0]} on that runs'


def _other_labels(system: Installed, seen: Seen) -> tuple[str, str]:
    kept = ", ".join(sorted(seen.exported)) or "none"
    stated = ", ".join(sorted(system.use.exported_labels)) or "none"
    written = f"[{', '.join(sorted(seen.exported))}]"
    return (
        f"labels that are kept as exported_…: {kept}; the platform file says {stated}",
        f"write systems.{system.name}.exported_labels: {written}, or scrape it with honor_labels",
    )


def _not_there(system: Installed, missing: Sequence[str]) -> str:
    if not missing:
        return ""
    off = [name for name in missing if (metric := system.described.metrics.get(name)) and metric.off_by_default]
    said = f"rules also read {_some(missing)}, which nothing exposes now"
    return f"{said}; {system.described.switch_on}" if off and system.described.switch_on else said


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
