"""Figures and sentences of drills as people read them, the same in a terminal and on a page."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]


def seconds(value: float | None) -> str:
    """A time, or a dash."""
    return "-" if value is None else f"{value:.3f} s"


def rto(document: Document) -> str:
    """The RTO, with `>` when recovery was not seen."""
    return ("> " if document["rto_exceeds"] else "") + seconds(document["rto_seconds"])


def rpo(document: Document) -> str:
    """The data-loss time, with `>` when it is only a lower bound."""
    return ("> " if document["rpo_is_bound"] else "") + seconds(document["rpo_seconds"])


def chain(evidence: Document) -> str:
    """One sentence on the evidence."""
    kind = "signed (HMAC-SHA-256) and hash-chained" if evidence["signed"] else "hash-chained (SHA-256), not signed"
    state = "; ".join(evidence["problems"]) or f"whole, its head is {evidence['head']}"
    return f"{evidence['records']} records, {kind}: {state}"
