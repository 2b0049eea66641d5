"""A report as a page that stands alone, and the same page as PDF."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from midwatch import html as frame
from midwatch.app.report import words
from midwatch.app.report.month import Month
from midwatch.app.report.records import FAIRNESS_VERDICT, Figures, SloReport
from midwatch.errors import MidwatchError
from midwatch.html import charts, numbers

TEMPLATE = Path(__file__).with_name("slo.html")
MOST_LINES = 4
"""Budgets that are drawn: those of which most was spent."""
COLOURS = {"now": "#2565c4", "before": "#66717d", "third": "#8a3ea8", "fourth": "#0b7a75", "bad": "#b3263c"}
"""Of lines where a page is printed, as the style sheet has them on paper."""
MOST_HARMS, MOST_OWNERS, MOST_ALERTS, MOST_MODELS, MOST_FAIRNESS, MOST_ADVICE, MOST_GAPS = 5, 6, 6, 5, 3, 5, 5


def month_of(report: SloReport) -> Month:
    """The month of a report, by the clock of its zone."""
    zone, now = ZoneInfo(report.zone), report.now
    start, end = (datetime.fromtimestamp(at, zone) for at in (now.start, now.end))
    return Month(name=now.month, start=start, end=end, zone=zone, is_over=now.is_over)


def html(report: SloReport) -> str:
    """Text of the page."""
    now, month = report.now, month_of(report)
    owners = sorted({one.owner for one in now.owners if one.owner})
    about = frame.About(
        title=f"Promises of {report.platform or report.prometheus}, {now.month}{'' if now.is_over else ' so far'}",
        verdict="bad" if now.broken else "unsure" if now.unknown or not now.promises else "good",
        meaning=words.meaning(now),
        todo=words.todo(now),
        platform=report.platform,
        owner=", ".join(owners[:6]) + (f" and {len(owners) - 6} more" if len(owners) > 6 else ""),
        dates=f"{month.start:%d %b %Y %H:%M} to {month.end:%d %b %Y %H:%M} {report.zone}",
    )
    return frame.render(
        TEMPLATE,
        about=about,
        before_name=report.before.month,
        zone=report.zone,
        chart=_budgets(now),
        colours=COLOURS,
        compared=_compared(report),
        promises=_promises(report),
        more=max(0, len(now.promises) - words.MOST_PROMISES),
        harms=[words.harm(one, month) for one in now.harms[:MOST_HARMS]],
        more_harms=max(0, len(now.harms) - MOST_HARMS),
        owners=_owners(now)[:MOST_OWNERS],
        more_owners=max(0, len(now.owners) - MOST_OWNERS),
        alerts=_alerts(now),
        precision=words.share(now.precision),
        recall=words.share(now.recall),
        recall_by_page=words.share(now.recall_by_page),
        models=_models(now),
        fairness=_fairness(now)[:MOST_FAIRNESS],
        runs=words.runs(now),
        overdue=_first(now.overdue, MOST_GAPS),
        restorable=words.restorable(now),
        cost="not measured" if now.cost is None else f"{now.cost:,.0f} for nodes, as OpenCost prices them",
        never=_never(report),
        advice=report.suggestions[:MOST_ADVICE],
        gaps=_first(list(words.covered(now, month.zone)), MOST_GAPS),
        made=numbers.moment(report.made_at),
    )


def pdf(report: SloReport) -> bytes:
    """The page as PDF; MidwatchError without WeasyPrint or the libraries that it draws with."""
    try:
        import weasyprint
    except ImportError as error:
        raise MidwatchError(
            "--pdf needs WeasyPrint: pip install 'midwatch[reports]'; --html makes a page that prints"
        ) from error
    except OSError as error:
        raise MidwatchError(
            f"--pdf: WeasyPrint lacks a library ({error}): apt-get install libpango-1.0-0 libpangoft2-1.0-0 "
            "libharfbuzz-subset0; --html makes a page that prints"
        ) from error
    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # of properties that paper does not need it warns
    made: bytes = weasyprint.HTML(string=html(report), url_fetcher=_refuse).write_pdf(pdf_variant="pdf/ua-1")
    return made


def _refuse(url: str) -> dict[str, Any]:
    """Nothing is fetched for a report."""
    raise ValueError(f"a report fetches nothing, and not {url}")


# Parts ------------------------------------------------------------------------------------------------------------


def _budgets(now: Figures) -> charts.Chart:
    """How budgets were spent over the month: the ones of which most was."""
    drawn = [one.key for one in words.chosen(now.promises) if one.key in now.spent_by_day][:MOST_LINES]
    return charts.Chart(
        title="Budget spent since the month began",
        x=now.days,
        lines=[charts.Line(name=key, values=now.spent_by_day[key]) for key in drawn],
        rules=[charts.Rule(name="all of it", at=1.0)],
        unit="ratio",
    )


def _compared(report: SloReport) -> list[list[str]]:
    """The month beside the one before."""
    now, before = report.now, report.before
    return [
        ["promises kept", f"{now.kept} of {len(now.promises)}", f"{before.kept} of {len(before.promises)}"],
        ["promises broken", str(now.broken), str(before.broken)],
        ["times that a budget was hurt", str(len(now.harms)), str(len(before.harms))],
        ["pages", _nightly(now), _nightly(before)],
        ["tickets", words.of_alerts(now, now.tickets), words.of_alerts(before, before.tickets)],
        ["pages and tickets with harm behind them", words.share(now.precision), words.share(before.precision)],
        ["drills and experiments", words.runs(now), words.runs(before)],
        ["counted", _covered(now), _covered(before)],
    ]


def _nightly(figures: Figures) -> str:
    at_night = sum(one.at_night for one in figures.owners)
    return f"{figures.pages}, {at_night} at night" if figures.knows_alerts else words.NOT_KNOWN


def _covered(figures: Figures) -> str:
    return words.NOT_KNOWN if figures.covered is None else f"{figures.covered:.1%} of the month"


def _promises(report: SloReport) -> list[list[str]]:
    return [
        [
            one.key,
            one.owner or "-",
            words.promised(one),
            words.attained(one),
            words.spent(one),
            words.before(report, one),
            words.verdict(one),
        ]
        for one in words.chosen(report.now.promises)
    ]


def _fairness(now: Figures) -> list[list[str]]:
    own = [one for one in now.promises if one.kind in ("fairness", FAIRNESS_VERDICT)]
    return [[one.key, words.attained(one), words.verdict(one)] for one in words.chosen(own)]


def _first(lines: Sequence[str], most: int) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - most
    return [*lines[:most], *([f"and {more} more"] if more > 0 else [])]


def _owners(now: Figures) -> list[list[str]]:
    return [
        [
            one.owner or "nobody",
            f"{one.kept} kept, {one.broken} broken" + (f", {one.unknown} not known" if one.unknown else ""),
            *(
                words.of_alerts(now, number)
                for number in (one.pages, one.at_night, one.most_in_a_shift, one.tickets, one.held)
            ),
            words.share(one.acted) if one.acted.of else words.NOT_KNOWN,
        ]
        for one in now.owners
    ]


def _alerts(now: Figures) -> list[list[str]]:
    return [
        [
            f"{one.alert} ({one.severity})",
            one.owner or "-",
            str(one.fired),
            str(one.held),
            str(one.flapped),
            str(one.repeated),
            words.share(one.precision) if one.precision.of else "-",
        ]
        for one in now.alerts[:MOST_ALERTS]
    ]


def _models(now: Figures) -> list[list[str]]:
    worst = sorted(now.models, key=lambda one: (-(one.drifting or 0.0), one.model))[:MOST_MODELS]
    return [
        [
            one.model,
            _accuracy(one.accuracy.value, one.accuracy.interval),
            words.NOT_KNOWN if one.episodes is None else str(one.episodes),
            words.NOT_KNOWN if one.drifting is None else f"{one.drifting:.0%} of the month",
        ]
        for one in worst
    ]


def _accuracy(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return "no labels"
    return f"{value:.2%} ({interval[0]:.2%} to {interval[1]:.2%})"


def _never(report: SloReport) -> str:
    """Alerts that did not fire for long; how far that is known."""
    if not report.never_fired:
        return ""
    names = ", ".join(report.never_fired[:6])
    more = f" and {len(report.never_fired) - 6} more" if len(report.never_fired) > 6 else ""
    return (
        f"{names}{more} did not fire in {numbers.span(report.looked_back)}; midwatch alerts prove shows that they can."
    )
