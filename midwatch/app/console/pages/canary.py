"""Canaries: what the gate said last of each, and one of them judged now, as `midwatch canary judge` judges it."""

from __future__ import annotations

import re
from dataclasses import replace

from midwatch import html
from midwatch.app.console import attributed
from midwatch.app.console.page import Context, NoPageError, Page
from midwatch.errors import InvalidInputError
from midwatch.html import About
from midwatch.spec.model import Model

MEANINGS = {
    "pass": "The new version is not worse than the old one by more than what is allowed.",
    "fail": "The new version is worse than the old one.",
    "inconclusive": "It is not known yet whether the new version is worse.",
}
_CONTENT = re.compile(r'<main id="content" tabindex="-1">(.*)</main>', re.DOTALL)


def build_all(context: Context) -> Page:
    """The page of all comparisons."""
    overview = context.snapshot.overview
    return Page(
        template="canaries.html",
        area="canaries",
        about=About(
            title="Canaries", platform=overview.platform, meaning="What the gate said last of each new version."
        ),
        values={"canaries": overview.canaries, "models": [one for one in context.platform.models if one.canary]},
    )


def build(context: Context, *, model: str) -> Page:
    """The page of a comparison: model, and the versions that the address names."""
    baseline, canary = (context.query.get(name, "") for name in ("baseline", "canary"))
    described = context.model(model)
    if described.canary is None or not baseline or not canary:
        raise NoPageError(f"{model} has no such canary; the address names baseline and canary")
    return Page(
        template="canary.html",
        area="canaries",
        about=About(
            title=f"{model}: {canary} against {baseline}",
            model=model,
            platform=context.platform.platform,
            owner=described.owner,
        ),
        values={
            "report": judged(context, model, baseline, canary),
            "model": model,
            "explained": _explained(context, described, canary),
        },
    )


def _explained(context: Context, model: Model, canary: str) -> attributed.Explained:
    """Which features the canary uses otherwise; what is said of other versions is left out."""
    wanted = dict(attributed.questions(model))
    answers = dict(zip(wanted, context.asked.ask(*wanted.values()), strict=True))
    found = attributed.explained(context, model, answers)
    own = [one for one in found.said if one.version == canary]
    nothing = f"Which features explain it is not known: no attributions of {canary} were judged yet."
    return replace(found, said=own, why=found.why or ("" if own else nothing))


def judged(context: Context, model: str, baseline: str, canary: str) -> str:
    """The report of the comparison, as it is written inside of a page."""
    import markupsafe

    from monitors.canary import ask, report
    from monitors.canary.question import Question

    settings, interval = ask.settings_of(context.platform, model)
    question = Question(model=model, baseline=baseline, canary=canary, served=ask.served_by(context.platform, model))
    try:
        ask.ensure_two_arms(question, settings)
    except InvalidInputError as error:
        raise NoPageError(str(error)) from error
    owner = context.model(model).owner
    whose = report.Whose(platform=context.platform.platform, owner=owner)
    counts, judgement = ask.ask(context.asked.client, question, settings, interval=interval, clock=context.now)
    text = html.render(report.TEMPLATE, **report.values(counts, settings, judgement, whose))
    found = _CONTENT.search(text)
    return markupsafe.Markup(found[1] if found else "")  # noqa: S704 - the page of a template that escapes
