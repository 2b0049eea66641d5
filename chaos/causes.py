"""Which pages a run's faults can be the cause of: any other page has another, and says nothing of the experiment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

Labels = Mapping[str, str]


class Causes(msgspec.Struct, frozen=True, kw_only=True):
    """What can be an effect: alerts of these names, every one where that is None, and every alert on these models."""

    alerts: list[str] | None = None
    models: list[str] = []

    def others(self, pages: Iterable[Labels], before: Iterable[Labels] | None) -> list[str]:
        """Those of some pages that have another cause, by name and model.

        `before` are the alerts that were pending or firing before the first fault; None while there was none, and then
        no page is an effect.
        """
        known = None if before is None else list(before)
        return sorted({_title(page) for page in pages if known is None or not self._includes(page, known)})

    def _includes(self, page: Labels, before: Iterable[Labels]) -> bool:
        if any(_is_same(page, one) for one in before):
            return False
        return self.alerts is None or page.get("alertname") in self.alerts or page.get("model") in self.models


def _is_same(page: Labels, before: Labels) -> bool:
    """Whether both are one alert: a label that only one of them is told with says nothing."""
    return all(page[name] == before[name] for name in set(page) & set(before))


def _title(page: Labels) -> str:
    name = page.get("alertname", "an alert without a name")
    return f"{name} of {page['model']}" if page.get("model") else name
