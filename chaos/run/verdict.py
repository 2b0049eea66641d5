"""What a run has shown: held, deviated, or inconclusive. Pure: a journal and the watchdog's outcome in, reasons out.

Chaos Toolkit's own status is not the verdict: an action that fails, a probe of the method outside its tolerance and a
hypothesis that failed before the method all end as "completed" there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chaos.document import ActivityRun, Journal, SteadyState
from midwatch.errors import Exit
from midwatch.wording import in_words


class Verdict(StrEnum):
    """What is said of an experiment."""

    HELD = "held"
    DEVIATED = "deviated"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit(self) -> Exit:
        """The command's exit code."""
        return {"held": Exit.PASS, "deviated": Exit.FAIL, "inconclusive": Exit.INCONCLUSIVE}[self.value]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict and why: every reason, not only the first."""

    verdict: Verdict
    reasons: tuple[str, ...]


Within = Callable[[Any, Any], bool]
"""Whether a value is within a tolerance, as Chaos Toolkit judges it."""


def judge(journal: Journal | None, *, stopped: str, deviation: bool, problems: list[str], within: Within) -> Judgement:
    """Verdict of a run.

    `stopped` is why it was stopped and `deviation` whether that was for too many errors; `problems` is what could not
    be cleaned up. What stays, or went wrong with the platform, is a deviation; what is not known is inconclusive.
    """
    deviations = [*problems, *([stopped] if stopped and deviation else [])]
    unknown = [stopped] if stopped and not deviation else []
    if journal is None:
        unknown.append("the runner left no journal")
    else:
        deviations += _deviations(journal, within)
        unknown += _unknown(journal, is_stopped=bool(stopped))
    if deviations:
        return Judgement(verdict=Verdict.DEVIATED, reasons=tuple(deviations + unknown))
    if unknown:
        return Judgement(verdict=Verdict.INCONCLUSIVE, reasons=tuple(unknown))
    return Judgement(verdict=Verdict.HELD, reasons=())


def _deviations(journal: Journal, within: Within) -> Iterator[str]:
    after = (journal.get("steady_states") or {}).get("after") or {}
    for probe in after.get("probes", ()):
        if probe.get("status") == "succeeded" and not probe.get("tolerance_met"):
            yield f"after it, {_name(probe)}: no ({_said(probe)})"
    for run in journal.get("run", ()):
        tolerance = run["activity"].get("tolerance")
        is_judged = run["activity"]["type"] == "probe" and tolerance is not None and run.get("status") == "succeeded"
        if is_judged and not within(tolerance, run.get("output")):
            yield f"{_name(run)}: no ({_said(run)})"
    for run in journal.get("rollbacks", ()):
        if reason := failure(run):
            yield f"rollback {_name(run)}: {reason}"


def _unknown(journal: Journal, *, is_stopped: bool) -> Iterator[str]:
    states = journal.get("steady_states") or {}
    before, after = states.get("before") or {}, states.get("after") or {}
    if before.get("steady_state_met") is False:
        yield f"the steady state was not there to begin with: {_first_failed(before)}; nothing was injected"
        return
    for run in journal.get("run", ()):
        if reason := failure(run):
            yield f"{run['activity']['type']} {_name(run)}: {reason}"
    for probe in after.get("probes", ()):
        if probe.get("status") != "succeeded":
            yield f"after it, {_name(probe)}: {failure(probe) or 'not known'}"
    if journal.get("status") != "completed" and not is_stopped:
        yield f"the run was {journal.get('status')}"
    if not any(run["activity"]["type"] == "action" for run in journal.get("run", ())):
        yield "no action was run"
    has_hypothesis = bool(journal.get("experiment", {}).get("steady-state-hypothesis"))
    if has_hypothesis and not after and journal.get("status") == "completed":
        yield "the steady state was not looked at afterwards"


def failure(run: ActivityRun) -> str:
    """Why an activity did not do what it should, empty when it did.

    A process that ends with another code than 0, and an HTTP answer of 400 or more, are failures unless a tolerance
    says what is right.
    """
    if run.get("status") != "succeeded":
        lines = [line for line in run.get("exception") or () if line.strip()]
        reason = lines[-1].strip().removeprefix("chaoslib.exceptions.ActivityFailed: ") if lines else ""
        return reason or str(run.get("status") or "it has not ended")
    output, activity = run.get("output"), run["activity"]
    if activity.get("tolerance") is not None or not isinstance(output, Mapping):
        return ""
    status, provider = output.get("status"), activity["provider"]["type"]
    if provider == "process" and status != 0:
        return f"ended with code {status}"
    if provider == "http" and isinstance(status, int) and status >= 400:
        return f"was answered {status}"
    return ""


def _name(run: ActivityRun) -> str:
    return str(run["activity"].get("name", "activity"))


def _said(run: ActivityRun) -> str:
    output = run.get("output")
    if isinstance(output, Mapping):
        chosen = {name: value for name, value in output.items() if name in ("short", "pages", "alert", "wanted", "how")}
        return in_words(chosen or output)
    return in_words(output)


def _first_failed(state: SteadyState) -> str:
    for probe in state.get("probes", ()):
        if not probe.get("tolerance_met"):
            return f"{_name(probe)}: {failure(probe) or _said(probe)}"
    return "no probe says why"
