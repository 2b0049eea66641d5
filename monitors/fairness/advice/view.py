"""Proposals for people on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from monitors.canary.times import moment
from monitors.fairness.advice.advise import Advice
from monitors.fairness.advice.effect import Effect
from monitors.fairness.advice.proposal import Proposal
from monitors.fairness.fetch import Window
from monitors.fairness.verdict import Verdict

_STYLES = {Verdict.FAIR: "green", Verdict.UNFAIR: "bold red", Verdict.UNKNOWN: "yellow"}


def show(windows: Sequence[tuple[Window, Sequence[Advice]]]) -> None:
    """Print the proposals of each promise, those that fit first."""
    from rich.text import Text

    from midwatch import tables

    console = tables.make_console()
    for window, advice in windows:
        for one in advice:
            first = one.findings[0]
            promised = f"{first.promise.compared}: {first.promise.measure}, {first.promise.limit_text}"
            console.print(Text(f"{first.model} {first.version}, {promised}", style="bold"))
            for finding in one.findings:
                word = Text(finding.judgement.verdict.value, style=_STYLES[finding.judgement.verdict])
                lately = ", worse lately" if finding.judgement.became_unfair else ""
                console.print(Text.assemble("  ", word, f"{lately} ({finding.rate}): {finding.reason}"))
            for proposal in one.proposals:
                for line in _lines(proposal):
                    console.print(line)
        console.print(f"{moment(window.start)} to {moment(window.end)}", style="dim")


def _lines(proposal: Proposal) -> Iterator[object]:
    from rich.text import Text

    if not proposal.fits:
        yield Text(f"  - {proposal.kind.value}: {proposal.why}", style="dim")
        for step in proposal.steps:
            yield Text(f"      {step}", style="dim")
        return
    yield Text.assemble(("  + ", "green"), (proposal.kind.value, "bold"), f": {proposal.why}")
    for step in proposal.steps:
        yield Text(f"      {step}")
    for effect in proposal.effects:
        yield Text(f"      {_effect(effect)}", style="cyan")
    for note in proposal.notes:
        yield Text(f"      note: {note}", style="dim")


def _effect(effect: Effect) -> str:
    low, high = effect.interval
    return (
        f"{effect.what}: now {effect.now:.1%}, expected {effect.expected:.1%} "
        f"({low:.1%} to {high:.1%}, of {effect.events:,} events)"
    )
