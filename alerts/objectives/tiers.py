"""Windows and thresholds of multi-window multi-burn-rate alerts, as numbers; `burn_rates` makes expressions of them.

Google, The Site Reliability Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts": each tier has a share of the
period's budget and a long window in which spending that share alerts; the short window, a twelfth, ends the alert soon
after the burning does. The burn rate that spends the share in the window is share * period / long window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from midwatch.spec.slo import Severity, Slo, Tier

STANDARD_PERIOD = 30 * 86400
STANDARD = {
    "page_quick": Tier(budget=Decimal("0.02"), over=3600.0),
    "page_slow": Tier(budget=Decimal("0.05"), over=21600.0),
    "ticket_quick": Tier(budget=Decimal("0.10"), over=86400.0),
    "ticket_slow": Tier(budget=Decimal("0.10"), over=259200.0),
}
"""The Workbook's table, for 30 days."""

LEAST_STANDARD_PERIOD = 28 * 86400
"""From four weeks on the standard windows stay and the burn rates change; below, windows shrink with the period."""

SHORT_PART = 12
LEAST_LONG_SECONDS = 720
"""A shorter long window would have a short one of under a minute: such a tier is left out."""


@dataclass(frozen=True, kw_only=True)
class BurnAlert:
    """One tier of an objective: windows in seconds, and the burn rate that both have to exceed."""

    name: str
    severity: Severity
    short: float
    long: float
    burn_rate: Decimal

    def error_ratio(self, budget: Decimal) -> Decimal:
        """Share of bad events at that burn rate."""
        return self.burn_rate * budget


def tiers_of(slo: Slo, *, least_short: float = 0.0, scrape: float = 0.0) -> Iterator[BurnAlert]:
    """Tiers that are on, quickest first; those with a short window below `least_short` seconds are left out.

    A short window holds two scrapes, `scrape` seconds apart, wherever they fall: of one sample there is no rate, and
    Prometheus 3 does not count the one at a window's beginning.
    """
    for name, standard in STANDARD.items():
        given = getattr(slo.burn_rate, name)
        if given is False:
            continue
        tier = given if isinstance(given, Tier) else _scaled(standard, slo.period_seconds)
        if tier is None or tier.over / SHORT_PART < least_short:
            continue
        yield BurnAlert(
            name=name,
            severity=Severity(name.partition("_")[0]),
            short=min(max(tier.over / SHORT_PART, 2 * scrape), tier.over),
            long=tier.over,
            burn_rate=reachable(tier.budget * Decimal(slo.period_seconds) / Decimal(tier.over), slo.budget),
        )


def _scaled(standard: Tier, period: float) -> Tier | None:
    """The standard tier, for a period below four weeks with windows in proportion, of whole minutes."""
    if period >= LEAST_STANDARD_PERIOD:
        return standard
    units = round(standard.over * period / STANDARD_PERIOD / LEAST_LONG_SECONDS)
    if not units:
        return None
    return Tier(budget=standard.budget, over=float(units * LEAST_LONG_SECONDS))


def reachable(burn_rate: Decimal, budget: Decimal) -> Decimal:
    """Burn rate that can happen: at most half way between spending the budget evenly and everything being bad.

    An objective of 75% cannot burn 14.4 times too fast, as all events bad is 4 times; without this nobody would be
    called when they are.

    >>> reachable(Decimal("14.4"), Decimal("0.001")), reachable(Decimal("14.4"), Decimal("0.25"))
    (Decimal('14.4'), Decimal('2.5'))
    """
    most = (1 + 1 / budget) / 2
    rounded = min(burn_rate, most).quantize(Decimal("0.000001"), ROUND_HALF_EVEN).normalize()
    return Decimal(format(rounded, "f"))
