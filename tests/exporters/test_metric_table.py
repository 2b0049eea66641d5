"""The guide's table of metrics is the catalogue's."""

from __future__ import annotations

from midwatch import metrics
from scripts import metric_table


def test_the_guides_table_is_what_the_catalogue_says() -> None:
    guide = metric_table.GUIDE.read_text()
    assert guide == metric_table.refreshed(guide), "python -m scripts.metric_table writes it"
    for metric in metrics.CATALOGUE.values():
        assert f"`{metric.name}`" in guide or metric in metrics.SLO_BURN_RATES.values(), metric.name
