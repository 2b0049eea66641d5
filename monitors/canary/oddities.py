"""What is odd about the arms' series, and so keeps a canary from passing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from midwatch.prometheus import Line
from monitors.canary import increments
from monitors.canary.counts import Doubt
from monitors.canary.increments import Axis, Increments, Labels, Lives
from monitors.canary.times import moment

GONE_INTERVALS = 3
REPLACED_WITHIN = 300.0
"""Seconds after a pod's end within which another takes its place; one that begins later is a larger fleet."""
MISSED = 1.5
"""Intervals without a sample after which a pod has ended, if another began then."""
REPLICA_LABELS = frozenset({"job", "replica", "prometheus", "prometheus_replica", "__replica__"})
"""Labels by which the same target, scraped twice, differs."""


@dataclass
class Oddities:
    """Doubts, and notes that do not matter to the verdict, in the order in which they were seen."""

    doubts: list[Doubt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def doubt(self, text: str, *, fatal: bool = False) -> None:
        """Add a doubt."""
        self.doubts.append(Doubt(text=text, fatal=fatal))

    def check_lines(self, selector: str, baseline: Sequence[Line], canary: Sequence[Line]) -> None:
        """A series of both arms, or a target that is scraped twice, would count twice."""
        if both := {increments.labels_of(line) for line in baseline} & {increments.labels_of(line) for line in canary}:
            shown = dict(sorted(both)[0])
            self.doubt(f"a series belongs to both arms: {shown}; tell the arms apart by other labels", fatal=True)
        for arm, lines in (("baseline", baseline), ("canary", canary)):
            if twice := _duplicates(lines):
                text = f"{selector}: the {arm}'s {twice} is scraped twice, so its requests would count twice"
                self.doubt(text, fatal=True)

    def check_counters(self, baseline: Increments, canary: Increments) -> None:
        """Counters that do not count, and those that were reset."""
        for arm in (baseline, canary):
            for text in arm.broken[:1]:
                self.doubt(text)
            for text in arm.bouncing[:1]:
                self.doubt(
                    f"{text}, and is back soon: several processes answer in turn (set PROMETHEUS_MULTIPROC_DIR so that "
                    "each answer has the counts of all: multiprocess mode), or it restarts again and again (a crash "
                    "loop: look at the restarts of the pod)",
                    fatal=True,
                )
        if canary.resets and not canary.bouncing:
            when = moment(canary.resets[0])
            self.doubt(
                f"the canary was restarted at {when}, and what it did just before is not known; begin a new analysis"
            )
        if baseline.resets and not baseline.bouncing:
            self.notes.append(f"{len(baseline.resets)} counter resets on the baseline, each counted on from 0")

    def check_pods(self, lives: Sequence[Lives], axis: Axis, requests: float) -> None:
        """Pods of the canary that ended while others of the same version began, as any of its series show them.

        `requests` is what a pod answers in an interval: as many may have ended with it, unseen.
        """
        replaced = max((found for one in lives if (found := _replaced(one, axis))), default=None)
        if replaced is not None:
            count, newest = replaced
            unseen = f"up to about {count * requests:,.0f} requests" if requests else "requests"
            self.doubt(
                f"{count} of the canary's pods ended and others began, the last at {moment(newest)}: a crash loop, or "
                f"a rollout in between; {unseen} that ended with a pod, after its last scrape, are not counted"
            )

    def check_presence(self, name: str, traffic: Increments, axis: Axis, selector: str) -> None:
        """A version without series, or that has vanished, or was hardly scraped."""
        if not traffic.by_series:
            self.doubt(f"no series match {name}: {selector}", fatal=True)
            return
        seen = np.flatnonzero(traffic.seen)
        if axis.end - traffic.last > GONE_INTERVALS * axis.step:
            self.doubt(f"{name} has vanished: its last sample is of {moment(traffic.last)}")
        elif seen.size and seen.size < 0.5 * (axis.size - seen[0]):
            self.doubt(f"{name} has samples in only {seen.size} of {axis.size - seen[0]} intervals")


def _replaced(lives: Lives, axis: Axis) -> tuple[int, float] | None:
    """How many pods ended after which others began, and when the last of those did; one missed scrape is no end."""
    newest = axis.end - MISSED * axis.step
    began = [first for first, _ in lives.values()]
    ended = [last for _, last in lives.values() if axis.start < last < newest]
    successors = [[first for first in began if -axis.step < first - last <= REPLACED_WITHIN] for last in ended]
    followed = [max(one) for one in successors if one]
    return (len(followed), max(followed)) if followed else None


def _duplicates(lines: Sequence[Line]) -> str:
    seen: dict[Labels, Line] = {}
    for line in lines:
        key = tuple(sorted((name, value) for name, value in line.labels.items() if name not in REPLICA_LABELS))
        other = seen.setdefault(key, line)
        if other is not line and "instance" in line.labels:
            return f"instance {line.labels['instance']}"
    return ""
