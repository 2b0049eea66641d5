"""What changed: every change that Midwatch can see, the newest first; what could not be asked is said."""

from __future__ import annotations

from midwatch.app.console import page
from midwatch.app.console.page import Context, NoPageError, Page
from midwatch.html import About
from monitors.incident.records import Change, Kind

MOST = 300
"""Changes on the page, the newest ones."""


def build(context: Context) -> Page:
    """The page: changes of the chosen time, of all models or of the one that the address names.

    NoPageError for a model or a kind that there is not: that nothing of it changed would be no answer.
    """
    model, kind = (context.query.get(name, "") for name in ("model", "kind"))
    if model:
        context.model(model)
    if kind and kind not in list(Kind):
        raise NoPageError(f"there is no kind of change {kind!r}; there are {', '.join(sorted(Kind))}")
    collected = context.what_changed.changes(context.span, context.now)
    about = [one for one in collected.changes if not model or one.scope.get("model", model) == model]
    shown = [one for one in about if not kind or one.kind == kind]
    shown.sort(key=lambda one: (-one.at, one.what))
    return Page(
        template="changes.html",
        area="changes",
        about=About(
            title="What changed",
            meaning=_meaning(shown, context.span_name, is_whole=not collected.unanswered),
            model=model,
            platform=context.platform.platform,
        ),
        values={
            "changes": shown[:MOST],
            "more": max(0, len(shown) - MOST),
            "kinds": sorted({one.kind.value for one in about}),
            "kind": kind,
            "model": model,
            "models": sorted(one.name for one in context.platform.models),
            "span": context.span_name,
            "unanswered": collected.unanswered,
            "choices": page.choices(context, ["changes"]),
        },
    )


def _meaning(changes: list[Change], span: str, *, is_whole: bool) -> str:
    if not changes and not is_whole:
        return f"No change of the last {span} is known, and not every source could be asked."
    if not changes:
        return f"Nothing changed in the last {span}, as far as the sources below say."
    return f"{len(changes)} change{'s' * (len(changes) != 1)} in the last {span}."
