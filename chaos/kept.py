"""What each run has left beside the evidence log, and whether it still is what the log says of it.

The record of a run's end has digests of the experiment and the journal; a second one, `run-kept`, has those of result
and report, which are written after it. Where the log ended with that is in the run's folder, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chaos.places.place import Home
from midwatch import evidence, files
from midwatch.errors import Problem
from midwatch.evidence import Head, Record

ENDED, KEPT = "run-ended", "run-kept"
RESULT, REPORT, HEAD = "result.json", "report.html", "head.json"
BEFORE_THE_END = ("experiment.json", "journal.json", "rollbacks.json")
AFTER_IT = (RESULT, REPORT)


def log_name(log: Path) -> str:
    """What a log of experiments is called where its heads are kept outside: each state folder has one."""
    return f"chaos{log.resolve()}"


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of those files of a run that are there."""
    present = [name for name in names if (folder / name).is_file()]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in present}


def seal(log: evidence.Log, run: str, folder: Path) -> Record:
    """Put the digests of result and report on record, and keep the log's head beside them."""
    record = log.append(KEPT, run=run, digests=digests(folder, AFTER_IT))
    files.replace(folder / HEAD, json.dumps({"seq": record.seq, "hash": record.hash}).encode())
    return record


def heads(home: Home) -> Iterator[Head]:
    """Heads in the folders of runs: another place than the log. A file that is broken is a finding of `check`."""
    for folder in sorted(home.runs.glob("*")):
        for head in (_document(folder / RESULT).get("evidence_head"), _document(folder / HEAD)):
            if isinstance(head, dict) and isinstance(head.get("seq"), int):
                yield Head(seq=head["seq"], hash=str(head.get("hash")))


def check(home: Home) -> Iterator[Problem]:
    """What is not as the log says of each run: files that are missing, changed or broken, and verdicts."""
    said: dict[str, dict[str, str]] = {}
    verdicts: dict[str, str] = {}
    for record in evidence.read(home.evidence):
        run = record.data.get("run")
        if isinstance(run, str) and record.kind in (ENDED, KEPT):
            digests = record.data.get("digests")
            said.setdefault(run, {}).update(digests if isinstance(digests, dict) else {})
            verdicts |= {run: str(record.data.get("verdict"))} if record.kind == ENDED else {}
    for run, wanted in sorted(said.items()):
        yield from _check_files(home.runs / Path(run).name, wanted)
    for path in sorted(home.runs.glob(f"*/{RESULT}")):
        yield from _check_result(path, verdicts.get(path.parent.name))
    for path in sorted(home.runs.glob(f"*/{HEAD}")):
        if not isinstance(_document(path).get("seq"), int):
            yield _problem(path, "not the head of a log")


def _check_files(folder: Path, said: Mapping[str, str]) -> Iterator[Problem]:
    for name, wanted in sorted(said.items()):
        file = folder / Path(name).name
        try:
            if hashlib.sha256(file.read_bytes()).hexdigest() != wanted:
                yield _problem(file, "not what the run left: its digest is another")
        except FileNotFoundError:
            yield _problem(file, "missing, and the run left it")
        except OSError as error:
            yield _problem(file, error.strerror or "cannot be read")


def _check_result(file: Path, verdict: str | None) -> Iterator[Problem]:
    result = _document(file)
    if not result:
        yield _problem(file, "not the result of a run")
    elif verdict is None:
        yield _problem(file, "no record of the log tells that this run ended: cut off or replaced")
    elif result.get("verdict") != verdict:
        yield _problem(file, f"the verdict is {result.get('verdict')}, and the log says {verdict}")


def _document(file: Path) -> dict[str, Any]:
    """The JSON object of a file, empty when it is none."""
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _problem(file: Path, message: str) -> Problem:
    return Problem(file=str(file), message=message)
