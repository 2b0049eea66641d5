"""The guide's tables: metrics are the catalogue's, and every reason is explained."""

from __future__ import annotations

from exporters.events.reasons import Reason, Unread
from midwatch import metrics
from scripts import metric_table


def test_the_guides_table_is_what_the_catalogue_says() -> None:
    guide = metric_table.GUIDE.read_text()
    assert guide == metric_table.refreshed(guide), "python -m scripts.metric_table writes it"
    for metric in metrics.CATALOGUE.values():
        assert f"`{metric.name}`" in guide or metric in metrics.SLO_BURN_RATES.values(), metric.name


def test_the_guide_explains_every_reason() -> None:
    _, _, section = metric_table.GUIDE.read_text().partition("## Why an event was not counted")
    section, _, _ = section.partition("\n## ")
    assert {reason for reason in Reason if f"`{reason}`" not in section} == set()


def test_the_guide_explains_why_a_payload_was_not_read() -> None:
    _, _, section = metric_table.GUIDE.read_text().partition("## Inference logs of model servers")
    section, _, _ = section.partition("\n## ")
    assert {reason for reason in Unread if f"| `{reason}` |" not in section} == set()
