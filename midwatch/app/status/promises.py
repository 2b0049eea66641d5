"""Objectives of models and services as they stand, from their records, and the subjects in the order of trouble.

Judged against the platform file's inventory: an objective that is promised and has no record is not known, never kept.
Without a platform file whatever Prometheus has records of is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from alerts.objectives import objective as objectives
from midwatch import metrics
from midwatch.app.status.ask import BURN_OF_HOUR, EVENTS_OF_PERIOD, SLOTH_BURN, SLOTH_LEFT, Answers, Question
from midwatch.app.status.records import Alert, Kind, Objective, Standing, State, Subject, Version
from midwatch.prometheus import Sample
from midwatch.spec.model import Platform
from midwatch.spec.values import format_duration

NOT_A_GROUP = frozenset({"__name__", "model", "slo", "owner"})
UNKNOWN_OWNER = ""

PAGE, TICKET, SPENT, NOT_KNOWN = 100.0, 10.0, 50.0, 5.0
"""Trouble of a page and of a ticket that fire, of a spent budget, and of an objective of which nothing is known."""
MOST_BURN = 20.0
"""A burn rate adds itself, up to so much: below a spent budget."""
BROKEN = (Standing.EXHAUSTED, Standing.BROKEN)
NOT_DECIDED = (Standing.UNKNOWN, Standing.NO_DATA, Standing.UNDECIDED)
SILENT_SEVERITIES = frozenset({"none", "info"})
"""Nobody is meant to act on these: ours for inhibitions, and other people's usual word."""


@dataclass(kw_only=True)
class _Records:
    """Values of one objective's records by their name, and the owner that they carry."""

    owner: str = UNKNOWN_OWNER
    values: dict[str, float] = field(default_factory=dict)

    def first(self, *names: str) -> float | None:
        return next((self.values[name] for name in names if name in self.values), None)


Group = frozenset[tuple[str, str]]


def _by_objective(samples: Iterable[Sample]) -> dict[tuple[str, str], dict[Group, _Records]]:
    """Records of every objective, by subject and name, then by the labels of its group."""
    found: dict[tuple[str, str], dict[Group, _Records]] = {}
    for one in samples:
        labels = one.labels
        is_sloth = "sloth_service" in labels and "slo" not in labels
        subject = labels.get("sloth_service" if is_sloth else "model", "")
        name = labels.get("sloth_slo" if is_sloth else "slo", "")
        if not (subject and name):
            continue
        kept = () if is_sloth else (pair for pair in labels.items() if pair[0] not in NOT_A_GROUP)
        records = found.setdefault((subject, name), {}).setdefault(frozenset(kept), _Records())
        records.values[labels["__name__"]] = one.value
        records.owner = labels.get("owner", records.owner)
    return found


def of_objectives(answers: Answers, platform: Platform | None) -> list[Objective]:
    """Every objective: those of the platform file, or without one those that have records."""
    found = _by_objective(answers[Question.OBJECTIVES])
    if platform is None:
        return [_objective(key, groups, "", "") for key, those in sorted(found.items()) for groups in _ordered(those)]
    made = []
    for promised in objectives.of_platform(platform):
        key, window = (promised.subject, promised.slo.name), promised.slo.window
        period = format_duration(window) if isinstance(window, float) else window.calendar
        groups = found.get(key, {})
        for place in _places(platform):
            here = {group: records for group, records in groups.items() if place <= group}
            by = (*promised.slo.by, *dict(place))
            those = _ordered(_narrowed(here, by, is_sloth=bool(promised.slo.compatibility)))
            made += [_objective(key, one, promised.owner, period) for one in those or [(place, _Records())]]
    return made


def _places(platform: Platform) -> list[Group]:
    """What tells records apart at the view, where each region has a budget beside that of all; else nothing."""
    regions = platform.regions
    if regions is None or not regions.is_view:
        return [frozenset()]
    return [frozenset({("region", name)}) for name in regions.sites]


def _narrowed(groups: Mapping[Group, _Records], by: Sequence[str], *, is_sloth: bool) -> Mapping[Group, _Records]:
    """Groups by the objective's own labels alone: others, such as a replica's, tell no two of them apart."""
    if is_sloth:
        return groups
    merged: dict[Group, _Records] = {}
    for group, records in groups.items():
        own = merged.setdefault(frozenset(pair for pair in group if pair[0] in by), _Records(owner=records.owner))
        own.values |= records.values
    if by and any(merged.keys() - {frozenset()}):
        merged.pop(frozenset(), None)  # what is promised of all groups is recorded once, without their labels
    return merged


def _ordered(groups: Mapping[Group, _Records]) -> list[tuple[Group, _Records]]:
    return sorted(groups.items(), key=lambda one: sorted(one[0]))


def _objective(key: tuple[str, str], found: tuple[Group, _Records], owner: str, period: str) -> Objective:
    group, records = found
    left = records.first(metrics.SLO_BUDGET_REMAINING.name, SLOTH_LEFT)
    burn = records.first(BURN_OF_HOUR.name, SLOTH_BURN)
    exhausted_in = records.first(metrics.SLO_TIME_TO_EXHAUSTION.name)
    return Objective(
        subject=key[0],
        name=key[1],
        owner=owner or records.owner,
        group=dict(sorted(group)),
        standing=_standing(records, left, exhausted_in, burn),
        period=period,
        objective=records.first(metrics.SLO_OBJECTIVE.name),
        error=records.first(metrics.SLO_PERIOD_ERROR.name),
        budget_left=left,
        burn_rate=burn,
        exhausted_in=exhausted_in,
        events=records.first(EVENTS_OF_PERIOD),
        budget_at_least=records.first(metrics.SLO_BUDGET_AT_LEAST.name),
    )


def _standing(records: _Records, left: float | None, exhausted_in: float | None, burn: float | None) -> Standing:
    if not records.values:
        return Standing.UNKNOWN
    if left is None or left != left:  # noqa: PLR0124 - NaN
        return Standing.NO_DATA
    if left <= 0:
        return Standing.EXHAUSTED
    return Standing.BURNING if exhausted_in is not None or (burn or 0.0) > 1 else Standing.KEPT


# Subjects ---------------------------------------------------------------------------------------------------------


def of_subjects(
    answers: Answers, platform: Platform | None, standing: Sequence[Objective], alerts: Sequence[Alert]
) -> list[Subject]:
    """Models and services, those in most trouble first."""
    by_subject: dict[str, list[Objective]] = {}
    for one in standing:
        by_subject.setdefault(one.subject, []).append(one)
    firing: dict[str, list[Alert]] = {}
    for alert in alerts:
        firing.setdefault(alert.labels.get("model", ""), []).append(alert)
    versions = _versions(answers)
    owners = {model.name: model.owner for model in platform.models} if platform else {}
    names = {*by_subject, *(owners if platform else versions)}
    made = [
        _subject(name, owners, by_subject.get(name, []), firing.get(name, []), versions.get(name, []), platform)
        for name in names
    ]
    if not answers.has(Question.ALERTS):
        made = list(map(_without_alerts, made))
    return sorted(made, key=lambda one: (-one.trouble, one.name))


def _subject(
    name: str,
    owners: Mapping[str, str],
    standing: Sequence[Objective],
    alerts: Sequence[Alert],
    versions: Sequence[Version],
    platform: Platform | None,
) -> Subject:
    told = [one for one in alerts if not one.is_held_back and one.severity not in SILENT_SEVERITIES]
    pages = sum(one.severity == "page" for one in told)
    reasons = [*_of_alerts(pages, len(told) - pages), *_of_objectives(standing)]
    is_model = name in owners if platform else bool(versions)
    is_bad = bool(told) or any(one.standing in BROKEN for one in standing)
    is_unknown = any(one.standing in NOT_DECIDED for one in standing)
    named = [*(one.owner for one in standing), *(one.owner for one in alerts)]
    owner = owners.get(name) or next(filter(None, named), UNKNOWN_OWNER)
    return Subject(
        name=name,
        kind=Kind.MODEL if is_model else Kind.SERVICE,
        owner=owner,
        state=State.ACT if is_bad else State.UNKNOWN if is_unknown else State.CALM,
        trouble=_trouble(standing, pages, len(told) - pages),
        reasons=tuple(reasons),
        objectives=tuple(sorted(standing, key=_worst_first)),
        versions=tuple(versions),
        pages=pages,
        tickets=len(told) - pages,
    )


def _without_alerts(subject: Subject) -> Subject:
    """A subject of which nobody knows what fires is not calm."""
    state = State.UNKNOWN if subject.state is State.CALM else subject.state
    return replace(subject, state=state, reasons=(*subject.reasons, "what fires is not known"))


def _of_alerts(pages: int, tickets: int) -> Iterator[str]:
    for count, word in ((pages, "page"), (tickets, "ticket")):
        if count:
            yield f"{count} {word}{'' if count == 1 else 's'}"


def _of_objectives(standing: Sequence[Objective]) -> Iterator[str]:
    for kind in Standing:
        names = sorted({one.name for one in standing if one.standing is kind})
        if names and kind is not Standing.KEPT:
            yield f"{', '.join(names)} {kind.value}"


def _worst_first(one: Objective) -> tuple[int, float, str]:
    left = one.budget_left
    return list(Standing).index(one.standing), 1.0 if left is None else left, one.key


def _trouble(standing: Sequence[Objective], pages: int, tickets: int) -> float:
    """The more the worse: what fires, what is spent, what is not known, what burns, and the least that is left."""
    lefts = [one.budget_left for one in standing if one.budget_left is not None]
    spent = sum(one.standing in BROKEN for one in standing)
    unknown = sum(one.standing in NOT_DECIDED for one in standing)
    burn = max((one.burn_rate or 0.0 for one in standing), default=0.0)
    least = min((max(0.0, min(1.0, left)) for left in lefts), default=1.0)
    figures = pages * PAGE, tickets * TICKET, spent * SPENT, unknown * NOT_KNOWN, min(burn, MOST_BURN), 1 - least
    return sum(figures)


def _versions(answers: Answers) -> dict[str, list[Version]]:
    """Versions of each model that were asked lately, or whose drift was judged."""
    rates: dict[tuple[str, str], dict[str, float]] = {}
    for one in answers[Question.TRAFFIC]:
        key = one.labels.get("model", ""), one.labels.get("version", "")
        rates.setdefault(key, {})[one.labels.get("outcome", "")] = one.value
    drifting = {
        (one.labels.get("model", ""), one.labels.get("version", "")): bool(one.value) for one in answers[Question.DRIFT]
    }
    found: dict[str, list[Version]] = {}
    for key in sorted({*rates, *drifting}):
        by_outcome = rates.get(key)
        total = sum(by_outcome.values()) if by_outcome else None
        failed = by_outcome.get("error", 0.0) / total if by_outcome and total and "unknown" not in by_outcome else None
        version = Version(version=key[1], requests=total, errors=failed, is_drifting=drifting.get(key))
        found.setdefault(key[0], []).append(version)
    return found
