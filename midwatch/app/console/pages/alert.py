"""An alert: whether it fires and since when, whose it is and who was told, what to do, and a form to silence it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from midwatch.app.console import attributed
from midwatch.app.console.page import Context, Page
from midwatch.app.console.state import Snapshot
from midwatch.app.status.records import Alert, Silence, Told
from midwatch.html import About, numbers
from midwatch.spec.model import Platform
from monitors.incident.records import Incident

ACKNOWLEDGED = "ack: "
"""Begins the comment of a silence that acknowledges: Alertmanager has nothing else for it. It is short, and whoever
works on the alert extends it."""
LEAST_WIDTH = 1.0
"""Percent of the timeline that a moment takes."""
OF_RULES = frozenset(
    {"model", "version", "slo", "store", "region", "drill", "experiment", "system", "feature", "source"}
)
OF_FAIRNESS = frozenset({"FairnessBroken", "FairnessUnknown"})
ABOUT_FEATURES = OF_FAIRNESS | {"ModelInputDrift", "CanaryFailed", "AttributionsChanged"}
"""Alerts that the features whose attributions moved may explain."""
LASTS = {"30m": 1800.0, "2h": 7200.0, "8h": 28_800.0, "1d": 86_400.0, "3d": 259_200.0}
"""Times for which the form silences."""


def build_all(context: Context) -> Page:
    """The page of all alerts that fire, and of the silences that there are."""
    overview = context.snapshot.overview
    pages = sum(one.severity == "page" for one in overview.alerts)
    blind = _blind(context.snapshot)
    return Page(
        template="alerts.html",
        area="alerts",
        about=About(
            title="Alerts",
            verdict="bad" if pages else "" if not blind else "unsure",
            meaning=_of_all(len(overview.alerts), pages, blind),
            platform=overview.platform,
        ),
        values={"firing": overview.alerts, "quiet": overview.silences},
    )


def _blind(snapshot: Snapshot) -> str:
    """Why what does not fire may be in trouble all the same; nothing where it would fire."""
    if not snapshot.knows_alerts:
        return "Prometheus does not say"
    return "" if snapshot.rules_run else "the platform's rules are not evaluated"


def _of_all(firing: int, pages: int, blind: str) -> str:
    if firing:
        return f"{firing} fire, {pages} of them page{f', and others may be due: {blind}' if blind else ''}."
    return f"What should fire is not known: {blind}." if blind else "Nothing fires."


def build(context: Context, *, alert: str) -> Page:
    """The page of an alert: those of its name that fire with the labels of the address."""
    overview = context.snapshot.overview
    blind = _blind(context.snapshot)
    wanted = {name: value for name, value in context.query.items() if name not in ("span", "at")}
    firing = [
        one
        for one in overview.alerts
        if one.name == alert and all(one.labels.get(name) == value for name, value in wanted.items())
    ]
    explained = context.what_changed.explained(alert, _of_rule(wanted), context.now)
    owners = sorted({one.owner for one in firing if one.owner})
    return Page(
        template="alert.html",
        area="alerts",
        about=About(
            title=alert,
            verdict=_verdict(firing, blind),
            meaning=_meaning(firing, context.now, blind),
            model=wanted.get("model", ""),
            platform=overview.platform,
            owner=", ".join(owners),
            more=sorted((name, value) for name, value in wanted.items() if name != "model"),
        ),
        values={
            "name": alert,
            "explained": explained,
            "timeline": timeline(explained.incident) if explained.incident else [],
            "firing": firing,
            "others": [one for one in overview.alerts if one not in firing],
            "quiet": [one for one in overview.silences if _is_about(one, alert)],
            "runbook": runbook_of(context.platform, alert, firing),
            "matchers": matchers_of(alert, firing, wanted),
            "lasts": list(LASTS),
            "attributed": _attributed(context, alert, wanted),
            "fairness_of": wanted.get("model", "") if alert in OF_FAIRNESS else "",
            "told_badly": (Told.FAILED, Told.NOBODY, Told.NOT_THERE),
            "path": context.path,
        },
    )


def _attributed(context: Context, alert: str, wanted: Mapping[str, str]) -> attributed.Explained | None:
    """The features that explain an alert on inputs, on a canary or on fairness; None of another alert."""
    model = next((one for one in context.platform.models if one.name == wanted.get("model")), None)
    if alert not in ABOUT_FEATURES or model is None:
        return None
    asked = dict(attributed.questions(model))
    answers = dict(zip(asked, context.asked.ask(*asked.values()), strict=True))
    return attributed.explained(context, model, answers)


def timeline(incident: Incident) -> list[dict[str, Any]]:
    """Onset, suspects and alert on one clock: where each stands and how long it was, in percent of the whole."""
    suspects = [one.change for one in incident.suspects if one.change is not None]
    onset = incident.onset
    told: list[tuple[str, float, float, str]] = [
        ("harm began", onset.earliest, onset.latest, "bad"),
        *((one.what, one.at, one.ended or one.latest, "now") for one in suspects),
        ("the alert fired", incident.fired_at, incident.fired_at, "unsure"),
    ]
    told.sort(key=lambda one: one[1])
    first, last = told[0][1], max(one[2] for one in told)
    scale = 100 / max(last - first, 1.0)
    rows = []
    for name, begin, end, kind in told:
        at = min((begin - first) * scale, 100 - LEAST_WIDTH)
        width = min(max((end - begin) * scale, LEAST_WIDTH), 100 - at)
        rows.append({"name": name, "begin": begin, "end": end, "at": at, "width": width, "class": kind})
    return rows


def _of_rule(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels that an alert has at Prometheus too: others were added on the way to Alertmanager."""
    return {name: value for name, value in labels.items() if name in OF_RULES}


def matchers_of(alert: str, firing: Sequence[Alert], wanted: Mapping[str, str]) -> dict[str, str]:
    """Labels that a silence of this page matches: of the one alert that fires, all; else those of the address."""
    if len(firing) == 1:
        return dict(sorted(firing[0].labels.items()))
    return {"alertname": alert, **dict(sorted(wanted.items()))}


def runbook_of(platform: Platform, alert: str, firing: Sequence[Alert]) -> str:
    """Address of its runbook."""
    return next(
        (url for one in firing if (url := one.annotations.get("runbook_url", ""))),
        platform.runbooks.replace("{alert}", alert),
    )


def _verdict(firing: Sequence[Alert], blind: str) -> str:
    if any(one.severity == "page" for one in firing):
        return "bad"
    return "unsure" if firing or blind else "good"


def _meaning(firing: Sequence[Alert], now: float, blind: str) -> str:
    if not firing and blind:
        return f"It is not known whether it should fire: {blind}."
    if not firing:
        return "It does not fire now, as far as Prometheus and Alertmanager say."
    began = min((one.since.timestamp() for one in firing if one.since), default=None)
    since = f", for {numbers.span(now - began)}" if began is not None else ""
    summaries = sorted({one.annotations.get("summary", "") for one in firing} - {""})
    count = "It fires" if len(firing) == 1 else f"{len(firing)} of this name fire"
    return f"{count}{since}. {' '.join(f'{text}.' for text in summaries[:3])}".strip()


def _is_about(silence: Silence, alert: str) -> bool:
    return any(matcher.startswith("alertname") and alert in matcher for matcher in silence.matchers)
