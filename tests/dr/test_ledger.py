"""Ledgers: durable line by line, damaged or cut off, written by an older version."""

from __future__ import annotations

from pathlib import Path

import pytest

from dr.drill import facts, ledger
from dr.drill.facts import Outcome


def write(number: int) -> facts.Write:
    return facts.Write(sent=1, answered=2, outcome=Outcome.OK, number=number)


def numbers(found: list[facts.Observed]) -> list[int]:
    return [fact.number for fact in found if isinstance(fact, facts.Write)]


def test_a_ledger_is_read_up_to_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    writing = ledger.Ledger(path)
    for number in range(100):
        writing.add(write(number))
    writing.close()
    whole = path.read_bytes()
    assert numbers(ledger.read_observed(path)) == list(range(100))
    path.write_bytes(whole[:-7])
    assert len(ledger.read_observed(path)) == 99
    path.write_bytes(whole.replace(b'"n":50', b'"n":51', 1))
    with pytest.raises(ledger.LedgerError, match=r"ledger:51: the line is damaged"):
        ledger.read_observed(path)
    with pytest.raises(ledger.LedgerError, match="a ledger of its own"):
        ledger.Ledger(path)


def test_a_ledger_that_is_being_written_is_read_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    tail = ledger.Tail(path, ledger.OBSERVED)
    assert tail.read() == []
    path.write_bytes(ledger.line(write(1)) + ledger.line(write(2))[:9])
    assert numbers(tail.read()) == [1]
    with path.open("ab") as file:
        file.write(ledger.line(write(2))[9:])
    assert numbers(tail.read()) == [1, 2]


OLD = b"""\
6ffb1aac {"boot":"b","k":"start","rate":200.0,"run":"r","t":10,"wall":1.5}
b5e3213f {"k":"w","n":1,"r":"ok","s":"5001","t0":11,"t1":12}
fc90fe4e {"k":"w","n":2,"r":"unknown","t0":13,"t1":14,"why":"no answer"}
e39c79b8 {"age":0.5,"c":"x","k":"r","n":1,"r":"ok","t0":15,"t1":16,"wanted":1}
11cb164d {"k":"m","r":"ok","t0":17,"t1":18,"v":"v1"}
cc364ce2 {"k":"end","t":20,"wall":2.5}
"""
"""As the first version wrote it."""


def test_the_ledger_of_an_older_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "observer").write_bytes(OLD)
    assert ledger.read_observed(tmp_path / "observer") == [
        facts.Started(at=10, wall=1.5, boot="b", run="r", rate=200.0),
        facts.Write(sent=11, answered=12, outcome=Outcome.OK, number=1, server="5001"),
        facts.Write(sent=13, answered=14, outcome=Outcome.UNKNOWN, number=2, why="no answer"),
        facts.Read(sent=15, answered=16, outcome=Outcome.OK, newest=1, wanted=1, age=0.5, content="x"),
        facts.Prediction(sent=17, answered=18, outcome=Outcome.OK, version="v1"),
        facts.Ended(at=20, wall=2.5),
    ]
    (tmp_path / "recoverer").write_bytes(b'f16e0829 {"from_":"standby","k":"recovered","t":9,"wall":1.0}\n')
    assert ledger.read_recorded(tmp_path / "recoverer") == [facts.Recovered(at=9, wall=1.0, source="standby")]


def test_a_fact_that_this_version_does_not_know_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "recoverer").write_bytes(b'f16e0829 {"from_":"standby","k":"recovered","t":9,"wall":1.0}\n')
    with pytest.raises(ledger.LedgerError, match=r"recoverer:1: not a fact that this version knows"):
        ledger.read_observed(tmp_path / "recoverer")
