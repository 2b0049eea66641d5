"""The log of drills: signed, hash-chained records of what they have shown, and a folder for each with its ledgers."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dr.drill import verdict
from midwatch import evidence, files
from midwatch.errors import MidwatchError
from midwatch.spec import dr as spec
from midwatch.spec import load, model

KEPT = (
    "observer.ledger",
    "recoverer.ledger",
    "injection.json",
    "journal.json",
    "experiment.json",
    "runner.log",
    "recoverer.log",
)
"""What of a drill's folder is evidence; the plans hold passwords and are not kept."""

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DrillLog:
    """The evidence folder: `evidence.jsonl`, and `drills/RUN/` with the ledgers and `result.json`."""

    folder: Path
    key_file: Path | None

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
        return cls(folder=(folder or base / settings.folder).resolve(), key_file=key_file)

    @property
    def key(self) -> bytes:
        """The signing key; empty without one."""
        return self.key_file.read_bytes().strip() if self.key_file else b""

    @property
    def chain(self) -> evidence.Log:
        """The signed records."""
        return evidence.Log(self.folder / "evidence.jsonl", key=self.key)

    def keep(self, document: Document, home: Path) -> Document:
        """Put a drill's ledgers away and seal its document into the chain; returns it with its place there."""
        target = self.folder / "drills" / document["run"]
        target.mkdir(parents=True, exist_ok=True)
        digests = {}
        for name in KEPT:
            if (home / name).exists():
                shutil.copyfile(home / name, target / name)
                digests[name] = hashlib.sha256((target / name).read_bytes()).hexdigest()
        clean = self.clean_drills(document["drill"], document["store"]) + (document["verdict"] == verdict.Verdict.MET)
        sealed = document | {
            "bound": {"met_in_a_row": clean, "breach_probability_at_most": verdict.bound(clean), "confidence": 0.95},
            "digests": digests,
        }
        record = self.chain.append("drill-ended", **sealed)
        whole = sealed | {
            "evidence": {
                "log": str(self.chain.path),
                "seq": record.seq,
                "hash": record.hash,
                "signed": bool(self.key),
                "folder": str(target),
            }
        }
        files.replace(target / "result.json", json.dumps(whole, indent=1).encode())
        return whole

    def results(self) -> list[Document]:
        """Documents of every drill, the oldest first, each with its record's place in the chain."""
        return [
            record.data | {"at": record.at, "seq": record.seq, "hash": record.hash}
            for record in evidence.read(self.chain.path)
            if record.kind == "drill-ended"
        ]

    def verified(self) -> evidence.Verified:
        """Whether the chain is whole, and still holds what the results say of it."""
        heads = []
        for path in sorted((self.folder / "drills").glob("*/result.json")):
            place = json.loads(path.read_text())["evidence"]
            heads.append(evidence.Head(seq=place["seq"], hash=place["hash"]))
        return evidence.verify(self.chain.path, key=self.key, heads=heads)

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
