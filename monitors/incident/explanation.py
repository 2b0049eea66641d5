"""From a ranking to an incident: suspects with evidence for and against, what was rejected and why, harm, one line."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from monitors.incident import kinds, words
from monitors.incident.counts import Counts, Mask
from monitors.incident.kinds import Signal
from monitors.incident.ranking import Ranked, Ranking
from monitors.incident.records import Aspect, Change, Evidence, Harm, Incident, Rejected, Suspect

LEAST = 0.01
"""Probability from which a change is a suspect."""

MOST_SUSPECTS = 10

Z = 1.959963984540054
"""97.5% point of the normal distribution: intervals of 95%."""

SURE, UNSURE = 2.0, 1.0
"""Standard deviations by which a difference is one, and below which it is none."""

LONG = 0.05
"""Share of lags that are longer, below which a change is too old; of the onset, below which it came too late."""

BAD = {
    Signal.ERRORS: "errors",
    Signal.LATENCY: "slow requests",
    Signal.ACCURACY: "wrong predictions",
    Signal.DRIFT: "windows with drift",
    Signal.TRAFFIC: "requests",
    Signal.OTHER: "bad events",
}
"""A bad event of each signal, in the plural."""


def explain(alert: str, ranking: Ranking, *, asked_at: float) -> Incident:
    """The incident, without what only the platform knows: commands, links, what could not be asked."""
    ranked = ranking.ranked
    pairs = sorted(zip(ranking.changes, ranked.probabilities, strict=True), key=lambda pair: -pair[1])
    listed = [pair for pair in pairs if pair[1] >= LEAST][:MOST_SUSPECTS]
    suspects = [
        Suspect(change=change, probability=chance, evidence=tuple(_evidence(ranking, ranked, change)))
        for change, chance in listed
    ]
    suspects.append(Suspect(change=None, probability=ranked.none, evidence=(_of_none(ranking),)))
    suspects.sort(key=lambda suspect: -suspect.probability)
    harm = _harm(ranking, ranked)
    return Incident(
        alert=alert,
        scope=dict(ranking.question.scope),
        fired_at=ranking.question.fired_at,
        asked_at=asked_at,
        onset=ranked.onset,
        suspects=tuple(suspects),
        rejected=tuple(
            Rejected(change=change, reason=_reason(ranking, ranked, change)) for change, _ in pairs[len(listed) :]
        ),
        harm=harm,
        dispersion=ranking.likelihood.dispersion if ranking.likelihood else None,
        line=line(suspects, ranked, harm, ranking.question.signal),
    )


def line(suspects: list[Suspect], ranked: Ranked, harm: Harm | None, signal: Signal) -> str:
    """What a notification says: harm with its interval, since when, and who is suspected with which probability."""
    began = f"Since {words.between(ranked.onset)} UTC"
    said = f"{began}, {words.harm(harm, BAD[signal])}. " if harm else ""
    first, *others = suspects
    if first.change is None:
        count = len(ranked.probabilities)
        if not count:
            return f"{said}Cause unknown: no change was found."
        listed = f"none of {count} changes explains it ({words.chance(first.probability)})"
        return f"{said}Cause unknown: {listed}{_next(others)}."
    relation = _relation(first.change, ranked)
    return (
        f"{said}Most likely {kinds.KINDS[first.change.kind].words}: {first.change.what}, {relation} "
        f"({words.chance(first.probability)}){_next(others)}."
    )


def _relation(change: Change, ranked: Ranked) -> str:
    """When a change was, by the onset."""
    onset, began = ranked.onset, "it began" if ranked.onset.is_counted else "the alert's condition can have begun"
    if change.latest < onset.earliest:
        return f"{words.duration(onset.earliest - change.latest)} before {began}"
    return f"as {began}" if change.at <= onset.latest else f"{words.duration(change.at - onset.latest)} after {began}"


def _next(others: list[Suspect]) -> str:
    """The second suspect, where it is worth a word."""
    if not others or others[0].probability < LEAST:
        return ""
    name = "none of these" if others[0].change is None else others[0].change.what
    return f"; then {name} ({words.chance(others[0].probability)})"


# Evidence ----------------------------------------------------------------------------------------------------------


def _evidence(ranking: Ranking, ranked: Ranked, change: Change) -> Iterator[Evidence]:
    yield _time(ranking, ranked, change)
    yield from _scope(ranking, ranked, change)
    yield from _calm(ranking, ranked, change)
    yield from _dose(ranking, change)
    yield from _reversal(ranking, ranked, change)
    about = kinds.KINDS[change.kind]
    signal = ranking.question.signal
    if signal is not Signal.OTHER and signal not in about.hurts:
        yield Evidence(aspect=Aspect.KIND, is_for=False, text=f"a {about.words} rarely causes {BAD[signal]}")


def _of_none(ranking: Ranking) -> Evidence:
    text = f"{words.percent(ranking.share_of_none)} of incidents have a cause that is not listed"
    return Evidence(aspect=Aspect.KIND, is_for=True, text=text)


def _time(ranking: Ranking, ranked: Ranked, change: Change) -> Evidence:
    onset = ranked.onset
    what = f"the harm began ({words.between(onset)})" if onset.is_counted else "the alert's condition can have begun"
    gap = onset.earliest - ranking.question.delay - change.latest
    if gap < 0:
        inside = change.at <= onset.latest
        text = f"at {words.clock(change.at, step=ranking.step)}, in the interval in which {what}"
        late = (
            f"at {words.clock(change.at, step=ranking.step)}, {words.duration(change.at - onset.latest)} after {what}"
        )
        return Evidence(aspect=Aspect.TIME, is_for=inside, text=text if inside else late)
    later = kinds.KINDS[change.kind].share_later(gap)
    text = f"{words.duration(gap)} before {what}; {words.percent(later)} of such changes take longer to hurt"
    return Evidence(aspect=Aspect.TIME, is_for=later > 0.2, text=text)


def _scope(ranking: Ranking, ranked: Ranked, change: Change) -> Iterator[Evidence]:
    if ranking.counts is None or ranked.hurt is None:
        yield _labels(ranking, change)
        return
    touched, hurt = ranking.touched(change), ranked.hurt
    if touched is None:
        text = f"nothing is counted by {', '.join(sorted(change.scope))}: what it touches cannot be told from the rest"
        yield Evidence(aspect=Aspect.SCOPE, is_for=False, text=text)
        return
    if (touched == hurt.cells).all():
        text = f"it touches what is hurt, and nothing else: {words.place(hurt.scope)}"
    elif not (hurt.cells & ~touched).any():
        text = f"hurt is only a part of what it touches: {words.place(hurt.scope)} of {words.place(change.scope)}"
    elif not (touched & ~hurt.cells).any():
        text = f"hurt is more than it touches: {words.place(hurt.scope)}, not only {words.place(change.scope)}"
    else:
        text = f"it touches {words.place(change.scope)}; hurt is {words.place(hurt.scope)}"
    yield Evidence(aspect=Aspect.SCOPE, is_for=bool((touched == hurt.cells).all()), text=text)


def _labels(ranking: Ranking, change: Change) -> Evidence:
    """Without counts: whether it is about what the alert is about."""
    shared = {name: value for name, value in change.scope.items() if ranking.question.scope.get(name) == value}
    text = f"it is about {words.place(change.scope)}, as the alert is" if shared else "it names nothing of the alert"
    return Evidence(aspect=Aspect.SCOPE, is_for=bool(shared), text=text)


def _calm(ranking: Ranking, ranked: Ranked, change: Change) -> Iterator[Evidence]:
    """Difference in differences: how far bad events rose where the change is, against elsewhere at the same time."""
    counts, likelihood = ranking.counts, ranking.likelihood
    touched = ranking.touched(change)
    if counts is None or likelihood is None or touched is None:
        return
    if touched.all():
        text = "nothing without it is counted: there is nothing to compare with"
        yield Evidence(aspect=Aspect.CALM, is_for=False, text=text)
        return
    began = counts.index(ranked.onset.likeliest)
    observed = [float(counts.bad[cells, began:].sum()) + 0.5 for cells in (touched, ~touched)]
    expected = [float(likelihood.mean[cells, began:].sum()) + 0.5 for cells in (touched, ~touched)]
    rises = [found / mean for found, mean in zip(observed, expected, strict=True)]
    quiet = [float(counts.bad[_like(counts, cells), : likelihood.quiet].sum()) + 0.5 for cells in (touched, ~touched)]
    spread = np.sqrt(likelihood.dispersion.parts * sum(1 / number for number in (*observed, *quiet)))
    z = float((np.log(rises[0]) - np.log(rises[1])) / spread)
    where, elsewhere = (f"{rise:.{0 if rise >= 10 else 1}f} times as many as usual" for rise in rises)
    text = f"where it is, {where}; elsewhere at the same minutes {elsewhere} (z {z:.1f})"
    yield Evidence(aspect=Aspect.CALM, is_for=z > SURE, text=text)


def _like(counts: Counts, cells: Mask) -> Mask:
    """Cells of the same models: what a new version's usual rate is taken from."""
    models = {counts.cells[number].get("model") for number in np.flatnonzero(cells)}
    return np.array([cell.get("model") in models for cell in counts.cells], dtype=bool)


def _dose(ranking: Ranking, change: Change) -> Iterator[Evidence]:
    touched = ranking.touched(change)
    if not change.doses or touched is None or ranking.counts is None:
        return
    _, reach = next(iter(ranking.effects(change)))
    by_share, at_once = (float(np.logaddexp.reduce(ranking.fit(touched, each))) for each in (reach, None))
    steps = ", ".join(words.percent(dose.share) for dose in change.doses)
    if abs(by_share - at_once) < UNSURE:
        text = f"it reached {steps} of the traffic; whether the harm followed cannot be told"
    elif by_share > at_once:
        text = f"the harm followed its share of the traffic: {steps}"
    else:
        text = f"the harm did not follow its share of the traffic: {steps}"
    yield Evidence(aspect=Aspect.DOSE, is_for=by_share - at_once > UNSURE, text=text)


def _reversal(ranking: Ranking, ranked: Ranked, change: Change) -> Iterator[Evidence]:
    counts, touched = ranking.counts, ranking.touched(change)
    if counts is None or touched is None or change.ended is None:
        return
    since = counts.end - change.ended
    if since < counts.step or change.ended < ranked.onset.earliest:
        return
    *ending, (_, never) = ranking.effects(change)
    best = max(float(np.logaddexp.reduce(ranking.fit(touched, effect))) for _, effect in ending)
    goes_on = float(np.logaddexp.reduce(ranking.fit(touched, never)))
    if abs(best - goes_on) < UNSURE:
        text, is_for = f"it ended {words.duration(since)} ago; whether the harm did cannot be told yet", False
    elif best > goes_on:
        text, is_for = f"the harm ended with it, at {words.clock(change.ended, step=counts.step)}", True
    else:
        text, is_for = f"the harm goes on, {words.duration(since)} after it ended", False
    yield Evidence(aspect=Aspect.REVERSAL, is_for=is_for, text=text)


# Rejections and harm -----------------------------------------------------------------------------------------------


def _reason(ranking: Ranking, ranked: Ranked, change: Change) -> str:
    """Why a change is no suspect: the first that holds."""
    onset = ranked.onset
    began = "the harm had begun" if onset.is_counted else "the alert had fired"
    if ranking.is_elsewhere(change):
        return f"it touches {words.place(change.scope)}, and the alert is about {words.place(ranking.question.scope)}"
    if kinds.KINDS[change.kind].says is ranking.question.signal:
        return "it is what the alert says, not why"
    if change.at > onset.latest:
        return f"it came {words.duration(change.at - onset.latest)} after {began}"
    if change.ended is not None and change.ended < onset.earliest:
        return (
            f"it was over {words.duration(onset.earliest - change.ended)} before {began.replace('had begun', 'began')}"
        )
    gap = onset.earliest - ranking.question.delay - change.latest
    about = kinds.KINDS[change.kind]
    if gap > 0 and about.share_later(gap) < LONG:
        sooner = words.chance(1 - about.share_later(gap))
        return f"it was {words.duration(gap)} earlier; {sooner} of such changes hurt sooner"
    against = [one.text for one in _evidence(ranking, ranked, change) if not one.is_for]
    return against[0] if against else "others fit better"


def _harm(ranking: Ranking, ranked: Ranked) -> Harm | None:
    """Rates of the hurt place before and after; the interval is wider by the counts' dispersion (Wilson 1927)."""
    counts, likelihood = ranking.counts, ranking.likelihood
    if counts is None or likelihood is None or ranked.hurt is None:
        return None
    cells, began = ranked.hurt.cells, counts.index(ranked.onset.likeliest)
    over = min(counts.times[began] + ranking.lasts(ranked.hurt), counts.end - counts.step)
    last = counts.index(over) + 1
    bad, total = counts.rates(cells, began, last)
    expected = float(likelihood.mean[cells, began:last].sum())
    if total <= 0:
        return None
    lower, upper = wilson(bad, total, likelihood.dispersion.together)
    return Harm(
        scope=dict(ranked.hurt.scope),
        before=min(expected / total, 1.0),
        after=bad / total,
        lower=lower,
        upper=upper,
        bad=bad,
        expected=expected,
    )


def wilson(bad: float, total: float, dispersion: float) -> tuple[float, float]:
    """95% interval of a share, of so many times fewer events as they come in clusters (Wilson 1927).

    >>> lower, upper = wilson(10, 100, 1.0)
    >>> round(lower, 3), round(upper, 3)
    (0.055, 0.174)
    """
    share, number = min(bad / total, 1.0), total / dispersion
    middle = (share + Z**2 / (2 * number)) / (1 + Z**2 / number)
    spread = Z / (1 + Z**2 / number) * np.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2))
    return float(max(middle - spread, 0.0)), float(min(middle + spread, 1.0))
