"""What a drill was judged from, kept beside its ledgers: the same judge says the same of it years later.

What the observer and the recoverer saw and did is in their ledgers. What was read back, the fault's times and what was
checked are here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from dr.drill import judge, ledger
from dr.drill.client import Row
from dr.drill.ledger import LedgerError
from dr.drill.verdict import Check, Evidence, Injection, Objectives, Result
from midwatch import files

FILE = "judged.json"
OBSERVER, RECOVERER = "observer.ledger", "recoverer.ledger"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Everything that is not in a ledger. Events of the recoverer count from `since` (nanoseconds) on.

    `is_warning`: nothing was to be lost, and `warned` is when the warning came.
    """

    run: str
    objectives: Objectives
    injection: Injection
    since: int
    rows: list[Row] | None
    checks: list[Check]
    needs_recoverer: bool
    has_model: bool
    is_warning: bool = False
    warned: int | None = None

    def save(self, folder: Path) -> None:
        """Write it beside the ledgers."""
        files.replace(folder / FILE, msgspec.json.encode(self))

    @classmethod
    def load(cls, folder: Path) -> Judged:
        """Read it; LedgerError when it cannot be read, or is not what was written."""
        file = folder / FILE
        try:
            return msgspec.json.decode(file.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError, RecursionError) as error:
            raise LedgerError(f"{file}: {error}") from error

    def judge(self, folder: Path) -> Result:
        """Judge it by the ledgers in a folder; LedgerError when one cannot be read."""
        events = ledger.read_recorded(folder / RECOVERER)
        evidence = Evidence(
            run=self.run,
            facts=ledger.read_observed(folder / OBSERVER),
            injection=self.injection,
            events=[event for event in events if event.at > self.since],
            rows=self.rows,
            checks=self.checks,
            needs_recoverer=self.needs_recoverer,
            has_model=self.has_model,
        )
        if self.is_warning:
            return judge.judge_warning(evidence, self.warned, self.objectives)
        return judge.judge(evidence, self.objectives)
