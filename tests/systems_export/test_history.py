"""Who was champion when: as it was seen, between which looks it changed, and what nobody saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters.systems import registry_history
from exporters.systems.registry_history import Keeper, who_was
from midwatch import evidence

ROLE = "alias champion"


def looks(folder: Path, *seen: tuple[float, str]) -> registry_history.History:
    """A history of looks at times, each by a process of its own."""
    for at, version in seen:
        Keeper(folder, patience=180.0).look({"fraud": {ROLE: (version,) if version else ()}}, at)
    return registry_history.load(folder)


@pytest.mark.parametrize(
    ("at", "is_known", "versions", "reason"),
    [
        (900.0, False, (), "nobody had looked yet"),
        (1000.0, True, ("6",), ""),
        (1060.0, True, ("6",), ""),
        (1090.0, False, ("6", "7"), "it changed at a time that nobody saw"),
        (1120.0, True, ("7",), ""),
        (2000.0, False, ("7",), "it was the same before and after a time in which nobody looked"),
        (5060.0, True, ("7",), ""),
        (5061.0, False, ("7",), "nobody has looked since"),
    ],
)
def test_a_time_is_answered_as_far_as_somebody_looked(
    tmp_path: Path, at: float, is_known: bool, versions: tuple[str, ...], reason: str
) -> None:
    history = looks(tmp_path, (1000.0, "6"), (1060.0, "6"), (1120.0, "7"), (5000.0, "7"), (5060.0, "7"))
    answer = who_was(history, "fraud", ROLE, at)
    assert (answer.is_known, answer.versions, answer.reason) == (is_known, versions, reason)


def test_a_change_while_nobody_looked_is_somewhere_in_the_gap(tmp_path: Path) -> None:
    answer = who_was(looks(tmp_path, (1000.0, "6"), (9000.0, "7")), "fraud", ROLE, 5000.0)
    assert (answer.is_known, answer.versions) == (False, ("6", "7"))
    assert answer.facts == {"last_seen_before": 1000.0, "first_seen_after": 9000.0}


def test_a_role_that_nobody_had_is_known_to_be_empty(tmp_path: Path) -> None:
    history = looks(tmp_path, (1000.0, ""), (1060.0, "1"))
    assert who_was(history, "fraud", ROLE, 1000.0).is_known
    assert who_was(history, "fraud", ROLE, 1000.0).versions == ()


def test_a_role_that_came_later_was_nobodys_before(tmp_path: Path) -> None:
    Keeper(tmp_path, 180.0).look({"fraud": {ROLE: ("1",)}}, 1000.0)
    Keeper(tmp_path, 180.0).look({"fraud": {ROLE: ("1",), "alias shadow": ("2",)}}, 1060.0)
    history = registry_history.load(tmp_path)
    assert who_was(history, "fraud", "alias shadow", 1000.0).is_known
    assert not who_was(history, "fraud", "alias shadow", 1030.0).is_known
    assert not who_was(history, "fraud", "alias shadow", 900.0).is_known


def test_a_model_that_was_not_looked_at_for_a_while_has_its_own_gap(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, 180.0)
    keeper.look({"fraud": {ROLE: ("1",)}, "churn": {ROLE: ("1",)}}, 1000.0)
    keeper.look({"churn": {ROLE: ("1",)}}, 1100.0)
    keeper.look({"churn": {ROLE: ("1",)}}, 1200.0)
    keeper.look({"fraud": {ROLE: ("1",)}, "churn": {ROLE: ("1",)}}, 1300.0)
    assert [one.since for one in keeper.history.unwatched("fraud")] == [1000.0]
    assert keeper.history.unwatched("churn") == []


def test_the_log_is_evidence_and_goes_on_after_a_torn_record(tmp_path: Path) -> None:
    looks(tmp_path, (1000.0, "6"))
    with (tmp_path / registry_history.LOG).open("ab") as log:
        log.write(b'{"at":')
    history = looks(tmp_path, (1060.0, "7"))
    assert history.roles("fraud") == {ROLE: ("7",)}
    assert evidence.verify(tmp_path / registry_history.LOG).problems == ()


def test_a_crash_before_the_last_look_is_kept_loses_nothing(tmp_path: Path) -> None:
    looks(tmp_path, (1000.0, "6"), (1060.0, "7"))
    (tmp_path / registry_history.LAST_LOOKS).unlink()
    assert registry_history.load(tmp_path).last_looks == {"fraud": 1060.0}
