"""The drill as a Chaos Toolkit experiment: steady state, the fault with its verification, recovery, and the way back.

It runs in a process of its own (`python -m dr.runner.experiment FOLDER`, under the chaos watchdog), because the toolkit
keeps global state and runs in a main thread only. What it leaves in the folder is `injection.json`, with the times of
the fault, and the journal. The verdict is not the toolkit's: an action that fails still ends `completed` there, so
`injection_of` says what the journal hides.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from chaos import faults, notices
from dr import stores
from dr.drill import facts, judge, ledger, times, verdict
from dr.stores.setup import ExpectedAlert
from midwatch import evidence, files
from midwatch.spec.slo import Severity

POLL_SECONDS = 0.05
EFFECTIVE_SECONDS = 10.0
TOLD_SECONDS = 60.0
"""A page that takes longer after a region is gone helps nobody keep a promise of minutes."""
AFTERWARDS_SECONDS = 1.0
"""After the method the waiting for a recovery is over: the steady state is there, or it is not."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an experiment needs to know, as `plan.json` in its folder.

    `kind` is that of the store; `observer` and `recoverer` are their ledgers.
    """

    title: str
    kind: str
    fault: dict[str, Any]
    observer: str
    recoverer: str
    log: str
    key_file: str | None
    silences: bool
    fails_over: bool
    clients_follow: bool = False
    old: str
    spoils: bool
    warning: ExpectedAlert | None
    sink: str
    steady_seconds: float
    objectives: verdict.Objectives

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read it."""
        return msgspec.json.decode((folder / "plan.json").read_bytes(), type=cls)

    def save(self, folder: Path) -> None:
        """Write it."""
        (folder / "plan.json").touch(mode=0o600)
        files.replace(folder / "plan.json", msgspec.json.encode(self))

    @property
    def evidence(self) -> evidence.Log:
        """The evidence log."""
        key = evidence.read_key(Path(self.key_file)) if self.key_file else b""
        return evidence.Log(Path(self.log), key=key)

    def built(self) -> faults.Fault:
        """The fault; the kind of store has its class."""
        stores.named(self.kind)
        return faults.read(self.fault)


def document(folder: Path, plan: Plan) -> dict[str, Any]:
    """The experiment, as Chaos Toolkit reads it."""
    wait = ("wait for the warning", "warned") if plan.warning else ("wait for a sustained recovery", "recovered")
    return {
        "version": "1.0.0",
        "title": plan.title,
        "description": "A disaster-recovery drill; its verdict is in result.json, not in this journal's status.",
        "steady-state-hypothesis": {
            "title": "Writes through the clients' endpoint are acknowledged",
            "probes": [_activity(folder, "probe", "writes are acknowledged", "acknowledging") | {"tolerance": True}],
        },
        "method": [
            _activity(folder, "action", "inject the fault and verify it", "inject"),
            _activity(folder, "probe", *wait),
            *([_activity(folder, "probe", "wait for a page", "told")] if plan.sink else []),
        ],
        "rollbacks": [_activity(folder, "action", "revert the fault and verify that", "revert")],
    }


def _activity(folder: Path, kind: str, name: str, function: str) -> dict[str, Any]:
    provider = {"type": "python", "module": __name__, "func": function, "arguments": {"folder": str(folder)}}
    return {"type": kind, "name": name, "provider": provider}


# Activities ----------------------------------------------------------------------------------------------------------


def acknowledging(folder: str) -> bool:
    """Whether the observer's last writes were all acknowledged."""
    plan = Plan.load(Path(folder))
    tail = ledger.Tail(Path(plan.observer), ledger.OBSERVED)
    is_before = not (Path(folder) / "injection.json").exists()
    deadline = time.monotonic() + (plan.steady_seconds if is_before else AFTERWARDS_SECONDS)
    while time.monotonic() < deadline:
        writes = [fact for fact in tail.read() if isinstance(fact, facts.Write)][-judge.MIN_WRITES :]
        if len(writes) == judge.MIN_WRITES and all(write.is_acknowledged for write in writes):
            return True
        time.sleep(POLL_SECONDS)
    return False


def inject(folder: str) -> str:
    """Inject the fault and verify it; its times are durable before this returns."""
    home = Path(folder)
    plan = Plan.load(home)
    fault = plan.built()
    book = faults.Ledger(home, plan.evidence)
    if plan.sink:
        files.replace(home / "mark.json", json.dumps(notices.Sink(Path(plan.sink)).mark()).encode())
    begun = time.monotonic_ns()
    _say(home, begun=begun, effective=None)
    book.inject(fault, seconds=EFFECTIVE_SECONDS)
    _say(home, begun=begun, effective=time.monotonic_ns())
    return fault.describe()


def _say(folder: Path, **times: int | None) -> None:
    files.replace(folder / "injection.json", json.dumps(times | {"boot": ledger.boot_id()}).encode())


def recovered(folder: str) -> bool:
    """Wait until writes are acknowledged again for good, or the limit is over."""
    home = Path(folder)
    plan = Plan.load(home)
    observer = ledger.Tail(Path(plan.observer), ledger.OBSERVED)
    recoverer = ledger.Tail(Path(plan.recoverer), ledger.RECORDED)
    deadline = time.monotonic() + plan.objectives.limit
    while time.monotonic() < deadline:
        injection = injection_of(home)
        so_far = verdict.Evidence(run="", facts=observer.read(), injection=injection, events=recoverer.read())
        if times.recovery(so_far, plan.objectives) is not None:
            return True
        time.sleep(POLL_SECONDS)
    return False


def told(folder: str) -> bool:
    """Wait until a page has been delivered; which it was, and how long after the fault, is kept."""
    home = Path(folder)
    sink, mark, begun = notices.Sink(Path(Plan.load(home).sink)), _read(home / "mark.json"), injection_of(home).begun
    deadline = time.monotonic() + TOLD_SECONDS
    while time.monotonic() < deadline:
        pages = [one.labels["alertname"] for one in sink.since(mark) if one.labels.get("severity") == Severity.PAGE]
        if pages:
            document = {"alert": pages[0], "seconds": (time.monotonic_ns() - (begun or 0)) / facts.SECOND}
            files.replace(home / "page.json", json.dumps(document).encode())
            return True
        time.sleep(POLL_SECONDS)
    return False


def told_check(folder: Path) -> list[verdict.Check]:
    """Whether somebody was paged, where `midwatch up` delivers pages."""
    if not Plan.load(folder).sink:
        return []
    page = _read(folder / "page.json")
    detail = f"{page['alert']}, {page['seconds']:.1f} s after the fault" if page else f"none within {TOLD_SECONDS:g} s"
    return [verdict.Check(name="a page was delivered", holds=bool(page), detail=detail)]


def warned(folder: str) -> bool:
    """Wait until the alert's condition holds by the exporter's metrics; when it did is kept."""
    plan = Plan.load(Path(folder))
    deadline = time.monotonic() + plan.objectives.limit
    while time.monotonic() < deadline:
        if plan.warning and _fires(plan.warning):
            files.replace(Path(folder) / "warning.json", json.dumps({"at": time.monotonic_ns()}).encode())
            return True
        time.sleep(POLL_SECONDS)
    return False


def _fires(warning: ExpectedAlert) -> bool:
    try:
        with urllib.request.urlopen(warning.url, timeout=1.0) as page:  # noqa: S310 - a loopback URL of ours
            lines = page.read().decode().splitlines()
    except OSError:
        return False
    labels = [f'{name}="{value}"' for name, value in warning.labels.items()]
    return any(
        float(line.rpartition(" ")[2]) > warning.above
        for line in lines
        if line.startswith(warning.metric + "{") and all(label in line for label in labels)
    )


def revert(folder: str) -> bool:
    """Revert what is still open; raises when a fault stays."""
    plan = Plan.load(Path(folder))
    problems = faults.Ledger(Path(folder), plan.evidence).revert_all()
    if problems:
        raise faults.FaultError("; ".join(problems))
    return True


# Running -------------------------------------------------------------------------------------------------------------


def injection_of(folder: Path) -> verdict.Injection:
    """The fault as the folder tells it, with everything that went wrong in the experiment."""
    plan = Plan.load(folder)
    times = _read(folder / "injection.json")
    journal = _read(folder / "journal.json")
    return verdict.Injection(
        begun=times.get("begun"),
        effective=times.get("effective"),
        silences=plan.silences,
        spoils=plan.spoils,
        old=plan.old,
        fails_over=plan.fails_over,
        clients_follow=plan.clients_follow,
        problems=tuple(_problems(journal)) if journal else (),
    )


def warned_at(folder: Path) -> int | None:
    """When the warning was seen, in nanoseconds; None when it was not."""
    at = _read(folder / "warning.json").get("at")
    return None if at is None else int(at)


def _problems(journal: dict[str, Any]) -> list[str]:
    problems = []
    if journal["status"] not in ("completed", "failed"):
        problems.append(f"the experiment ended {journal['status']}")
    before = (journal.get("steady_states") or {}).get("before") or {}
    if not before.get("steady_state_met"):
        problems.append("the store was not in its steady state before the fault")
    for part in ("run", "rollbacks"):
        for step in journal.get(part) or []:
            if step["status"] != "succeeded":
                reason = (step.get("exception") or ["it did not say why"])[-1].strip()
                problems.append(f"{step['activity']['name']}: {step['status']}: {reason}")
    return problems


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def main(folder: Path) -> None:
    """Run the experiment in a folder and leave its journal there."""
    from chaoslib.experiment import run_experiment
    from chaoslib.types import Strategy

    plan = Plan.load(folder)
    settings = {"runtime": {"rollbacks": {"strategy": "always"}}}
    experiment = document(folder, plan)
    files.replace(folder / "experiment.json", json.dumps(experiment, indent=1).encode())
    journal = run_experiment(experiment, settings=settings, strategy=Strategy.DEFAULT)
    files.replace(folder / "journal.json", json.dumps(journal, default=str).encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
