"""A model: its versions, what is promised and kept, whether it is right, its inputs, its groups, what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from midwatch import grafana, metrics, promql, signals
from midwatch.app.console import attributed, drawing, fair, page
from midwatch.app.console.drawing import Figure
from midwatch.app.console.page import Context, Page
from midwatch.app.console.pages.overview import STANDINGS
from midwatch.app.console.queries import Question
from midwatch.app.console.state import Snapshot
from midwatch.app.judged_fairness import Names
from midwatch.app.status.records import State, Subject
from midwatch.html import About, numbers
from midwatch.html.charts import Bars, Line, Rule
from midwatch.promql import Expr
from midwatch.spec.model import Model

LEAST_QUALITY_WINDOW = 300.0
"""Labels come slowly: a share of fewer than five minutes of them jumps about."""

MOST_DRAWN = 12
"""Distributions of a page, over all versions."""

BY_VERSION = drawing.by_label("version", "all versions")


def build(context: Context, *, model: str) -> Page:
    """The page of a model; NoPageError for one that the platform file does not have."""
    described = context.model(model)
    overview = context.snapshot.overview
    subject = next((one for one in overview.models if one.name == model), None)
    alerts = [one for one in overview.alerts if one.labels.get("model") == model]
    asked = _Asked(context, described)
    distributions = asked.distributions()
    return Page(
        template="model.html",
        area="models",
        about=About(
            title=model,
            verdict=_verdict(subject, context.snapshot),
            meaning=f"{page.as_of(context.snapshot)}{_meaning(subject, context.snapshot)}",
            platform=overview.platform,
            owner=described.owner,
            more=[("Answers with", described.task), ("Served by", described.serving)],
        ),
        values={
            "subject": subject,
            "name": model,
            "firing": alerts,
            "standings": STANDINGS,
            "choices": page.choices(context, ["models", model]),
            "canaries": [one for one in overview.canaries if one.model == model],
            "episodes": [one for one in overview.episodes if one.model == model],
            "traffic": asked.traffic(),
            "quality": asked.quality(),
            "drift": asked.drift(),
            "findings": asked.findings(),
            "distributions": distributions[:MOST_DRAWN],
            "more_distributions": max(0, len(distributions) - MOST_DRAWN),
            "groups": asked.groups(),
            "fairness": asked.fairness(),
            "explained": attributed.explained(context, described, asked.answers),
            "cost": asked.cost(),
            "why": drawing.why(*asked.answers.values()),
            "dashboard": grafana.dashboard_url(context.platform, grafana.Page.MODEL, model=model),
        },
    )


def _verdict(subject: Subject | None, snapshot: Snapshot) -> str:
    """Class of its state; what was calm when Prometheus answered last need not be now."""
    if subject is None or subject.state is State.UNKNOWN:
        return "unsure"
    if subject.state is State.ACT:
        return "bad"
    return "unsure" if snapshot.stale_since or not snapshot.rules_run else "good"


def _meaning(subject: Subject | None, snapshot: Snapshot) -> str:
    if subject is None:
        return "Nothing is known of it: Prometheus has not answered, or has no record of it."
    if subject.reasons:
        return "; ".join(subject.reasons) + "."
    if not snapshot.rules_run:
        return "Nothing of it fires, and nothing could: the platform's rules are not evaluated."
    if not subject.objectives:
        return "Nothing is promised of it, and nothing of it fires."
    return "Its promises are kept and nothing of it fires."


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of an attribute: its labelled predictions, and the share of right ones with its 95% interval."""

    attribute: str
    name: str
    labelled: float
    low: float
    share: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a method of drift found of a feature in the last window."""

    feature: str
    method: str
    effect: float | None
    p_value: float | None
    votes: bool


class _Asked:
    """All that is asked for the page of a model, at once; and what is made of the answers."""

    def __init__(self, context: Context, model: Model) -> None:
        self._context, self._model = context, model
        wanted = dict(self._questions())
        self.answers = dict(zip(wanted, context.asked.ask(*wanted.values()), strict=True))

    # Questions -----------------------------------------------------------------------------------------------------

    def _questions(self) -> Iterator[tuple[str, Question]]:
        for name, expr in {**self._served(), **self._right(), **self._inputs()}.items():
            yield name, drawing.over_time(self._context, expr)
        for name, expr in {**self._last_window(), **self._of_groups()}.items():
            yield name, drawing.now(expr)
        yield from fair.state_questions(self._model)
        yield from attributed.questions(self._model)

    @property
    def _where(self) -> signals.Selection:
        return {"model": self._model.name}

    @property
    def quality_window(self) -> float:
        """Seconds over which a share of right answers is taken."""
        return max(LEAST_QUALITY_WINDOW, self._context.span / 12)

    def _served(self) -> dict[str, Expr]:
        where, window = self._where, self._context.rate_window
        if self._model.serving != "midwatch":
            rate = promql.sum_by(signals.series(metrics.SERVED_REQUESTS, where), "version")
            bad = promql.sum_by(signals.series(metrics.SERVED_REQUESTS, {**where, "outcome": "error"}), "version")
            buckets = promql.sum_by(signals.series(metrics.SERVED_DURATION, where), "version", "le")
            errors = bad.over(rate, on=("version",))
            busy = promql.sum_by(signals.series(metrics.SERVED_TIME, where), "version")
        else:
            rate = signals.requests(where, "version", window=window)
            errors = signals.errors(where, "version", window=window)
            duration = promql.rate(signals.series(metrics.REQUEST_DURATION, where, "_bucket"), window)
            buckets = promql.sum_by(duration, "version", "le")
            busy = promql.sum_by(
                promql.rate(signals.series(metrics.REQUEST_DURATION, where, "_sum"), window), "version"
            )
        return {
            "requests": rate,
            "errors": errors,
            "p99": promql.histogram_quantile(0.99, buckets),
            "p50": promql.histogram_quantile(0.5, buckets),
            "busy": busy,
            **({"tokens": self._tokens()} if self._model.task == "generation" else {}),
        }

    def _tokens(self) -> Expr:
        if self._model.serving != "midwatch":
            return promql.sum_by(signals.series(metrics.SERVED_TOKENS, self._where), "kind")
        tokens = signals.series(metrics.TOKENS, self._where)
        return promql.sum_by(promql.rate(tokens, self._context.rate_window), "kind")

    def _right(self) -> dict[str, Expr]:
        where, window = self._where, self.quality_window
        if self._model.task == "classification":
            return {
                "right": signals.right(where, "version", window=window),
                "labelled": signals.labelled(where, "version", window=window),
            }
        if self._model.task == "regression":
            error, count = (
                promql.sum_by(promql.increase(signals.series(metric, where), window), "version")
                for metric in (metrics.ABSOLUTE_ERROR, metrics.ERRORS_OBSERVED)
            )
            return {"mean error": error.over(count, on=("version",))}
        return {}

    def _inputs(self) -> dict[str, Expr]:
        if self._model.drift is None:
            return {}
        return {
            "votes": promql.max_by(signals.series(metrics.DRIFT_VOTES, self._where), "version"),
            "effects": promql.max_by(signals.series(metrics.DRIFT_EFFECT, self._where), "feature"),
        }

    def _last_window(self) -> dict[str, Expr]:
        if self._model.drift is None:
            return {}
        kept = 3600.0  # a window with too little data takes the findings away; the last ones stay for an hour
        by_method = ("feature", "method")
        return {
            "shares": promql.mean_by(
                promql.select(metrics.DRIFT_SHARE, model=self._model.name), "version", "feature", "side", "place", "bin"
            ),
            "quorum": promql.max_by(signals.series(metrics.DRIFT_QUORUM, self._where)),
            **{
                name: promql.max_by(promql.last_over_time(signals.series(metric, self._where), kept), *by_method)
                for name, metric in (
                    ("effect", metrics.DRIFT_EFFECT),
                    ("p-value", metrics.DRIFT_P_VALUE),
                    ("vote", metrics.DRIFT_VOTE),
                )
            },
        }

    def _of_groups(self) -> dict[str, Expr]:
        if not self._model.groups or self._model.task != "classification":
            return {}
        by, window = ("attribute", "group"), max(86_400.0, self._context.span)
        metric = metrics.SETTLED_GROUP_OUTCOMES
        return {
            "group right": signals.right(
                self._where, *by, metric=metric, window=window, apart=("model", "version", "attribute", "group")
            ),
            "group labelled": signals.labelled(self._where, *by, metric=metric, window=window),
        }

    # Answers -------------------------------------------------------------------------------------------------------

    def _chart(self, name: str, title: str, unit: str, *, rules: tuple[Rule, ...] = (), note: str = "") -> Figure:
        return drawing.chart(
            self._context, title, self.answers[name], unit=unit, name=BY_VERSION, rules=rules, note=note
        )

    def traffic(self) -> list[Figure]:
        """Requests, errors and latency by version."""
        return [
            self._chart("requests", "Requests", "per_second"),
            self._chart("errors", "Requests that failed", "ratio"),
            self._chart("p99", "99 of 100 requests within", "seconds", rules=tuple(self._thresholds())),
            self._chart("p50", "Half of the requests within", "seconds"),
        ]

    def _thresholds(self) -> Iterator[Rule]:
        for slo in self._model.slos:
            if not isinstance(slo.sli, str) and slo.sli.latency:
                yield Rule(name=f"promised by {slo.name}", at=float(slo.sli.latency.threshold))

    def quality(self) -> list[Figure]:
        """Whether answers are right, with the 95% interval."""
        if "labelled" in self.answers:
            window = f"of the labels of {self.quality_window / 60:.0f} minutes"
            right, labelled = self.answers["right"], self.answers["labelled"]
            return [
                drawing.share_with_interval(self._context, "Accuracy", right, labelled, name=BY_VERSION, note=window),
                self._chart("labelled", "Labels that the accuracy rests on", "count"),
            ]
        if "mean error" in self.answers:
            return [self._chart("mean error", "Mean absolute error", "")]
        return []

    def drift(self) -> list[Figure]:
        """Votes against their quorum, and how far each feature is from its reference."""
        if self._model.drift is None:
            return []
        quorum = drawing.value(self.answers["quorum"])
        rules = (Rule(name="votes that say drift", at=quorum),) if quorum is not None else ()
        effects = drawing.chart(
            self._context,
            "Distance of features from their reference",
            self.answers["effects"],
            name=drawing.by_label("feature"),
            note="the largest effect of any method; 0 is no change",
        )
        return [self._chart("votes", "Methods that vote for drift", "count", rules=rules), effects]

    def findings(self) -> list[Finding]:
        """Findings of the last window, those that vote first, then by effect."""
        if self._model.drift is None:
            return []
        by = ("feature", "method")
        effect, p_value, vote = (drawing.values(self.answers[name], *by) for name in ("effect", "p-value", "vote"))
        found = [
            Finding(
                feature=key[0], method=key[1], effect=effect.get(key), p_value=p_value.get(key), votes=vote[key] == 1
            )
            for key in vote
        ]
        return sorted(found, key=lambda one: (not one.votes, -(one.effect or 0.0), one.feature, one.method))

    def distributions(self) -> list[Bars]:
        """Both distributions of each feature of each version that has them, those that differ most first."""
        if self._model.drift is None:
            return []
        told = drawing.values(self.answers["shares"], "version", "feature", "place", "bin", "side")
        shares: dict[tuple[str, str], dict[tuple[str, str], dict[str, float]]] = {}
        for (version, feature, place, name, side), share in sorted(told.items()):
            shares.setdefault((version, feature), {}).setdefault((place, name), {})[side] = share
        drawn = [self._distribution(*key, list(bins.items())) for key, bins in shares.items()]
        return [one for _, one in sorted(drawn, key=lambda pair: (-pair[0], pair[1].title))]

    def _distribution(
        self, version: str, feature: str, bins: list[tuple[tuple[str, str], dict[str, float]]]
    ) -> tuple[float, Bars]:
        """How much of the values has moved (total variation distance), and the drawing."""
        before, now = ([shares.get(side, 0.0) for _, shares in bins] for side in ("reference", "window"))
        names = [name for (_, name), _ in bins]
        differences = [abs(one - other) for one, other in zip(before, now, strict=True)]
        most = max(range(len(bins)), key=differences.__getitem__)
        said = (
            f"{numbers.number(before[most], 'ratio')} before, {numbers.number(now[most], 'ratio')} in the last window"
        )
        where = {"model": self._model.name, "version": version, "feature": feature}
        return sum(differences) / 2, Bars(
            title=f"{feature} of {version}",
            names=names,
            series=[
                Line(name="reference", values=before, kind="before"),
                Line(name="last window", values=now, kind="now"),
            ],
            note=f"most has changed at {names[most]}: {said}",
            queries=[str(promql.select(metrics.DRIFT_SHARE, **where))],
        )

    def groups(self) -> list[Group]:
        """Groups by attribute; the least right ones first."""
        if "group labelled" not in self.answers:
            return []
        by = ("attribute", "group")
        right, total = (drawing.values(self.answers[name], *by) for name in ("group right", "group labelled"))
        found = []
        for key, labelled in total.items():
            if labelled > 0:
                low, share, high = drawing.wilson(right.get(key, 0.0), labelled)
                found.append(Group(attribute=key[0], name=key[1], labelled=labelled, low=low, share=share, high=high))
        return sorted(found, key=lambda one: (one.attribute, one.share, one.name))

    def fairness(self) -> list[tuple[str, str]]:
        """Class and words of each state that its promises of fairness are in, the worst first; nothing without any."""
        told = []
        for one in fair.judged(self._model, self.answers, Names()):
            told += [fair.LATELY] if one.is_lately else []
            told.append(fair.state(one, is_old=self._context.snapshot.stale_since is not None))
        return list(dict.fromkeys(told))

    def cost(self) -> list[Figure]:
        """What it uses: time of its servers, and tokens."""
        busy = self._chart(
            "busy", "Requests being worked on", "", note="seconds of work per second: so many servers are busy at least"
        )
        if "tokens" not in self.answers:
            return [busy]
        tokens = drawing.chart(
            self._context, "Tokens", self.answers["tokens"], unit="per_second", name=drawing.by_label("kind")
        )
        return [busy, tokens]
