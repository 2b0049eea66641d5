"""Budgets against the truth: what nobody scraped, bursts at the edges of tiles, processes that end or begin again.

Beside each figure stands what five-minute increases make of it, summed over the same period: the budgets of before, and
of others that sum increases. Rules are those that are rendered; promtool evaluates them. Scrapes are half a minute from
evaluations, as those of a real Prometheus are somewhere between them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from alerts.objectives import objective as objectives
from alerts.objectives.groups import rule_group
from benchmarks import promtool
from benchmarks.figure import Figure
from midwatch.spec.model import Platform

Samples = Sequence[float | None]

OBJECTIVE = 0.9996
STEP = 60
"""Seconds between samples."""
DAY = 86400 // STEP


def _name(outcome: str, instance: str = "i", version: str = "v1") -> str:
    return f'ml_requests_total{{model="m",version="{version}",outcome="{outcome}",job="j",instance="{instance}"}}'


def run(*, smoke: bool) -> list[Figure]:
    """Points of the budget, and shares of what was counted, by which each case is off."""
    days = 2 if smoke else 30
    return [
        _budget("6 h unseen, at 3% errors", days, _unseen(days, 6, 0.03)),
        *([] if smoke else [_budget("2 days unseen, an outage within", days, _unseen(days, 48, 0.0043))]),
        _errors(f"{40 if smoke else 200} bursts", _bursts(40 if smoke else 200)),
        _errors("a crash each 2.5 min, for a day", _crashes()),
        _errors("a new process each 37 min, for two days", _processes()),
        _errors("a first error of each of 100 versions", _births()),
    ]


# Cases ---------------------------------------------------------------------------------------------------------------


def _unseen(days: int, hours: int, share: float) -> dict[str, Samples]:
    """A hundred requests a minute, half of the budget spent evenly, and hours without a scrape in the middle."""
    begin, end = days * DAY // 2, days * DAY // 2 + hours * 60
    ok: list[float | None] = []
    bad: list[float | None] = []
    good = failed = 0.0
    for minute in range(days * DAY + 1):
        errors = 100 * (share if begin <= minute < end else (1 - OBJECTIVE) / 2)
        good, failed = good + 100 - errors, failed + errors
        seen = not begin <= minute < end
        ok.append(good if seen else None)
        bad.append(failed if seen else None)
    return {_name("ok"): ok, _name("error"): bad}


def _bursts(count: int) -> dict[str, Samples]:
    """Bursts of errors, one in each half hour or so, beside steady traffic."""
    moments = random.Random(1).sample(range(20, 30 * count), count)
    minutes = range(30 * count + 10)
    failed = [40.0 * sum(moment <= minute for moment in moments) for minute in minutes]
    return {_name("ok"): [100.0 * minute for minute in minutes], _name("error"): failed}


def _crashes() -> dict[str, Samples]:
    """A process that begins again between scrapes, now after two and now after three."""
    ok: list[float | None] = []
    bad: list[float | None] = []
    good = failed = 0.0
    for minute in range(DAY + 1):
        if minute % 5 in (0, 2):
            good = failed = 0.0
        good, failed = good + 100, failed + 2
        ok.append(good)
        bad.append(failed)
    return {_name("ok"): ok, _name("error"): bad}


def _processes() -> dict[str, Samples]:
    """Processes, one after the other, that say when they began."""
    series: dict[str, Samples] = {}
    last = 2 * DAY + 1
    for begin in range(0, last, 37):
        lived = range(begin, min(begin + 37, last))

        def values(speed: float, lived: range = lived) -> Samples:
            return [speed * (minute - lived[0] + 1) if minute in lived else None for minute in range(last)]

        series[_name("ok", f"i{begin}")] = values(100)
        series[_name("error", f"i{begin}")] = values(2)
        started = f'process_start_time_seconds{{job="j",instance="i{begin}"}}'
        series[started] = [begin * STEP + 10.0 if minute in lived else None for minute in range(last)]
    return series


def _births() -> dict[str, Samples]:
    """Counters that are born with their first error, on a target that has others."""
    minutes = range(100 * 13 + 20)
    born = {
        _name("error", version=f"v{number}"): [None if minute < 10 + 13 * number else 1.0 for minute in minutes]
        for number in range(100)
    }
    return {_name("ok"): [100.0 * minute for minute in minutes], **born}


# Measures ------------------------------------------------------------------------------------------------------------


def _budget(name: str, days: int, series: dict[str, Samples]) -> Figure:
    """By how many points of the budget the rules are off."""
    total, bad = (sum(map(_grown, _of(series, *outcomes))) for outcomes in (("ok", "error"), ("error",)))
    truth = 100 * (1 - bad / total / (1 - OBJECTIVE))
    # promtool lets a query have 10,000 samples, so the sums of a month are asked in pieces.
    pieces = range(-(-days // 5))
    tiles = [
        f"sum_over_time(slo:{one}:increase5m[5d:5m] offset {5 * 1440 * piece + 1}m)"
        for one in ("bad_events", "events")
        for piece in pieces
    ]
    found, *sums = _asked(series, days * DAY, "slo:error_budget_remaining:ratio", *tiles)
    before = 1 - sum(sums[: len(pieces)]) / sum(sums[len(pieces) :]) / (1 - OBJECTIVE)
    return Figure(
        name=name,
        target=1,
        measured=abs(100 * found - truth),
        unit="points",
        better="less",
        peer=f"{abs(100 * before - truth):,.3g} by increases; {truth:,.1f}% are left",
    )


def _errors(name: str, series: dict[str, Samples]) -> Figure:
    """Share of the errors that the rules do not count."""
    whole = sum(map(_grown, _of(series, "error")))
    at = max(map(len, series.values())) - 1
    summed = "sum_over_time(slo:bad_events:increase5m[30d:5m])"
    found, before = _asked(series, at, "slo:bad_events:period", summed)
    return Figure(
        name=f"{name}: errors not counted",
        target=0.5,
        measured=100 * abs(1 - found / whole),
        unit="%",
        better="less",
        peer=f"{100 * (1 - before / whole):,.3g} by increases",
    )


def _of(series: dict[str, Samples], *outcomes: str) -> list[Samples]:
    return [samples for name, samples in series.items() if any(f'outcome="{one}"' in name for one in outcomes)]


def _grown(samples: Samples) -> float:
    """What a counter counted, by all its samples: since the first of the first minute, and from 0 where it falls."""
    seen = [value for value in samples if value is not None]
    born = seen[0] if samples[0] is None else 0.0
    return born + sum(after - before if after >= before else after for before, after in itertools.pairwise(seen))


def _asked(series: dict[str, Samples], minutes: int, *exprs: str) -> list[float]:
    platform = Platform.model_validate(
        {
            "apiVersion": "midwatch/v1",
            "platform": "bench",
            "prometheus": {"scrape_interval": "1m", "evaluation_interval": "1m"},
            "owners": {"ml": {"page": ["hook"], "ticket": ["hook"]}},
            "channels": {"hook": {"webhook": {"url": "http://127.0.0.1:1/x"}}},
            "models": [
                {
                    "name": "m",
                    "owner": "ml",
                    "task": "regression",
                    "slos": [{"name": "a", "sli": "availability", "objective": f"{100 * OBJECTIVE:.4g}%"}],
                }
            ],
        }
    )
    group = promtool.counting(rule_group(objectives.of_platform(platform)[0]))
    values = {name: _values(samples) for name, samples in series.items()}
    end = 5.0 * (minutes // 5 + 1)
    asked = [(expr, end) for expr in exprs]
    return [found for _, found in promtool.values([group], values, asked, "5m", "30s")]


def _values(samples: Samples) -> str:
    """promtool's values; a series that ends is marked, as Prometheus does."""
    ended = [None, *samples[:-1]]
    return " ".join(
        "_ stale" if value is None and before is not None else "_ _" if value is None else f"_ {value:.12g}"
        for value, before in zip(samples, ended, strict=True)
    )
