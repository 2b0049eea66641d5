"""The first page: what fires and who was told, models by trouble, and what goes on."""

from __future__ import annotations

from collections.abc import Iterable

from midwatch.app.console.page import Context, Page
from midwatch.app.status.records import Kind, Standing, State, Subject
from midwatch.html import About

HEADINGS = {
    State.CALM: ("Calm", "good", "Every promise is kept as far as anybody can see."),
    State.ACT: ("Somebody should act", "bad", ""),
    State.UNKNOWN: ("Not known", "unsure", ""),
}
"""Title, class and meaning of each state."""
STANDINGS = {
    Standing.EXHAUSTED: "bad",
    Standing.BROKEN: "bad",
    Standing.BURNING: "bad",
    Standing.UNKNOWN: "unsure",
    Standing.NO_DATA: "unsure",
    Standing.UNDECIDED: "unsure",
    Standing.KEPT: "good",
}
"""Class of each standing."""
MOST_REASONS = 8


def build(context: Context) -> Page:
    """The page."""
    overview = context.snapshot.overview
    title, verdict, meaning = HEADINGS[overview.state]
    more = len(overview.reasons) - MOST_REASONS
    return Page(
        template="overview.html",
        area="overview",
        about=About(
            title=title,
            verdict=verdict,
            meaning=meaning,
            platform=overview.platform,
        ),
        values={
            "reasons": [*overview.reasons[:MOST_REASONS], *([f"and {more} more"] if more > 0 else [])],
            "overview": overview,
            "models": _chosen(context, overview.models),
            "services": _chosen(context, (one for one in overview.subjects if one.kind is Kind.SERVICE)),
            "owners": sorted({one.owner for one in overview.subjects if one.owner}),
            "owner": context.query.get("owner", ""),
            "words": context.query.get("words", ""),
            "only": context.query.get("only", ""),
            "standings": STANDINGS,
            "overdue": [one for one in overview.drills if one.is_overdue or one.is_overdue is None],
            "silent": [one for one in overview.systems if not one.answers],
        },
    )


def _chosen(context: Context, subjects: Iterable[Subject]) -> list[Subject]:
    """The subjects that the address asks for: of an owner, with some words in their name, in trouble."""
    owner, words, only = (context.query.get(name, "") for name in ("owner", "words", "only"))
    return [
        one
        for one in subjects
        if (not owner or one.owner == owner)
        and words.lower() in one.name.lower()
        and (only != "trouble" or one.state is not State.CALM)
    ]
