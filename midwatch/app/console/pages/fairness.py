"""Fairness: each promise with its verdicts, how far groups are apart and how sure that is, and what explains it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from midwatch import grafana, metrics, promql, signals
from midwatch.app import judged_fairness
from midwatch.app.console import attributed, drawing, fair, page
from midwatch.app.console.drawing import Figure
from midwatch.app.console.page import Context, NoPageError, Page
from midwatch.app.console.pages.alert import OF_FAIRNESS
from midwatch.app.console.queries import Answer
from midwatch.app.judged_fairness import Judged, Names
from midwatch.html import About, numbers
from midwatch.html.charts import Band, Chart, Line

MOST_HISTORIES = 8
"""Histories of gaps that are drawn: those of the worst promises."""


def build_all(context: Context) -> Page:
    """The page of all models that promise fairness."""
    models = [model for model in context.platform.models if model.fairness]
    wanted = dict(fair.questions_of_all()) if models else {}
    answers = dict(zip(wanted, context.asked.ask(*wanted.values()), strict=True))
    by_model = fair.judged_each(models, answers, judged_fairness.names(context.platform, context.file))
    found = [(model, one) for model in models for one in by_model[model.name]]
    every = [one for _, one in found]
    return Page(
        template="fairness_all.html",
        area="fairness",
        about=About(
            title="Fairness",
            verdict=_verdict(context, every) if models else "",
            meaning=f"{page.as_of(context.snapshot)}{_meaning(every)}" if models else "No model promises fairness.",
            platform=context.platform.platform,
        ),
        values={
            "found": [{"model": model.name, **_row(context, one)} for model, one in found],
            "why": drawing.why(*answers.values()),
        },
    )


def build(context: Context, *, model: str) -> Page:
    """The page of a model; NoPageError for one that promises nothing."""
    described = context.model(model)
    if not described.fairness:
        raise NoPageError(f"{model} promises no fairness; models[].fairness does")
    history = {
        name: drawing.over_time(
            context, promql.max_by(signals.series(metric, {"model": model}), *metrics.FAIRNESS_PROMISE, "bound")
        )
        for name, metric in (("difference", metrics.FAIRNESS_DIFFERENCE), ("ratio", metrics.FAIRNESS_RATIO))
    }
    wanted = {
        **dict(fair.questions(described)),
        **dict(attributed.questions(described)),
        **dict(attributed.group_questions(context, described)),
        **history,
    }
    answers = dict(zip(wanted, context.asked.ask(*wanted.values()), strict=True))
    names = judged_fairness.names(context.platform, context.file)
    every = fair.judged(described, answers, names)
    return Page(
        template="fairness.html",
        area="fairness",
        about=About(
            title=f"{model}: fairness",
            verdict=_verdict(context, every),
            meaning=f"{page.as_of(context.snapshot)}{_meaning(every)}",
            model=model,
            platform=context.platform.platform,
            owner=described.owner,
        ),
        values={
            "name": model,
            "found": [_row(context, one) for one in every],
            "promises": [_promise(context, one) for one in every if one.verdict is not None],
            "strata": _strata(every),
            "histories": _histories(context, answers, every),
            "explained": attributed.explained(context, described, answers),
            "between": _between(answers, names, every),
            "by_group": described.explanations is not None and described.explanations.by_group,
            "hashes": names.why,
            "choices": page.choices(context, ["fairness", model]),
            "firing": [
                one
                for one in context.snapshot.overview.alerts
                if one.labels.get("model") == model and one.name in OF_FAIRNESS
            ],
            "why": drawing.why(*answers.values()),
            "dashboard": grafana.dashboard_url(context.platform, grafana.Page.FAIRNESS, model=model),
        },
    )


def _verdict(context: Context, found: Sequence[Judged]) -> str:
    """Good only where each promise of each version is shown kept, now."""
    if any(one.is_unfair for one in found):
        return "bad"
    is_shown = bool(found) and all(one.is_fair for one in found)
    return "good" if is_shown and not context.snapshot.stale_since else "unsure"


def _meaning(found: Sequence[Judged]) -> str:
    if not found:
        return "Nothing is known: Prometheus does not answer."
    unfair, fair_ones = sum(one.is_unfair for one in found), sum(one.is_fair for one in found)
    open_ones = len(found) - unfair - fair_ones
    parts = [
        f"{unfair} {'is' if unfair == 1 else 'are'} shown broken" if unfair else "",
        f"{open_ones} {'is' if open_ones == 1 else 'are'} not known yet" if open_ones else "",
        f"{fair_ones} {'is' if fair_ones == 1 else 'are'} shown kept" if fair_ones else "",
    ]
    return f"Of {len(found)} promised rate{'s' * (len(found) != 1)}, {'; '.join(filter(None, parts))}."


def _row(context: Context, one: Judged) -> dict[str, Any]:
    """A promise in a row of a table."""
    return {
        "of": one.of,
        "rate": one.rate,
        "limit": one.limit,
        "version": one.version,
        "state": fair.state(one, is_old=context.snapshot.stale_since is not None),
        "lately": fair.LATELY if one.is_lately else None,
        "worst": one.worst,
        "waits": _waits(one),
    }


def _waits(one: Judged) -> str:
    """What an open verdict waits for."""
    if one.verdict is None:
        return "nobody has judged it, or nothing was predicted lately; is midwatch evaluate serve running?"
    told = []
    if one.verdict == 0 and one.rows_needed is not None:
        told.append(f"about {one.rows_needed:,.0f} more events, if the rates stay")
    if one.unlabelled:
        told.append(f"{numbers.number(one.unlabelled, 'ratio')} of a group have no label")
    if one.ungrouped:
        told.append(f"{numbers.number(one.ungrouped, 'ratio')} of the predictions are in no group")
    if one.verdict == 0 and not told:
        told.append("groups with too few events, or rates that lie on the limit, or it is not known who has no group")
    return "; ".join(told)


def _promise(context: Context, one: Judged) -> dict[str, Any]:
    """A promise with its pictures."""
    pictures = {"groups": judged_fairness.groups_of(one), "gap": judged_fairness.gap_of(one)}
    return {**_row(context, one), **pictures, "smallest": one.smallest}


def _strata(found: Sequence[Judged]) -> list[dict[str, Any]]:
    """Promises that are judged over all and like with like: what both together say."""
    by_key = {one.key: one for one in found}
    rows = []
    for one in found:
        rate, is_within, within = one.rate.rpartition(" within ")
        pooled = by_key.get((one.model, one.version, one.attribute, one.measure, rate, one.limit))
        if is_within and pooled is not None:
            rows.append(
                {
                    "of": f"{one.of}, {one.version}: {rate}",
                    "pooled": _apart(pooled),
                    "within": f"{within}: {_apart(one)}",
                    "says": _said_of_both(pooled, one),
                }
            )
    return rows


def _apart(one: Judged) -> str:
    state = fair.STATES.get(one.verdict if one.verdict is not None else 0.0, fair.STATES[0.0])[1]
    return f"{state}: {one.worst}" if one.worst else state


def _said_of_both(pooled: Judged, within: Judged) -> str:
    """Who applies differs, or the model treats like unlike."""
    if within.is_unfair:
        return "the model treats like unlike, whoever applies"
    if pooled.is_unfair and within.is_fair:
        return "it is who applies that differs: like are treated alike"
    if pooled.is_unfair:
        return "apart over all; whether like are treated alike is not known yet"
    return "nothing is shown apart" if pooled.is_fair and within.is_fair else "not known yet"


def _between(answers: dict[str, Answer], names: Names, found: Sequence[Judged]) -> list[dict[str, Any]]:
    """Of each promise that is not shown kept: the features that make its worst pair differ."""
    rows = []
    for one in found:
        if one.is_fair or not one.above or one.stratum:
            continue
        features = attributed.between(
            answers, names, version=one.version, attribute=one.attribute, above=one.above, below=one.below
        )
        named = {"of": f"{one.of} ({one.limit}), {one.version}: {one.rate}", "above": one.above, "below": one.below}
        rows.append({**named, "features": features})
    return rows


def _histories(context: Context, answers: dict[str, Answer], found: Sequence[Judged]) -> list[Figure]:
    """Each promise's worst gap over time, with its interval and what is promised."""
    return [figure for one in found if one.gap for figure in _history(context, answers, one)][:MOST_HISTORIES]


def _history(context: Context, answers: dict[str, Answer], one: Judged) -> Iterator[Figure]:
    answer = answers["ratio" if one.is_of_ratio else "difference"]
    own = {
        line.labels.get("bound", ""): line
        for line in answer.lines
        if tuple(line.labels.get(name, "") for name in metrics.FAIRNESS_PROMISE) == one.key
    }
    if "estimate" not in own:
        return
    x = drawing.times(context, [answer])
    ends = {bound: drawing.column(line.points, x, context.step) for bound, line in own.items()}
    nothing = [None] * len(x)
    band = Band(name="interval", low=ends.get("low", nothing), high=ends.get("high", nothing))
    chart = Chart(
        title=f"{one.of} ({one.limit}), {one.version}: {one.rate}",
        x=x,
        lines=[Line(name="worst pair", values=ends["estimate"], kind="now")],
        bands=[band],
        rules=one.rules,
        unit="ratio",
        note="the lower group's part of the higher" if one.is_of_ratio else "points between the two",
        queries=[answer.question.expr],
        from_zero=False,
    )
    yield Figure(chart=chart, why=answer.why)
