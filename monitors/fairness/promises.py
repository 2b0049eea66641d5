"""What Prometheus counted held against what a model promises: one judgement per version and promise.

A measure of labels is judged on settled predictions. Those without a label may hide a gap, or be the whole of it
(labels only for the approved), so bounds that assume nothing of them have to agree before anything is shown.
Predictions without a group may be a group of their own, so enough of them leave open whether all are alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from midwatch import metrics
from midwatch.spec.fairness import BY_RANK, BY_SCORE, CROSS, Fairness
from midwatch.spec.model import Model
from monitors.fairness import bounds, class_names, evidence, runs, small_cells, sums, ungrouped, verdict
from monitors.fairness.bounds import Bounds
from monitors.fairness.fetch import Asked, Cell, Version, Window
from monitors.fairness.measures import Cells
from monitors.fairness.projection import Floats
from monitors.fairness.ungrouped import Ungrouped
from monitors.fairness.verdict import Counts, Judgement, Limit, Settings, Verdict

TEXT = "text"
"""Group that stands for all values that look like free text: the exporter publishes none of them."""

LATEST = 10
"""A version is judged that predicted within the last of so many parts of the window."""

RATES = {
    "demographic_parity": ("selected",),
    "equal_opportunity": ("true positives",),
    "equalized_odds": ("true positives", "false positives"),
    "predictive_parity": ("precision",),
    "accuracy_parity": ("accuracy",),
    "calibration_within_groups": ("positives above the score",),
    "within_bound_parity": ("errors within the bound",),
    "mean_absolute_error_parity": ("mean absolute error",),
    "exposure_parity": ("exposure",),
}
"""The rates that a measure holds equal."""

BOUNDS = {
    "true positives": bounds.true_positive,
    "false positives": bounds.false_positive,
    "precision": bounds.precision,
    "accuracy": bounds.accuracy,
}
"""What a rate can be when labels are missing."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A judgement of one rate of a promise, for one version.

    `labelled` is the share of the settled predictions with a label, by group; empty where labels are not needed.
    `since` is when the version's counting began, as far as it is known: seconds since the epoch. `calibration_errors`
    are the expected calibration errors by group, of a promise of calibration. `awaits_labels` says that missing labels
    could turn over what the labelled show; `ungrouped` are the predictions that no group counts.
    """

    model: str
    version: str
    promise: Fairness
    rate: str
    judgement: Judgement
    labelled: Mapping[str, float]
    reason: str
    since: float
    ungrouped: Ungrouped
    calibration_errors: Mapping[str, float] = field(default_factory=dict)
    awaits_labels: bool = False

    @property
    def people(self) -> tuple[str, str, str]:
        """Whose groups it is about: findings of one model, version and attribute are about the same people."""
        return self.model, self.version, self.promise.compared


@dataclass(frozen=True, kw_only=True)
class _Case:
    """Counts of one rate, and what it can be with the missing labels, by stratum; nothing where none are needed.

    `lately` has the same of the last blocks, from which the detector of a late change learns. `folded` says what of it
    stands under another name, `unseen_class` why the classes that were seen say nothing, `share` how much of the
    false-alarm budget this run of counting has.
    """

    version: Version
    promise: Fairness
    rate: str
    since: float
    share: float
    counts: Counts
    bounds: tuple[Bounds, ...]
    lately: tuple[Bounds, ...]
    labelled: Mapping[str, float]
    folded: _Folded
    ungrouped: Ungrouped
    unseen_class: str = ""
    calibration_errors: Mapping[str, float] = field(default_factory=dict)


class _Folded(StrEnum):
    """What is counted under a name that is not its own."""

    NOTHING = ""
    GROUPS = "groups beyond the exporter's cap are counted as one: raise exporter.caps.groups"
    TEXTS = "groups whose values look like free text are counted as one, `text`: send short names"
    COUNTS = "the exporter has no room for more series, and counts some of these as `other`: raise exporter.caps.series"


def judge(models: Sequence[Model], asked: Asked, window: Window) -> list[Finding]:
    """Judge every promise of every version that predicted within the last tenth of the window."""
    cases = [
        case
        for model in models
        for version in _serving(model, asked, window)
        for promise in model.fairness
        for case in _cases_of(model, version, promise, asked, window)
    ]
    found = verdict.judge_each([(case.counts, _settings(case.promise, case.share)) for case in cases])
    return [_finding(case, judgement) for case, judgement in zip(cases, found, strict=True)]


def certain(pairs: verdict.Names, known: Sequence[Bounds], groups: Sequence[str]) -> verdict.Names:
    """Those of some pairs that are apart the same way in some stratum, whatever the groups' missing labels are."""
    return tuple(
        (above, below)
        for above, below in pairs
        if any(one.certainly_above(groups.index(above), groups.index(below)) for one in known)
    )


def named(finding: Finding, names: Mapping[str, str]) -> Finding:
    """A finding whose groups are called by their names where these are known."""

    def name(group: str) -> str:
        return CROSS.join(names.get(part, part) for part in group.split(CROSS))

    said = finding.judgement
    worst = said.worst and replace(
        said.worst, above=name(said.worst.above), below=name(said.worst.below), stratum=name(said.worst.stratum)
    )
    judgement = replace(
        said,
        worst=worst,
        rates=tuple(replace(rate, group=name(rate.group)) for rate in said.rates),
        left_out=tuple(map(name, said.left_out)),
        waits_for=tuple(map(name, said.waits_for)),
        without_ratio=tuple((name(one), name(other)) for one, other in said.without_ratio),
        events={name(group): number for group, number in said.events.items()},
        smallest=said.smallest
        and replace(said.smallest, group=name(said.smallest.group), stratum=name(said.smallest.stratum)),
    )
    reason = finding.reason
    for group, known in names.items():  # hashes stand in nothing else, also as parts of an intersection
        reason = reason.replace(group, known)
    labelled = {name(group): share for group, share in finding.labelled.items()}
    errors = {name(group): error for group, error in finding.calibration_errors.items()}
    return replace(finding, judgement=judgement, labelled=labelled, calibration_errors=errors, reason=reason)


def _serving(model: Model, asked: Asked, window: Window) -> list[Version]:
    tail = max(1, window.size // LATEST)
    own = (version for version in asked.versions if version[0] == model.name)
    return sorted(version for version in own if any(row[-tail:].sum() > 0 for row in asked.seen(version)))


def _since(version: Version, asked: Asked, window: Window) -> float:
    """When counting began: with the first block that has a group (or none has), or earlier where that is known."""
    counted = sum(asked.grouped(version) or asked.seen(version), np.zeros(window.size))
    return min(window.start + window.block * int(np.argmax(counted > 0)), asked.since.get(version, math.inf))


def _limit(promise: Fairness) -> Limit:
    return Limit(
        difference=None if promise.difference is None else float(promise.difference),
        ratio=None if promise.ratio is None else float(promise.ratio),
    )


def _settings(promise: Fairness, share: float = 1.0) -> Settings:
    """`share` of the false-alarm budget is spent here."""
    comparisons = len(RATES[promise.measure]) * (1 if promise.within is None else 2)
    alpha = promise.false_alarm * share / comparisons
    return Settings(limit=_limit(promise), alpha=alpha, min_events=promise.min_events)


def _cases_of(model: Model, version: Version, promise: Fairness, asked: Asked, window: Window) -> Iterator[_Case]:
    if promise.measure in sums.MEASURES:
        return _summed_cases(model, version, promise, asked, window)
    return _cases(model, version, promise, asked, window)


def _summed_cases(model: Model, version: Version, promise: Fairness, asked: Asked, window: Window) -> Iterator[_Case]:
    """The rate of a promise that is a sum, over all predictions and within the groups of `within`."""
    needs_labels = promise.measure not in BY_RANK
    (rate,) = RATES[promise.measure]
    since = _since(version, asked, window)
    run = runs.run_of(since, window.start, window.block, window.size)
    for attribute in promise.counted_attributes:
        summed = sums.counted(promise, attribute, version, asked, window, run.first)
        lacks_positives = promise.measure in BY_SCORE and not summed.counts.hits.any()
        yield _Case(
            version=version,
            promise=promise,
            since=since,
            share=run.share,
            rate=f"{rate} within {promise.within}" if attribute == promise.stratified else rate,
            counts=summed.counts,
            bounds=summed.bounds(slice(run.first, None)) if needs_labels else (),
            lately=summed.bounds(slice(-evidence.RECENT_BLOCKS, None)) if needs_labels else (),
            labelled=summed.labelled() if needs_labels else {},
            folded=_folded(attribute, asked, summed.torn),
            ungrouped=ungrouped.count(promise, attribute, version, asked, run.first),
            unseen_class=_unseen_class(model, promise, rate, version, asked) if lacks_positives else "",
            calibration_errors=summed.calibration_errors(),
        )


def _cases(model: Model, version: Version, promise: Fairness, asked: Asked, window: Window) -> Iterator[_Case]:
    """Each rate of a promise over all predictions, and within the groups of `within`."""
    source = asked.predicted if promise.measure == "demographic_parity" else asked.labelled
    needs_labels = promise.measure != "demographic_parity"
    since = _since(version, asked, window)
    run = runs.run_of(since, window.start, window.block, window.size)
    whole_run, recent = slice(run.first, None), slice(-evidence.RECENT_BLOCKS, None)
    for attribute in filter(None, (promise.compared, promise.stratified)):
        is_stratified = attribute == promise.stratified
        cells = _by_stratum(source.get(version, {}), attribute, is_stratified)
        settled = _by_stratum(asked.settled.get(version, {}), attribute, is_stratified) if needs_labels else {}
        strata = tuple(sorted({*cells, *settled}))
        groups = tuple(sorted({cell[1] for of in (cells, settled) for own in of.values() for cell in own}))
        for rate in RATES[promise.measure]:
            rows = [_rows(rate, groups, cells.get(stratum, {}), model.positive or "", window) for stratum in strata]
            nothing = np.zeros((0, len(groups), window.size))
            whole, lately = (
                tuple(
                    _bounds(rate, groups, _cut(cells, stratum, blocks), _cut(settled, stratum, blocks), model)
                    for stratum in strata
                    if needs_labels
                )
                for blocks in (whole_run, recent)
            )
            yield _Case(
                version=version,
                promise=promise,
                since=since,
                share=run.share,
                rate=f"{rate} within {promise.within}" if is_stratified else rate,
                counts=Counts(
                    groups=groups,
                    events=np.stack([events for events, _ in rows]) if rows else nothing,
                    hits=np.stack([hits for _, hits in rows]) if rows else nothing,
                    strata=strata,
                    unseen=_there(cells, run.first) | _there(settled, run.first),
                    first=run.first,
                ),
                bounds=whole,
                lately=lately,
                labelled=_labelled(groups, _from(cells, run.first), _from(settled, run.first)) if needs_labels else {},
                folded=_folded(attribute, asked, source.get(version, {})),
                ungrouped=ungrouped.count(promise, attribute, version, asked, run.first),
                unseen_class=_unseen_class(model, promise, rate, version, asked),
            )


def _cut(cells: Mapping[str, Mapping[Cell, Floats]], stratum: str, blocks: slice) -> dict[Cell, Floats]:
    return {cell: row[blocks] for cell, row in cells.get(stratum, {}).items()}


def _from(cells: Mapping[str, Mapping[Cell, Floats]], first: int) -> dict[str, dict[Cell, Floats]]:
    return {stratum: _cut(cells, stratum, slice(first, None)) for stratum in cells}


def _there(cells: Mapping[str, Mapping[Cell, Floats]], first: int) -> frozenset[str]:
    """Groups of which anything was counted in this run."""
    return frozenset(cell[1] for own in cells.values() for cell, row in own.items() if row[first:].sum() > 0)


def _folded(attribute: str, asked: Asked, cells: Mapping[Cell, Floats]) -> _Folded:
    """What stands under another name: a value may be called `other` by itself, so the exporter's word decides."""
    own = {cell: row for cell, row in cells.items() if cell[0] == attribute and row.sum() > 0}
    parts = {part for cell in own for part in cell[1].split(CROSS)}
    if "series" in asked.folded and any(metrics.OTHER in cell[1:3] for cell in own):
        return _Folded.COUNTS
    if "group" in asked.folded and metrics.OTHER in parts:
        return _Folded.GROUPS
    return _Folded.TEXTS if TEXT in parts else _Folded.NOTHING


def _unseen_class(model: Model, promise: Fairness, rate: str, version: Version, asked: Asked) -> str:
    """Why a rate is none of the promised classes, by the names that were seen."""
    of_labels = promise.measure != "demographic_parity"
    counted = (asked.labelled if of_labels else asked.predicted).get(version, {})
    settled = asked.settled.get(version, {}) if of_labels else {}
    return class_names.doubt(model, rate, counted, settled, asked.folded, promise.min_events)


def _by_stratum(cells: Mapping[Cell, Floats], attribute: str, is_stratified: bool) -> dict[str, dict[Cell, Floats]]:
    """Counts of an attribute by stratum, the last part of a stratified group; one stratum of all others."""
    found: dict[str, dict[Cell, Floats]] = {}
    for (of, group, predicted, actual), row in cells.items():
        if of == attribute:
            name, _, stratum = group.rpartition(CROSS) if is_stratified and CROSS in group else (group, "", "")
            found.setdefault(stratum, {})[of, name, predicted, actual] = row
    return dict(sorted(found.items()))


def _rows(
    rate: str, groups: Sequence[str], cells: Mapping[Cell, Floats], positive: str, window: Window
) -> tuple[Floats, Floats]:
    """Events and hits by group and block."""
    events, hits = np.zeros((len(groups), window.size)), np.zeros((len(groups), window.size))
    for (_, group, predicted, actual), row in cells.items():
        is_event, is_hit = _counts_as(rate, predicted, actual, positive)
        place = groups.index(group)
        events[place] += row * is_event
        hits[place] += row * (is_event and is_hit)
    return events, hits


def _counts_as(rate: str, predicted: str, actual: str, positive: str) -> tuple[bool, bool]:
    """Whether an outcome is an event of a rate, and a hit."""
    if rate == "selected":
        return True, predicted == positive
    if rate == "accuracy":
        return True, predicted == actual
    if rate == "precision":
        return predicted == positive, actual == positive
    return (actual == positive) == (rate == "true positives"), predicted == positive


def _labelled(
    groups: Sequence[str],
    cells: Mapping[str, Mapping[Cell, Floats]],
    settled: Mapping[str, Mapping[Cell, Floats]],
) -> dict[str, float]:
    """Share of the settled predictions with a label, by group."""
    labels, everything = (
        sum((_sums(groups, own) for own in of.values()), np.zeros(len(groups))) for of in (cells, settled)
    )
    return {
        group: min(1.0, float(got / total))
        for group, got, total in zip(groups, labels, everything, strict=True)
        if total
    }


def _sums(groups: Sequence[str], cells: Mapping[Cell, Floats]) -> Floats:
    sums = np.zeros(len(groups))
    for (_, group, _, _), row in cells.items():
        if group in groups:
            sums[groups.index(group)] += row.sum()
    return sums


def _bounds(
    rate: str, groups: Sequence[str], cells: Mapping[Cell, Floats], settled: Mapping[Cell, Floats], model: Model
) -> Bounds:
    positive = model.positive or ""

    def total(of: Mapping[Cell, Floats], predicted_positive: bool, actual_positive: bool | None = None) -> Floats:
        kept = {
            cell: row
            for cell, row in of.items()
            if (cell[2] == positive) == predicted_positive
            and (actual_positive is None or (cell[3] == positive) == actual_positive)
        }
        return _sums(groups, kept)

    if rate == "accuracy":  # of any number of classes: right and wrong are all that counts
        right = _sums(groups, {cell: row for cell, row in cells.items() if cell[2] == cell[3]})
        nothing = np.zeros(len(groups))
        known = Cells(
            true_positives=right,
            false_positives=_sums(groups, cells) - right,
            false_negatives=nothing,
            true_negatives=nothing,
        )
        unlabelled = np.maximum(_sums(groups, settled) - _sums(groups, cells), 0.0)
        return bounds.accuracy(known, bounds.Unlabelled(positive=unlabelled, negative=nothing))
    known = Cells(
        true_positives=total(cells, True, True),
        false_positives=total(cells, True, False),
        false_negatives=total(cells, False, True),
        true_negatives=total(cells, False, False),
    )
    missing = bounds.Unlabelled(
        positive=np.maximum(total(settled, True) - total(cells, True), 0.0),
        negative=np.maximum(total(settled, False) - total(cells, False), 0.0),
    )
    return BOUNDS[rate](known, missing)


def _finding(case: _Case, judgement: Judgement) -> Finding:
    doubt = _doubt(case, judgement)
    awaits_labels = bool(_label_doubt(case, judgement) or _late_doubt(case, judgement))
    says_nothing = case.folded is _Folded.COUNTS or case.unseen_class
    late_doubt = doubt if says_nothing else _late_doubt(case, judgement)
    unsaid = "" if case.ungrouped.said in doubt else case.ungrouped.said
    if late_doubt:
        judgement = replace(judgement, became_unfair=False)
    if doubt or (late_doubt and judgement.verdict is Verdict.FAIR):
        judgement = replace(judgement, verdict=Verdict.UNKNOWN)
    return Finding(
        model=case.version[0],
        version=case.version[1],
        promise=case.promise,
        since=case.since,
        rate=case.rate,
        judgement=judgement,
        labelled=case.labelled,
        calibration_errors=case.calibration_errors,
        ungrouped=case.ungrouped,
        awaits_labels=awaits_labels,
        reason="; ".join(
            filter(
                None,
                (doubt or _shown(case, judgement), late_doubt if not doubt else "", _late(case, judgement), unsaid),
            )
        ),
    )


def _doubt(case: _Case, judgement: Judgement) -> str:
    """Why what is not seen, labels or groups or who has none, leaves a verdict open; empty if it does not."""
    if case.unseen_class:
        return case.unseen_class
    is_said = judgement.verdict is not Verdict.UNKNOWN or judgement.became_unfair
    if is_said if case.folded is _Folded.COUNTS else case.folded and judgement.verdict is Verdict.FAIR:
        return case.folded.value
    is_fair = judgement.verdict is Verdict.FAIR
    return _label_doubt(case, judgement) or (case.ungrouped.doubt(case.promise.min_events) if is_fair else "")


def _label_doubt(case: _Case, judgement: Judgement) -> str:
    """Why missing labels leave a verdict open; empty if they do not."""
    missing = _missing_labels(case, judgement)
    if not missing or judgement.verdict is Verdict.UNKNOWN:
        return ""
    judged = [place for place, name in enumerate(case.counts.groups) if name not in judgement.left_out]
    limit = _limit(case.promise).kept()
    if judgement.verdict is Verdict.UNFAIR and not certain(judgement.apart, case.bounds, case.counts.groups):
        return f"apart among the labelled, but {missing}: with theirs the groups may be alike"
    if judgement.verdict is Verdict.FAIR and not all(one.of(judged).keeps(limit) for one in case.bounds):
        return f"within the limit among the labelled, but {missing}: with theirs the groups may be apart"
    return ""


def _late_doubt(case: _Case, judgement: Judgement) -> str:
    """Why missing labels leave open whether groups are apart lately; empty if they do not."""
    missing = _missing_labels(case, judgement)
    if not missing or not judgement.became_unfair or certain(judgement.apart_lately, case.lately, case.counts.groups):
        return ""
    return f"apart lately among the labelled, but {missing}: with theirs the groups may be alike"


def _late(case: _Case, judgement: Judgement) -> str:
    """Which pair is worse lately, where another one is told of; empty where it is the same, or none is."""
    worst = judgement.worst
    if not judgement.became_unfair or worst is None:
        return ""
    pairs = judgement.apart_lately
    above, below = next(iter(certain(pairs, case.lately, case.counts.groups) or pairs))
    is_told = judgement.verdict is Verdict.UNFAIR and (above, below) == (worst.above, worst.below)
    return "" if is_told else f"lately {below} is beyond the limit against {above}"


def _missing_labels(case: _Case, judgement: Judgement, least_share: float = 0.0) -> str:
    """How many labels are missing of which group; empty if none are, or less than a share of every group."""
    if not case.bounds or 1 - min(case.labelled.values(), default=1.0) <= least_share:
        return ""
    least = min(case.labelled, key=lambda group: case.labelled[group])
    if least in small_cells.hidden(judgement.events):
        return f"some of {least} have no label"
    return f"{1 - case.labelled[least]:.1%} of {least} have no label"


def _shown(case: _Case, judgement: Judgement) -> str:
    """The reason of what is shown; of missing labels' pairs the ones that are apart whatever these are."""
    if judgement.verdict is Verdict.UNKNOWN:
        lacking = _missing_labels(case, judgement, ungrouped.SAID)
        return "; ".join(filter(None, (_reason(judgement, case.promise), lacking, case.folded.value)))
    shown, worst = certain(judgement.apart, case.bounds, case.counts.groups), judgement.worst
    if not shown or worst is None or (worst.above, worst.below) in shown:
        return _reason(judgement, case.promise)
    (above, below), missing = shown[0], _missing_labels(case, judgement)
    return f"{below} is beyond the limit against {above}, and apart whatever the missing labels are; {missing}"


def _reason(judgement: Judgement, promise: Fairness) -> str:
    if judgement.waits_for:
        names = ", ".join(judgement.waits_for)
        return f"the other groups are within the limit, but fewer than {promise.min_events} events are of {names}"
    few = ", ".join(name for name in judgement.left_out if name in judgement.events)
    said = _said(judgement, promise)
    return f"{said}; fewer than {promise.min_events} are of {few}" if few else said


def _said(judgement: Judgement, promise: Fairness) -> str:
    worst = judgement.worst
    if worst is None:
        return f"fewer than two groups have {promise.min_events} events"
    if judgement.verdict is Verdict.UNFAIR:
        where = f", most within {worst.stratum}" if worst.stratum else ""
        return f"{worst.below} is beyond the limit against {worst.above}{where}"
    if judgement.verdict is Verdict.FAIR:
        return "every pair of groups is within the limit"
    if judgement.without_ratio:
        one, other = judgement.without_ratio[0]
        return f"{one} and {other} both have a rate of 0, of which a ratio says nothing: promise a difference"
    if judgement.rows_needed is None:
        return "the rates lie on the limit, or two groups are never seen together: no number of events would decide"
    return f"about {judgement.rows_needed:,} more events would decide, if the rates stay"
