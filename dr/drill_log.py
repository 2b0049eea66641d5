"""The log of drills: signed, hash-chained records of what they have shown, and a folder for each with its ledgers."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dr import audit
from dr.drill import judged, verdict
from midwatch import anchors, evidence, files
from midwatch.errors import MidwatchError
from midwatch.spec import dr as spec
from midwatch.spec import load, model

KEPT = (
    judged.OBSERVER,
    judged.RECOVERER,
    judged.FILE,
    "injection.json",
    "journal.json",
    "experiment.json",
    "runner.log",
    "recoverer.log",
)
"""What of a drill's folder is evidence; the plans hold passwords and are not kept."""

ENDED = "drill-ended"
"""Kind of the record that seals a drill."""

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DrillLog:
    """The evidence folder: `evidence.jsonl`, and `drills/RUN/` with the ledgers and `result.json`.

    Heads of the log are kept outside: in the file `anchor`, and in Prometheus. `platform` and `owner` are whose it is,
    `place` says which region's plane wrote it, where there are several.
    """

    folder: Path
    key_file: Path | None
    earlier_key_files: tuple[Path, ...] = ()
    anchor: Path | None = None
    platform: str = ""
    owner: str = ""
    place: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, platform: model.Platform, file: Path, folder: Path | None = None) -> DrillLog:
        """The log of a platform; MidwatchError when its key cannot be read."""
        settings = platform.disaster_recovery.evidence if platform.disaster_recovery else spec.Evidence()
        base = load.base_folder(file).resolve()
        key_file = base / settings.key_file if settings.key_file else None
        if key_file and not key_file.is_file():
            raise MidwatchError(
                f"{key_file}: the key of the evidence is not there; make one with: openssl rand -hex 32"
            )
        log = cls(
            folder=(folder or base / settings.folder).resolve(),
            key_file=key_file,
            earlier_key_files=tuple(base / one for one in settings.earlier_key_files),
            anchor=base / settings.anchor_file if settings.anchor_file else None,
            platform=platform.platform,
            place=platform.place_labels,
            owner=platform.disaster_recovery.owner if platform.disaster_recovery else "",
        )
        _ = log.key  # an empty one is said before a drill begins
        return log

    @property
    def name(self) -> str:
        """What the log is called where its heads are kept."""
        return f"{self.platform}/drills"

    @property
    def key(self) -> bytes:
        """The signing key; empty without one. EvidenceError for a file that is empty."""
        return evidence.read_key(self.key_file) if self.key_file else b""

    @property
    def runs(self) -> Path:
        """The folders of the drills."""
        return self.folder / "drills"

    @property
    def chain(self) -> evidence.Log:
        """The signed records."""
        return evidence.Log(self.folder / "evidence.jsonl", key=self.key)

    def append(self, kind: str, **data: Any) -> evidence.Record:
        """Add a record that counts by itself, and keep the head outside; MidwatchError when either cannot be done."""
        record = self.chain.append(kind, **data)
        self.keep_head(record)
        return record

    def keep_head(self, record: evidence.Record) -> None:
        """Keep a record as the head, outside of the log; AnchorError when that cannot be done."""
        if self.anchor is not None:
            anchors.keep(self.anchor, self.name, evidence.Head(seq=record.seq, hash=record.hash))

    def keep(self, document: Document, home: Path) -> Document:
        """Put a drill's ledgers away and seal its document into the chain; returns it with its place there.

        AnchorError when the head cannot be kept outside: the drill is on record then all the same.
        """
        target = self.runs / document["run"]
        target.mkdir(parents=True, exist_ok=True)
        digests = {}
        for name in KEPT:
            if (home / name).exists():
                shutil.copyfile(home / name, target / name)
                digests[name] = hashlib.sha256((target / name).read_bytes()).hexdigest()
        clean = self.clean_drills(document["drill"], document["store"]) + (document["verdict"] == verdict.Verdict.MET)
        sealed = (
            document
            | ({"place": self.place} if self.place else {})
            | {
                "bound": {
                    "met_in_a_row": clean,
                    "breach_probability_at_most": verdict.bound(clean),
                    "confidence": 0.95,
                },
                "digests": digests,
            }
        )
        record = self.chain.append(ENDED, **sealed)
        whole = sealed | {
            "evidence": {
                "log": str(self.chain.path),
                "seq": record.seq,
                "hash": record.hash,
                "signed": bool(self.key),
                "folder": str(target),
            }
        }
        files.replace(target / audit.RESULT, json.dumps(whole, indent=1).encode())
        self.keep_head(record)
        return whole

    def results(self) -> list[Document]:
        """Documents of every drill, the oldest first, each with its record's place in the chain.

        What is no result of a drill, since somebody has changed it, is left out: `verified` names it.
        """
        found = [
            record.data | {"at": record.at, "seq": record.seq, "hash": record.hash}
            for record in evidence.read(self.chain.path)
            if record.kind == ENDED
        ]
        return [one for one in found if audit.is_result(one)]

    def verified(self, outside: anchors.Anchored | None = None) -> evidence.Verified:
        """Whether the log is whole, still has the heads that were kept, and each drill's folder is what it says.

        `outside` are heads from elsewhere than the anchor file, which is always asked where there is one.
        """
        anchored = anchors.joined([self._anchored(), *([outside] if outside else [])])
        heads = [*anchored.heads, *self._heads_of_results()]
        found = (*anchored.problems, *audit.check(self.runs, self.results(), KEPT))
        if not heads and not self.chain.path.exists():
            return evidence.Verified(records=0, head=None, problems=found)
        earlier = [evidence.read_key(file) for file in self.earlier_key_files]
        verified = evidence.verify(self.chain.path, key=self.key, heads=heads, earlier_keys=earlier)
        return replace(verified, problems=(*verified.problems, *found))

    def _anchored(self) -> anchors.Anchored:
        """Heads in the anchor file, also of a log that is gone; before the first drill nothing has to be there."""
        if self.anchor is None:
            return anchors.Anchored()
        found = anchors.kept(self.anchor, self.name)
        return found if found.heads or evidence.head(self.chain.path) else anchors.Anchored()

    def _heads_of_results(self) -> list[evidence.Head]:
        """Heads that the results beside the ledgers have; a result that is none is a finding of `audit`."""
        heads = []
        for path in sorted(self.runs.glob("*/result.json")):
            try:
                place = json.loads(path.read_bytes())["evidence"]
                heads.append(evidence.Head(seq=int(place["seq"]), hash=str(place["hash"])))
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                continue
        return heads

    def clean_drills(self, drill: str, store: str) -> int:
        """How many drills of that name and store were MET since the last that was breached; others do not count."""
        count = 0
        for result in self.results():
            if (result["drill"], result["store"]) == (drill, store):
                if result["verdict"] == verdict.Verdict.MET:
                    count += 1
                elif result["verdict"] == verdict.Verdict.BREACHED:
                    count = 0
        return count
