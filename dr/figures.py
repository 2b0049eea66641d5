"""Figures and sentences of drills as people read them, the same in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]


def seconds(value: float | None) -> str:
    """A time, or a dash."""
    return "-" if value is None else f"{value:.3f} s"


def change(values: Document) -> str:
    """A time before and now, with the difference.

    >>> change({"before": 0.5, "now": 0.75, "change": 0.25})
    '0.500 s, then 0.750 s (+0.250 s)'
    """
    said = f"{seconds(values['before'])}, then {seconds(values['now'])}"
    return said if values["change"] is None else f"{said} ({values['change']:+.3f} s)"


def rto(document: Document) -> str:
    """The RTO, with `>` when recovery was not seen."""
    return ("> " if document["rto_exceeds"] else "") + seconds(document["rto_seconds"])


def rpo(document: Document) -> str:
    """The data-loss time: with `>` when it is only a lower bound, with `at most` when it is an upper one."""
    if (bound := document.get("rpo_at_most_seconds")) is not None and not document["rpo_is_bound"]:
        return f"at most {seconds(bound)}"
    return ("> " if document["rpo_is_bound"] else "") + seconds(document["rpo_seconds"])


def data_loss(document: Document) -> float | None:
    """The data-loss time as a number: its bound where only that is known."""
    known: list[float | None] = [document.get("rpo_seconds"), document.get("rpo_at_most_seconds")]
    return max((value for value in known if value is not None), default=None)


def in_a_row(document: Document) -> str:
    """How many drills were MET in a row, with the bound that they give where it says something."""
    bound = document["bound"]
    count, share = bound["met_in_a_row"], bound["breach_probability_at_most"]
    said = f"{count} {'drill' if count == 1 else 'drills'} MET in a row"
    if share >= 1.0:
        return said
    return f"{said}: a breach has a probability of at most {share:.0%} at {bound['confidence']:.0%} confidence"


def chain(evidence: Document) -> str:
    """One sentence on the evidence."""
    kind = "signed (HMAC-SHA-256) and hash-chained" if evidence["signed"] else "hash-chained (SHA-256), not signed"
    whole = f"whole, its head is {evidence['head']}" if evidence["records"] else "nothing is proven by it"
    state = "; ".join(evidence["problems"]) or whole
    return f"{evidence['records']} records, {kind}: {state}"
