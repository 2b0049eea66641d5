"""Predictions that come without the attribute: which lack it, since when, and how many with it would decide."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from midwatch.spec.fairness import BY_RANK, CROSS
from midwatch.spec.values import describe_duration, format_duration
from monitors.canary.times import moment
from monitors.fairness import small_cells, ungrouped
from monitors.fairness.advice.proposal import Kind, Proposal
from monitors.fairness.advice.scene import Scene, Sent
from monitors.fairness.projection import Floats
from monitors.fairness.verdict import Verdict

MOST = 0.5
"""Share of the predictions without the attribute from which it is proposed to send it whatever is shown of the rest."""
TURN = 0.1
"""Least change of the share that is told as one."""
TURN_NATS = 10.0
"""Evidence of a change, beside the logarithm of the number of blocks at which it could be."""
RECENT = 10
"""The rate of predictions is that of the last of so many parts of the blocks."""


def propose(scene: Scene) -> Proposal | None:
    """How to have predictions counted by group that are not; None where hardly any lack it."""
    sent, lacks = scene.sent, scene.sent.finding.ungrouped
    is_open = any(one.judgement.verdict is Verdict.UNKNOWN for one in scene.findings)
    if lacks.total is None:
        step = f"let Prometheus keep {lacks.counter}, which the exporter serves beside the counters by group"
        return Proposal(kind=Kind.ATTRIBUTE, fits=is_open, why=lacks.said, steps=(step,))
    if not lacks.matters(scene.promise.min_events):
        return None
    turn = _turn(sent)
    share = lacks.number / lacks.total
    said = lacks.said + _since(sent, turn)
    shown = "" if is_open or share >= MOST else "; what is shown of the others stays so"
    is_mended = turn is not None and turn.after < ungrouped.MATTERS
    asks = ("wait: hardly any lack it now",) if is_mended else tuple(_sending(scene))
    return Proposal(
        kind=Kind.ATTRIBUTE,
        fits=is_open or share >= MOST,
        why=said + shown,
        steps=asks + tuple(_deciding(scene)),
        notes=tuple(_notes(scene)),
    )


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """When the share of the predictions without a group changed, seconds since the epoch, and what it was and is."""

    at: float
    before: float
    after: float


def _turn(sent: Sent) -> _Turn | None:
    """The likeliest change of the share, by the likelihood of two shares against one; None where none is clear."""
    lacking: Floats = np.maximum(sent.total - sent.grouped, 0.0)
    if lacking.size < 2:
        return None
    before, every = np.cumsum(lacking)[:-1], np.cumsum(sent.total)[:-1]
    after, rest = lacking.sum() - before, sent.total.sum() - every
    one = _log_likelihood(lacking.sum(), sent.total.sum())
    gains = _log_likelihood(before, every) + _log_likelihood(after, rest) - one
    place = int(np.argmax(gains))
    numbers = before[place], every[place], after[place], rest[place]
    if gains[place] < TURN_NATS + math.log(lacking.size) or any(_is_of_few(*numbers[at : at + 2]) for at in (0, 2)):
        return None
    shares = float(before[place] / every[place]), float(after[place] / rest[place])
    if abs(shares[1] - shares[0]) < TURN:
        return None
    return _Turn(at=sent.start + sent.block * (place + 1), before=shares[0], after=shares[1])


def _log_likelihood(hits: Floats, events: Floats) -> Floats:
    misses = np.maximum(events - hits, 0.0)
    return np.asarray(xlogy(hits, hits) + xlogy(misses, misses) - xlogy(hits + misses, hits + misses), dtype=np.float64)


def _is_of_few(number: float, total: float) -> bool:
    """Whether a share would tell how many of few people there are."""
    return any(0 < some < small_cells.LEAST for some in (number, total - number)) or not total


def _since(sent: Sent, turn: _Turn | None) -> str:
    if turn is not None:
        return f": {turn.before:.1%} before {moment(turn.at)}, {turn.after:.1%} since"
    return f", since counting began at {moment(sent.start)}"


def _sending(scene: Scene) -> Iterator[str]:
    """What has to be sent, under which name."""
    sent, first = scene.sent, scene.sent.finding
    whose = f"of {first.model} {first.version}"
    spelled = dict(_spelled_otherwise(sent))
    for name, others in spelled.items():
        number = sum(sent.by_name[other] for other in others)
        many = f"{number:,.0f}" if number >= small_cells.LEAST else "some"
        named = ", ".join(f"`{other}`" for other in others)
        yield f"{many} predictions {whose} have {named} and the promise says `{name}`: send it spelled so"
    names = [name for name in first.ungrouped.lacks if name not in spelled]
    if names:
        yield f"send {' and '.join(names)} with every prediction {whose}{_alone(sent)}"


def _alone(sent: Sent) -> str:
    """How many lack each of several attributes, where the prediction has to have all of them."""
    promise, lacks = sent.finding.promise, sent.finding.ungrouped.lacks
    if len(lacks) < 2 or promise.measure in BY_RANK or not sent.every:
        return ""
    parts = {name: sent.by_name.get(name, 0.0) for name in lacks if name in promise.named_attributes}
    if any(_is_of_few(number, sent.every) for number in parts.values()):
        return ""
    told = ", ".join(f"{max(0.0, 1 - number / sent.every):.1%} have no {name}" for name, number in parts.items())
    return f" ({told})"


def _spelled_otherwise(sent: Sent) -> Iterator[tuple[str, list[str]]]:
    """Attributes that are counted under other spellings of a name that predictions lack."""
    known = {name for name, number in sent.by_name.items() if number and CROSS not in name}
    promised = sent.finding.promise.named_attributes
    for name in promised:
        if others := sorted(other for other in known.difference(promised) if _letters(other) == _letters(name)):
            yield name, others


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))


def _deciding(scene: Scene) -> Iterator[str]:
    """How many more events with a group it would take, and how long that is as predictions come."""
    sent, lacks = scene.sent, scene.sent.finding.ungrouped
    with_it = " and ".join(lacks.lacks)
    judged = sent.finding.judgement
    if lacks.total is None:
        return
    if judged.worst is None:
        least = f"{scene.promise.min_events} events of each of two groups"
        yield f"{least} are the least that is judged; how many decide depends on rates that nobody has seen yet"
    elif judged.rows_needed:
        yield f"about {judged.rows_needed:,} more events with {with_it} would decide between the groups, if rates stay"
    more = math.ceil(lacks.number / ungrouped.MATTERS - lacks.total)
    if judged.verdict is Verdict.UNKNOWN and more > 0:
        yield (
            f"{more:,} more predictions{_time(sent, more)}, all with {with_it}, bring those without below "
            f"{ungrouped.MATTERS:.0%}: only then is anything shown fair"
        )


def _time(sent: Sent, more: int) -> str:
    recent = sent.total[-max(1, sent.total.size // RECENT) :]
    per_second = recent.sum() / (recent.size * sent.block)
    return f" (about {describe_duration(more / per_second)}, as they come lately)" if per_second else ""


def _notes(scene: Scene) -> Iterator[str]:
    sent, first = scene.sent, scene.sent.finding
    share = first.ungrouped.share or 0.0
    if better := {name: other for name, other in sent.others.items() if other <= share - TURN}:
        told = _listed(f"{other:.1%} of {name}" for name, other in better.items())
        yield f"of the model's other versions fewer lack it ({told}): look at what sends {first.version}"
    yield (
        "names are compared letter by letter, and one that groups of the model does not list is counted nowhere: "
        "look at what events have under groups"
    )
    over = format_duration(scene.promise.over)
    yield f"those without it are forgotten when counting begins anew, at the latest in {over}"


def _listed(texts: Iterable[str]) -> str:
    """The first of some texts, and that there are more."""
    shown = list(texts)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
