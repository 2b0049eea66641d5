"""The evidence log: what a crash may take, and what a change cannot hide."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from midwatch import evidence

WRITER = """
import sys; from pathlib import Path; from midwatch import evidence
log = evidence.Log(Path(sys.argv[1]))
for number in range(100000):
    log.append("step", number=number); print(number, flush=True)
"""


def written(path: Path, count: int = 5, key: bytes = b"") -> evidence.Log:
    log = evidence.Log(path, key=key)
    for number in range(count):
        log.append("step", number=number, text="ä\n")
    return log


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    log = written(tmp_path / "e.jsonl")
    record = log.append("end", path=tmp_path)
    assert [one.kind for one in evidence.read(log.path)] == ["step"] * 5 + ["end"]
    assert evidence.read(log.path)[-1] == record
    verified = evidence.verify(log.path)
    assert (verified.records, verified.problems) == (6, ())
    assert verified.head == evidence.Head(seq=5, hash=record.hash)


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    log = written(tmp_path / "e.jsonl", 2)
    content = log.path.read_bytes()
    changed = tmp_path / "changed.jsonl"
    for place in range(len(content)):
        for value in (content[place] ^ 1, ord("\n"), ord("0")):
            if value == content[place]:
                continue
            changed.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
            assert evidence.verify(changed).problems, (place, value)


@pytest.mark.parametrize("change", ["remove", "insert", "swap", "repeat"])
def test_a_line_removed_inserted_swapped_or_repeated_is_found(tmp_path: Path, change: str) -> None:
    log = written(tmp_path / "e.jsonl")
    lines = log.path.read_bytes().splitlines(keepends=True)
    changed = {
        "remove": [*lines[:2], *lines[3:]],
        "insert": [*lines[:2], b"{}\n", *lines[2:]],
        "swap": [lines[0], lines[2], lines[1], *lines[3:]],
        "repeat": [*lines[:3], *lines[2:]],
    }[change]
    log.path.write_bytes(b"".join(changed))
    assert evidence.verify(log.path).problems


def test_an_end_that_was_cut_off_is_found_with_a_head_kept_elsewhere(tmp_path: Path) -> None:
    log = written(tmp_path / "e.jsonl")
    head = evidence.verify(log.path).head
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:3]))
    assert evidence.verify(log.path).problems == ()
    (problem,) = evidence.verify(log.path, heads=[head]).problems
    assert "cut off" in str(problem)


def test_with_a_key_nobody_else_can_forge_a_chain(tmp_path: Path) -> None:
    log = written(tmp_path / "e.jsonl", key=b"secret")
    assert evidence.verify(log.path, key=b"secret").problems == ()
    written(tmp_path / "forged.jsonl")
    assert evidence.verify(tmp_path / "forged.jsonl", key=b"secret").problems


def test_a_torn_line_is_told_by_the_next_record_and_cannot_be_changed_either(tmp_path: Path) -> None:
    log = written(tmp_path / "e.jsonl")
    content = log.path.read_bytes()
    log.path.write_bytes(content[:-30])
    assert evidence.verify(log.path).problems, "not before somebody has told"
    log.append("after")
    assert evidence.verify(log.path).problems == ()
    assert [one.seq for one in evidence.read(log.path)] == [0, 1, 2, 3, 4]
    changed = log.path.read_bytes().replace(b'{"at"', b'{"aT"')
    place = len(b"".join(content.splitlines(keepends=True)[:4])) + 3
    changed = log.path.read_bytes()
    log.path.write_bytes(changed[:place] + b"#" + changed[place + 1 :])
    assert evidence.verify(log.path).problems


def test_a_damaged_end_is_not_written_on(tmp_path: Path) -> None:
    log = written(tmp_path / "e.jsonl")
    log.path.write_bytes(log.path.read_bytes()[:-1] + b"#\n")
    with pytest.raises(evidence.EvidenceError, match="damaged"):
        log.append("more")


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"data":' + b"[" * 100_000])
def test_a_line_that_is_nested_too_deep_is_a_finding(tmp_path: Path, line: bytes) -> None:
    log = evidence.Log(tmp_path / "log")
    log.append("a")
    log.path.write_bytes(log.path.read_bytes() + line + b"\n")
    (problem,) = evidence.verify(log.path).problems
    assert (problem.line, problem.message) == (2, "not a record")
    assert len(evidence.read(log.path)) == 1


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path, source = tmp_path / "e.jsonl", random.Random(3)
    acknowledged = 0
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(source.uniform(0.0, 0.05))
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += 1 + len(writer.stdout.read().splitlines())
        writer.wait()
        writer.stdout.close()
    evidence.Log(path).append("end")
    verified = evidence.verify(path)
    assert verified.problems == ()
    assert acknowledged <= verified.records - 1 <= acknowledged + 5


def test_several_processes_write_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    code = WRITER.replace("100000", "40")
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    verified = evidence.verify(path)
    assert (verified.records, verified.problems) == (120, ())


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(evidence.EvidenceError, match="file"):
        evidence.Log(tmp_path / "file" / "e.jsonl").append("step")


# Lines of an earlier format ----------------------------------------------------------------------------------------


def old_verdicts(path: Path, count: int = 3) -> list[bytes]:
    """What a gate wrote before this format."""
    previous, lines = evidence.GENESIS, []
    for number in range(count):
        lines.append(json.dumps({"number": number, "previous": previous}, sort_keys=True).encode() + b"\n")
        previous = hashlib.sha256(lines[-1].rstrip()).hexdigest()
    path.write_bytes(b"".join(lines))
    return lines


OLD_STEPS = b'{"episode":"e1","event":"began","time":"2026-01-01"}\n{"episode":"e1","event":"sent"}\n'


def test_an_old_gates_verdicts_are_verified_by_their_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = old_verdicts(path)
    verified = evidence.verify(path)
    assert (verified.records, verified.earlier, verified.head, verified.problems) == (3, 3, None, ())
    path.write_bytes(lines[0] + lines[2])
    (problem,) = evidence.verify(path).problems
    assert problem.line == 2


def test_old_steps_without_a_chain_are_named(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(OLD_STEPS)
    verified = evidence.verify(path)
    assert verified.records == 2
    assert "without a chain" in str(verified.problems[0])


@pytest.mark.parametrize("torn", [b"", b'{"epis'], ids=["whole", "torn"])
@pytest.mark.parametrize("old", ["verdicts", "steps"])
def test_a_record_after_lines_of_an_earlier_format_seals_them(tmp_path: Path, old: str, torn: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    _ = old_verdicts(path) if old == "verdicts" else path.write_bytes(OLD_STEPS)
    path.write_bytes(path.read_bytes() + torn)
    before = len(path.read_bytes())
    written(path, 2, key=b"secret")
    verified = evidence.verify(path, b"secret")
    assert verified.problems == ()
    assert (verified.records - verified.earlier, verified.head) == (2, evidence.head(path))
    content = path.read_bytes()
    for place in range(before):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        (tmp_path / "changed.jsonl").write_bytes(changed)
        assert evidence.verify(tmp_path / "changed.jsonl", b"secret").problems, place


def test_a_damaged_only_record_is_not_taken_for_an_earlier_format(tmp_path: Path) -> None:
    log = written(tmp_path / "e.jsonl", 1)
    log.path.write_bytes(log.path.read_bytes().replace(b'"hash"', b'"hasi"'))
    with pytest.raises(evidence.EvidenceError, match="damaged"):
        log.append("next")
    with pytest.raises(evidence.EvidenceError, match="damaged"):
        log.ensure_appendable()


# Typed records -----------------------------------------------------------------------------------------------------


class Started(msgspec.Struct, tag="started", frozen=True):
    at: datetime
    names: tuple[str, ...]


def test_a_tagged_struct_is_a_record_of_its_kind(tmp_path: Path) -> None:
    log = evidence.Log(tmp_path / "e.jsonl")
    event = Started(datetime(2026, 1, 2, tzinfo=UTC), ("a", "b"))
    record = log.append_event(event)
    assert (record.kind, record.data) == ("started", {"at": "2026-01-02T00:00:00Z", "names": ["a", "b"]})
    assert msgspec.convert(record.data | {"type": record.kind}, Started) == event
    assert evidence.verify(log.path).problems == ()


# Keys ----------------------------------------------------------------------------------------------------------------


def test_a_record_signs_over_to_the_next_key_and_the_log_is_verified_with_all(tmp_path: Path) -> None:
    log = written(tmp_path / "e.jsonl", 2, key=b"first")
    assert log.hand_over(b"second").kind == evidence.TAKEN
    log.append("by the second")
    third = evidence.Log(log.path, key=b"second")
    third.hand_over(b"third")
    third.append("by the third")
    keys = (b"first", b"second", b"third")
    assert evidence.verify(log.path, b"third", earlier_keys=keys[:2]).problems == ()
    assert evidence.verify(log.path, b"third", earlier_keys=[b"second", b"first"]).problems == ()
    for missing in keys[:2]:
        left = [key for key in keys if key != missing]
        assert evidence.verify(log.path, left[-1], earlier_keys=left[:-1]).problems, missing
    (problem,) = evidence.verify(log.path, b"second", earlier_keys=[b"third", b"first"]).problems
    assert "under another key" in problem.message
    content = log.path.read_bytes()
    for place in range(0, len(content), 7):
        (tmp_path / "changed").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert evidence.verify(tmp_path / "changed", b"third", earlier_keys=keys[:2]).problems, place


def test_the_old_key_cannot_write_on_once_it_has_handed_over(tmp_path: Path) -> None:
    log = written(tmp_path / "e.jsonl", 2, key=b"first")
    evidence.Log(log.path, key=b"first").hand_over(b"second")
    with pytest.raises(evidence.EvidenceError, match="midwatch evidence rotate"):
        log.append("late")
    with pytest.raises(evidence.EvidenceError, match="midwatch evidence rotate"):
        evidence.Log(log.path).ensure_appendable()
    evidence.Log(log.path, key=b"second").append("well")
    for key in (b"", b"second"):
        with pytest.raises(evidence.EvidenceError, match="the next key is"):
            evidence.Log(log.path, key=b"second").hand_over(key)


def test_a_key_that_is_not_the_logs_is_refused_before_it_is_broken(tmp_path: Path) -> None:
    log = written(tmp_path / "e.jsonl", 1, key=b"first")
    before = log.path.read_bytes()
    for key in (b"", b"other"):
        with pytest.raises(evidence.EvidenceError, match="not written under this key"):
            evidence.Log(log.path, key=key).append("step")
    assert log.path.read_bytes() == before


def test_a_log_without_a_key_is_handed_over_to_its_first_and_cannot_go_back(tmp_path: Path) -> None:
    log = written(tmp_path / "e.jsonl", 2)
    log.hand_over(b"key")
    assert evidence.verify(log.path, b"key").problems == ()
    assert evidence.verify(log.path).problems
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(lines[:-1]))  # a crash: what nobody has signed is not signed by who handed over
    with pytest.raises(evidence.EvidenceError, match="midwatch evidence rotate, with both keys, finishes it"):
        evidence.Log(log.path, key=b"key").append("step")
    assert evidence.Log(log.path).hand_over(b"key").seq == 3
    assert evidence.verify(log.path, b"key").problems == ()
    log.path.write_bytes(b"".join(lines[:2]))
    (problem,) = evidence.verify(log.path, b"key").problems
    assert "under another key than the one given, or none" in problem.message


@pytest.mark.parametrize("known", [b"", b"first"], ids=["no key", "the key of before"])
def test_who_has_not_the_key_of_today_cannot_write_a_log_anew_that_hands_over_to_it(
    tmp_path: Path, known: bytes
) -> None:
    """The fingerprint of the key stands in the log, for all to read."""
    written(tmp_path / "e.jsonl", 2, key=b"first").hand_over(b"second")
    named = {"from": evidence.fingerprint(known), "to": evidence.fingerprint(b"second")}
    forged = written(tmp_path / "forged.jsonl", 2, key=known)
    forged.append(evidence.HANDED_OVER, **named)
    (problem,) = evidence.verify(forged.path, b"second", earlier_keys=[b"first"]).problems
    assert (problem.line, "has not taken it" in problem.message) == (3, True)
    for key in (b"second", known):
        with pytest.raises(evidence.EvidenceError, match="has not taken it"):
            evidence.Log(forged.path, key=key).append("step")
    if not known:
        with pytest.raises(evidence.EvidenceError, match="has not taken it"):
            evidence.Log(forged.path, key=b"first").hand_over(b"second")


@pytest.mark.parametrize("content", [None, "", "\n \n"], ids=["none", "empty", "blank"])
def test_a_key_file_without_a_key_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(evidence.EvidenceError, match="key of the evidence"):
        evidence.read_key(tmp_path / "key")
