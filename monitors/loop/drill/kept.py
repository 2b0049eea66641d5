"""What drills of the loop have shown: a log of sealed results, and a folder for each with its ledger.

A ledger is an evidence log of its own, so that a change of it shows; the judge is pure, so that its verdict is computed
again from the ledger whenever the drills are listed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

import midwatch
from midwatch import anchors, drills, evidence, exposition, files, metrics
from midwatch.drills import Verdict
from midwatch.errors import MidwatchError, Problem
from midwatch.spec import load
from midwatch.spec.model import Platform
from monitors.loop.drill import judge
from monitors.loop.drill.facts import AnyFact
from monitors.loop.drill.judge import Evidence, Objectives

STARTED, ABORTED, ENDED = "loop-drill-started", "loop-drill-aborted", "loop-drill-ended"
LEDGER, RESULT = "ledger.jsonl", "result.json"
FIGURES = ("verdict", "reasons", "recovery_seconds", "exceeds", "episode", "new_version")
"""What of a result has to come out again."""

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DrillLog:
    """The evidence folder: `evidence.jsonl`, and `drills/RUN/` with ledger and result."""

    folder: Path
    key: bytes = b""
    earlier_keys: tuple[bytes, ...] = ()
    anchor: Path | None = None
    platform: str = ""

    @classmethod
    def of(cls, platform: Platform, file: Path) -> DrillLog:
        """The log of a platform; MidwatchError without its section, or when its key cannot be read."""
        if platform.loop is None:
            raise MidwatchError(f"{file}: it has no section loop; see docs/loop.md")
        base, settings = load.base_folder(file).resolve(), platform.loop.evidence
        return cls(
            folder=base / settings.folder,
            key=evidence.read_key(base / settings.key_file) if settings.key_file else b"",
            earlier_keys=tuple(evidence.read_key(base / one) for one in settings.earlier_key_files),
            anchor=base / settings.anchor_file if settings.anchor_file else None,
            platform=platform.platform,
        )

    @property
    def name(self) -> str:
        """What the log is called where its heads are kept."""
        return f"{self.platform}/loop-drills"

    @property
    def chain(self) -> evidence.Log:
        """The sealed records."""
        return evidence.Log(self.folder / "evidence.jsonl", key=self.key)

    def ledger(self, run: str) -> evidence.Log:
        """The ledger of a drill."""
        return evidence.Log(self.folder / "drills" / run / LEDGER, key=self.key)

    def append(self, kind: str, **data: Any) -> evidence.Record:
        """Add a record, and keep the head outside where that is wanted."""
        record = self.chain.append(kind, **data)
        if self.anchor is not None:
            anchors.keep(self.anchor, self.name, evidence.Head(seq=record.seq, hash=record.hash))
        return record

    def keep(self, document: Document) -> Document:
        """Seal a drill's result, with the digest of its ledger; the document with its place in the log."""
        folder = self.folder / "drills" / document["run"]
        clean = self._met_in_a_row(document["model"]) + 1 if document["verdict"] == Verdict.MET else 0
        sealed = document | {
            "ledger": hashlib.sha256((folder / LEDGER).read_bytes()).hexdigest(),
            "bound": {"met_in_a_row": clean, "breach_probability_at_most": drills.bound(clean), "confidence": 0.95},
        }
        record = self.append(ENDED, **sealed)
        place = {"seq": record.seq, "hash": record.hash, "signed": bool(self.key), "folder": str(folder)}
        whole = sealed | {"evidence": place}
        files.replace(folder / RESULT, json.dumps(whole, indent=1).encode())
        return whole

    def _met_in_a_row(self, model: str) -> int:
        """How many drills of a model were MET since the last that was breached; undecided ones do not count."""
        count = 0
        for one in self.results():
            if one["model"] == model and one["verdict"] != Verdict.INCONCLUSIVE:
                count = count + 1 if one["verdict"] == Verdict.MET else 0
        return count

    def results(self) -> list[Document]:
        """Results of every drill, the oldest first, each with the time of its record."""
        return [
            one.data | {"at": one.at} for one in evidence.read(self.chain.path) if one.kind == ENDED and _is_result(one)
        ]

    def unfinished(self) -> list[str]:
        """Drills that began and left no result, the oldest first, each with why it is known to have ended."""
        records = evidence.read(self.chain.path)
        reasons = {one.data.get("run"): one.data.get("reason") for one in records if one.kind == ABORTED}
        ended = {one.data.get("run") for one in records if one.kind == ENDED}
        begun = [one.data.get("run") for one in records if one.kind == STARTED]
        return [
            f"the drill {run} left no result, so nothing is proven by it: "
            f"{reasons.get(run) or 'it still runs, or was killed'}"
            for run in begun
            if run not in ended
        ]

    # Whether it is what was written ----------------------------------------------------------------------------------

    def problems(self) -> list[Problem]:
        """What of the log, of a ledger or of a verdict is not what was written; nothing where no drill ever began."""
        heads = anchors.kept(self.anchor, self.name) if self.anchor else anchors.Anchored()
        found = list(heads.problems)
        if heads.heads or self.chain.path.exists():
            verified = evidence.verify(self.chain.path, self.key, heads=heads.heads, earlier_keys=self.earlier_keys)
            found += verified.problems
        for one in self.results():
            found += self._problems_of(one)
        known = {one["run"] for one in self.results()}
        for folder in sorted(self.folder.glob("drills/*")):
            if folder.name not in known and (folder / RESULT).exists():
                found.append(_problem(folder, "no record of the log tells of this drill: cut off or replaced"))
        return found

    def _problems_of(self, result: Document) -> Iterator[Problem]:
        ledger = self.folder / "drills" / Path(result["run"]).name / LEDGER
        try:
            content = ledger.read_bytes()
        except OSError as error:
            yield _problem(ledger, error.strerror or "cannot be read")
            return
        if hashlib.sha256(content).hexdigest() != result["ledger"]:
            yield _problem(ledger, "not what the drill left: its digest is another")
            return
        try:
            objectives = msgspec.convert(result["objectives"], Objectives)
        except msgspec.ValidationError as error:
            yield _problem(ledger, f"the log says objectives of it that are none: {error}")
            return
        again = judge.judge(Evidence(facts=facts_of(ledger), log_problems=result["log_problems"]), objectives)
        document = as_document(again)
        other = [name for name in FIGURES if document[name] != result[name]]
        if other:
            by = result.get("midwatch")
            note = f" (by Midwatch {by}; this is {midwatch.__version__})" if by != midwatch.__version__ else ""
            yield _problem(ledger, f"the log says another {', '.join(other)} than its ledger{note}")


def _is_result(record: evidence.Record) -> bool:
    needed = {"run", "model", "ledger", "log_problems", "objectives", "phases", "requests", "notes", *FIGURES}
    has_all = needed <= record.data.keys() and record.data["verdict"] in set(Verdict)
    return has_all and all(isinstance(record.data[name], str) for name in ("run", "model", "ledger"))


def _problem(path: Path, message: str) -> Problem:
    return Problem(file=str(path), message=message)


def as_document(result: judge.Result) -> Document:
    """A result as JSON has it."""
    found: Document = json.loads(json.dumps(asdict(result)))
    return found


def facts_of(ledger: Path) -> Sequence[AnyFact]:
    """The facts of a ledger; MidwatchError for a record that is none."""
    try:
        return [msgspec.convert({**one.data, "type": one.kind}, AnyFact) for one in evidence.read(ledger)]
    except msgspec.ValidationError as error:
        raise MidwatchError(f"{ledger}: not a fact that this version knows: {error}") from error


# Published -----------------------------------------------------------------------------------------------------------


def samples(results: Sequence[Document]) -> Iterator[exposition.Sample]:
    """The last result of each model's drills, and when its promise was last met."""
    last = {one["model"]: one for one in results}
    met = {one["model"]: one for one in results if one["verdict"] == Verdict.MET}
    for model, one in sorted(last.items()):
        labels = {"model": model}
        for verdict in Verdict:
            value = float(one["verdict"] == verdict)
            yield metrics.LOOP_DRILL_VERDICT, {**labels, "verdict": verdict.lower()}, value
        yield metrics.LOOP_DRILL_LAST_RUN, labels, datetime.fromisoformat(one["at"]).timestamp()
        if one["recovery_seconds"] is not None and not one["exceeds"]:
            yield metrics.LOOP_DRILL_RECOVERY, labels, float(one["recovery_seconds"])
        if model in met:
            yield metrics.LOOP_DRILL_LAST_MET, labels, datetime.fromisoformat(met[model]["at"]).timestamp()
