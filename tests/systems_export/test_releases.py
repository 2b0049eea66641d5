"""Champion, deployed and serving: whether they agree, what disagrees, and that what is unseen is no agreement."""

from __future__ import annotations

from typing import Any

import pytest

from alerts import inventory
from alerts.proofs import case
from midwatch.app.systems import releases
from midwatch.app.systems.releases import Deployed, Seen, State
from midwatch.prometheus import Client
from midwatch.spec.observed.mlflow import MlflowObserved
from tests.conftest import midwatch_here, need_program
from tests.systems_export.conftest import observing

OLD = Deployed(application="fraud-server", version="6", sync="Synced")
NEW = Deployed(application="fraud-server", version="7", sync="Synced")


def seen(**changes: Any) -> Seen:
    good: dict[str, Any] = {
        "model": "fraud",
        "champions": {"7": "v7"},
        "traffic": {"v7": 1.0},
        "deployed": [NEW],
        "is_deployed_asked": True,
    }
    return Seen(**{**good, **changes})


@pytest.mark.parametrize(
    ("changes", "state", "reasons"),
    [
        ({}, State.AGREES, ()),
        ({"traffic": {"v7": 0.995, "v6": 0.005}}, State.AGREES, ()),
        ({"traffic": {"v7": 0.6, "v6": 0.4}}, State.DISAGREES, ("40% of traffic is not of the champion",)),
        ({"deployed": [OLD]}, State.DISAGREES, ("fraud-server has 6",)),
        ({"champions": {}}, State.DISAGREES, ("the registry has no champions",)),
        ({"champions": {"6": "v6", "7": "v7"}}, State.DISAGREES, ("the registry has 2 champions",)),
        ({"champions": None}, State.UNDECIDED, ("the registry is not seen",)),
        ({"traffic": {}}, State.UNDECIDED, ("no traffic is seen",)),
        ({"traffic": {"": 1.0}}, State.UNDECIDED, ("100% of traffic says no version",)),
        ({"deployed": []}, State.UNDECIDED, ("what is deployed is not seen",)),
        ({"deployed": [], "is_deployed_asked": False}, State.AGREES, ()),
        ({"traffic": {}, "deployed": [OLD]}, State.DISAGREES, ("fraud-server has 6", "no traffic is seen")),
    ],
)
def test_parts_are_compared_and_what_is_unseen_is_undecided(
    changes: dict[str, Any], state: State, reasons: tuple[str, ...]
) -> None:
    release = releases.judge(seen(**changes), 0.01)
    assert (release.state, release.reasons) == (state, reasons)


def test_one_line_says_all_three() -> None:
    release = releases.judge(seen(traffic={"v7": 0.6, "v6": 0.4}, deployed=[OLD]), 0.01)
    assert release.text == (
        "fraud: champion is 7, 60% of traffic is v7, 40% of traffic is v6, Argo CD has 6 in fraud-server (Synced): "
        "disagrees (40% of traffic is not of the champion; fraud-server has 6)"
    )


def test_a_prometheus_that_has_nothing_leaves_all_undecided(prometheus_server: str, platform_with: Any) -> None:
    platform = platform_with(mlflow=observing("mlflow"), argo_cd=observing("argo_cd"))
    (found,) = releases.ask(Client(prometheus_server), platform, MlflowObserved(url="http://mlflow"))
    assert found == Seen(model="fraud", champions=None, traffic={}, deployed=[], is_deployed_asked=True)


def test_the_command_is_inconclusive_where_parts_are_unseen(prometheus_server: str, write_platform: Any) -> None:
    file = write_platform(mlflow=observing("mlflow"))
    done = midwatch_here("systems", "versions", "-f", file, "--prometheus", prometheus_server)
    assert done.returncode == 3
    assert done.stdout == (
        "fraud: champion is not known, no traffic, Argo CD is not asked: undecided "
        "(the registry is not seen; no traffic is seen)\n"
    )


def test_without_the_registrys_section_the_command_says_what_to_write(write_platform: Any) -> None:
    done = midwatch_here("systems", "versions", "-f", write_platform())
    assert done.returncode == 2
    assert "systems.mlflow has no observe" in done.stderr


# The alert ---------------------------------------------------------------------------------------------------------

CHAMPION = {
    'registry_champions{model="fraud"}': "1x90",
    'registry_champion_info{model="fraud", version="7", served_version="v7"}': "1x90",
}
ARGO = 'argo_cd_application_model_version_info{application="fraud-server", namespace="argocd", model="fraud"'
NEW_TRAFFIC, OLD_TRAFFIC = (
    f'ml_requests_total{{model="fraud", version="{version}", outcome="ok"}}' for version in ("v7", "v6")
)


@pytest.mark.parametrize(
    ("series", "fires"),
    [
        ({**CHAMPION, NEW_TRAFFIC: "0+60x90", OLD_TRAFFIC: "0+40x90"}, True),
        ({**CHAMPION, OLD_TRAFFIC: "0+40x90"}, True),
        ({**CHAMPION, f'{ARGO}, version="6"}}': "1x90"}, True),
        ({**CHAMPION, OLD_TRAFFIC: "0+40x35", NEW_TRAFFIC: "_x34 0+60x60"}, False),
        ({**CHAMPION, NEW_TRAFFIC: "0+60x90", f'{ARGO}, version="7"}}': "1x90"}, False),
        ({**CHAMPION, NEW_TRAFFIC: "0+995x90", OLD_TRAFFIC: "0+5x90"}, False),
        ({OLD_TRAFFIC: "0+40x90"}, False),
        (CHAMPION, False),
    ],
    ids=[
        "40% of another version",
        "all of another version",
        "Argo CD has another version",
        "a rollout that ends",
        "all agree",
        "a share that is tolerated",
        "no champion is known",
        "nothing else is known",
    ],
)
def test_the_alert_fires_on_what_disagrees_for_longer_than_a_rollout(
    series: dict[str, str], fires: bool, platform_with: Any
) -> None:
    need_program("promtool")
    entries = inventory.entries(platform_with(mlflow=observing("mlflow")))
    (rule,) = [entry.rule for entry in entries if entry.name == "ChampionDisagrees"]
    one = case.Case(
        series=series,
        interval=60.0,
        evaluation=60.0,
        alert="ChampionDisagrees",
        severity="ticket",
        fires_at=[5040.0] if fires else [],
        silent_at=[3000.0] if fires else [3000.0, 5040.0],
    )
    failed, said = case.failures({"name": "g", "rules": [rule]}, [one])
    assert not failed, said
