"""Alerts on fairness promises: when they fire, who is called, and which there are not."""

from __future__ import annotations

from typing import Any

import pytest

from alerts import alerting_rule
from alerts.rules import fairness
from midwatch.spec import fairness as spec
from midwatch.spec.model import Platform
from tests.conftest import platform_document

PROMISE = {"attribute": "country", "measure": "demographic_parity", "ratio": "80%", "public": True}
WHERE = 'model="fraud",version="v2",attribute="country",measure="demographic_parity",limit="ratio 80%"'


def make(*promises: dict[str, Any], **model: Any) -> Platform:
    document = platform_document()
    document["models"][0] |= {"groups": ["country"], "fairness": list(promises), **model}
    return Platform.model_validate(document)


def rules(platform: Platform) -> list[dict[str, Any]]:
    return [one.rule for one in fairness.of_platform(platform)]


def fired(promtool: Any, platform: Platform, series: dict[str, str], alert: str, fires: bool) -> str:
    """What promtool says against it; empty if nothing."""
    expr = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    expected = [{"expr": expr, "eval_time": "25m", "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}]
    said: str = promtool([{"name": "fair", "rules": rules(platform)}], series, expected, "15s")
    return said


def test_a_promise_is_a_ticket_unless_it_says_page_and_unknown_only_where_it_is_asked_for() -> None:
    asked = PROMISE | {"ratio": "70%", "severity": "page", "unknown_after": "14d"}
    found = [(rule["alert"], rule["labels"]["severity"], rule["for"]) for rule in rules(make(PROMISE, asked))]
    assert found == [
        ("FairnessBroken", "ticket", "0s"),
        ("FairnessBroken", "page", "0s"),
        ("FairnessUnknown", "ticket", "14d"),
    ]


def test_an_alert_is_tuned_and_turned_off_as_the_other_shipped_ones_are() -> None:
    off = {"FairnessBroken": {"off_because": "the owner looks at it each week"}}
    assert rules(make(PROMISE, alerts=off)) == []
    assert rules(make(PROMISE, alerts={"FairnessBroken": {"for": "1h"}}))[0]["for"] == "1h"


def test_what_changed_is_found_by_the_version() -> None:
    platform = make(PROMISE).model_copy(update={"incidents": make().incidents.model_copy(update={"watch": True})})
    (rule,) = rules(platform)
    assert "version=%q" in rule["annotations"]["what_changed"]
    assert alerting_rule.DEADMAN not in rule["annotations"]["what_changed"]


@pytest.mark.parametrize(
    ("series", "fires"),
    [
        ({f'ml_fairness_verdict{{{WHERE},rate="selected"}}': "-1x120"}, True),
        ({f'ml_fairness_became_unfair{{{WHERE},rate="selected"}}': "1x120"}, True),
        (
            {
                f'ml_fairness_verdict{{{WHERE},rate="true positives"}}': "1x120",
                f'ml_fairness_verdict{{{WHERE},rate="false positives"}}': "-1x120",
            },
            True,
        ),
        ({f'ml_fairness_verdict{{{WHERE},rate="selected"}}': "0x120"}, False),
        ({f'ml_fairness_verdict{{{WHERE},rate="selected"}}'.replace("80%", "70%"): "-1x120"}, False),
    ],
    ids=["since it counts", "lately", "one rate of two", "not known", "another promise"],
)
def test_either_statistic_of_any_rate_fires_and_nothing_else(
    promtool: Any, series: dict[str, str], fires: bool
) -> None:
    assert fired(promtool, make(PROMISE), series, "FairnessBroken", fires) == ""


@pytest.mark.parametrize(
    ("series", "fires"),
    [
        ({f'ml_fairness_verdict{{{WHERE},rate="selected"}}': "0x200"}, True),
        ({"other": "1x200"}, True),
        ({f'ml_fairness_verdict{{{WHERE},rate="selected"}}': "1x200"}, False),
        ({f'ml_fairness_verdict{{{WHERE},rate="selected"}}': "-1x200"}, False),
    ],
    ids=["undecided", "nobody judges", "kept", "broken is told otherwise"],
)
def test_what_is_not_known_for_too_long_is_told_and_absence_is_not_calm(
    promtool: Any, series: dict[str, str], fires: bool
) -> None:
    platform = make(PROMISE | {"unknown_after": "20m"})
    assert fired(promtool, platform, series, "FairnessUnknown", fires) == ""


def test_a_promise_that_no_label_tells_from_another_is_refused() -> None:
    (model,) = make(PROMISE, PROMISE | {"over": "7d"}).models
    (finding,) = spec.findings(model, [], [])
    assert finding[0] == ("fairness", 1)
    assert "a second time" in finding[1]
    assert not list(spec.findings(make(PROMISE, PROMISE | {"ratio": "70%"}).models[0], [], []))
