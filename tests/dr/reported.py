"""Evidence of three drills of two stores, as drills leave it: two runs of one with its ledger, one that breached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dr import report
from dr.drill import ledger
from dr.drill.facts import Outcome, Write
from dr.drill_log import DrillLog


def drilled(folder: Path) -> tuple[DrillLog, dict[str, Any]]:
    """The log, and the report of it with each drill's last run beside the one before."""
    home = folder / "home"
    home.mkdir()
    writes = [
        Write(number=n, sent=n * 10**7, answered=n * 10**7 + 1, outcome=Outcome.OK)
        for n in range(500)
        if not 200 < n < 260
    ]
    (home / "observer.ledger").write_bytes(b"".join(ledger.line(write) for write in writes))
    (home / "injection.json").write_text(json.dumps({"begun": 2 * 10**9, "effective": 2 * 10**9}))
    log = DrillLog(folder=folder / "evidence", key_file=None)
    phases = [("detect", 0.3, 0.3), ("restore", 0.6, 0.3), ("redundancy restored", None, None)]
    document: dict[str, Any] = {
        "run": "r",
        "drill": "lose <primary>",
        "store": "s",
        "fault": "kill_primary",
        "what": "kill -9",
        "verdict": "MET",
        "reasons": [],
        "rto_seconds": 0.6,
        "rto_exceeds": False,
        "rpo_seconds": 0.0,
        "rpo_is_bound": False,
        "resolution_seconds": 0.01,
        "phases": [{"name": name, "at": at, "seconds": seconds} for name, at, seconds in phases],
        "notes": [],
        "writes": {"attempted": 441, "acknowledged": 441, "lost": 0, "lost_during_fault": 0},
        "checks": [{"name": "fence", "holds": True, "detail": ""}, {"name": "model", "holds": None, "detail": "none"}],
        "objectives": {"rto": 900.0, "rpo": 300.0},
        "versions": {"postgresql": "15"},
        "configuration": "c",
        "started_at": "2026-11-25T00:00:00+00:00",
        "duration_seconds": 9.0,
    }
    log.keep(document, home)
    log.keep(document | {"run": "r2", "rto_seconds": 0.85}, home)
    breached = {"run": "r3", "drill": "freeze", "store": "other", "verdict": "BREACHED", "rto_seconds": None}
    log.keep(document | breached | {"reasons": ["not recovered within 20 s"], "writes": {"lost": 3}}, home)
    listed = report.build(log, None)
    return log, listed | {"compared": report.compare(listed)}
