"""Windows of every watched model, their verdicts, and what is published of both."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import msgspec

from exporters.drift import halves, shares, state, windows
from exporters.drift.counted import Counting
from exporters.drift.published import OF_A_WINDOW, SHARES, Board, Entry, Group
from exporters.drift.references import Watched
from exporters.drift.windows import Part
from exporters.events import journal, store
from exporters.events.journal_time import Reading
from midwatch import metrics, telemetry
from midwatch.client.events import Label, Prediction
from midwatch.errors import MidwatchError
from midwatch.spec import model as spec
from monitors.drift import quality, retraining, verdict

OLD_WINDOWS = 3
"""A verdict older than so many windows is none, as ModelInputDrift has it: an exporter whose clients have gone to that
of another region must not go on saying what its last window said."""

FAILING_SECONDS = 600.0
"""So long after something could not be judged the judge says that it fails: longer than its alert waits."""

_log = logging.getLogger(__name__)
_decode_reading = msgspec.msgpack.Decoder(Reading).decode

Key = tuple[str, str]
"""Model and version."""


@dataclass(kw_only=True)
class Record:
    """When a version's last window ended, how many rows it had, and how many windows had each verdict."""

    end: float | None = None
    samples: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, name: verdict.Verdict) -> None:
        """Count a window."""
        self.counts[name.value] = self.counts.get(name.value, 0) + 1

    def entry(self, key: Key, *, is_old: bool = False) -> Entry:
        """What is published of it."""
        where = {"model": key[0], "version": key[1]}
        values = {} if self.end is None else {metrics.DRIFT_WINDOW_END.name: self.end}
        if self.end is not None and not is_old:
            values[metrics.DRIFT_WINDOW_SAMPLES.name] = self.samples
        counts: list[Group] = [
            ({**where, "verdict": name}, {metrics.DRIFT_WINDOWS.name: float(count)})
            for name, count in self.counts.items()
        ]
        return Entry.of(("record", *key), [*([(where, values)] if values else []), *counts])


class Judge:
    """Windows of every watched model, and what their verdicts lead to. `folder` is the judge's own.

    `of_version` says what a version is judged by that has a reference of its own, None for any other.
    """

    def __init__(
        self,
        platform: spec.Platform,
        base: Path,
        folder: Path,
        watched: Mapping[str, Watched],
        saved: state.Saved,
        of_version: Callable[[str, str], Watched | None] = lambda _model, _version: None,
    ) -> None:
        head = saved.head
        self.retraining = retraining.Retraining(platform, base, folder, head.retraining)
        self.board = Board(platform.exporter.caps.series)
        self.position = journal.Position(head.segment, head.offset)
        self._watched = dict(watched)
        self._unwatched = {model.name for model in platform.models if model.drift} - watched.keys()
        self._set_aside: list[state.Stream] = []
        self._versions = platform.exporter.caps.versions
        self._classes = {model.name: model.class_names for model in platform.models}
        self._wall_offset = head.wall_offset
        self._read_until = -math.inf
        self._halves = halves.Halves(saved.halves)
        self._failed = -math.inf
        self._waiting_since: float | None = None
        self._of_version = of_version
        self._judged_by: dict[Key, Watched] = {}
        self._streams: dict[Key, windows.Stream] = {}
        self._streams_of: dict[str, set[str]] = defaultdict(set)
        self._records: dict[Key, Record] = {}
        self._records_of: dict[str, set[str]] = defaultdict(set)
        self._restore(saved)

    def _restore(self, saved: state.Saved) -> None:
        for model, version, end, samples, counts in saved.head.records:
            if model in self._watched or model in self._unwatched:
                self._records[model, version] = Record(end=end, samples=samples, counts=counts)
                self._records_of[model].add(version)
        for model, version, stream in saved.streams:
            if model in self._watched:
                self._restore_stream(model, version, stream)
            elif model in self._unwatched:
                self._set_aside.append((model, version, stream))
        for entry in saved.entries:
            if entry.subject[1] in self._watched:
                self.board.put(entry)
        for model in list(self._records_of):
            self._bound_versions(model)
        for key, record in self._records.items():
            self.board.put(record.entry(key, is_old=("verdict", *key) not in self.board))
        self.publish_retraining()

    def _restore_stream(self, model: str, version: str, stream: windows.SavedStream) -> None:
        if self._admitted(model, version) == version:
            self._stream(model, version).restore(stream)

    def watch(self, model: str, watched: Watched) -> None:
        """Judge a model whose reference could not be used before, from here on; its open windows go on."""
        self._watched[model] = watched
        self._unwatched.discard(model)
        kept = [one for one in self._set_aside if one[0] == model]
        self._set_aside = [one for one in self._set_aside if one[0] != model]
        for _, version, stream in kept:
            self._restore_stream(model, version, stream)

    def replace(self, model: str, watched: Watched) -> bool:
        """Judge a model by another reference from here on, if it is another; its open windows begin anew then."""
        before = self._watched.get(model)
        if before is None or before.identity == watched.identity:
            return False
        self._watched[model] = watched
        for version in [one for one in self._streams_of[model] if self._judged_by[model, one] is before]:
            del self._streams[model, version], self._judged_by[model, version]
            self._streams_of[model].discard(version)
        _log.warning("drift of model %s is judged by the reference that was put there; open windows begin anew", model)
        return True

    # Failures ----------------------------------------------------------------------------------------------------

    def failed(self, what: str) -> None:
        """Say that something could not be done, with the error that is being handled, and that the judge fails."""
        _log.exception("%s", what)
        self._failed = time.monotonic()

    @property
    def is_failing(self) -> bool:
        """Whether a model cannot be judged, or something could not be lately."""
        return bool(self._unwatched) or time.monotonic() - self._failed < FAILING_SECONDS

    @property
    def lost_rows(self) -> int:
        """Rows of inference logs that had no room to wait for their other half."""
        return self._halves.lost_rows

    # Reading -----------------------------------------------------------------------------------------------------

    @property
    def read_until(self) -> float:
        """The wall clock's time when what was read last was written: all before it has been read."""
        return self._read_until

    def read(self, frame: journal.Frame) -> None:
        """Take the predictions of a frame, also those of inference logs; what cannot be used is passed over."""
        try:
            if frame.kind == journal.CLOCK:
                reading = _decode_reading(frame.body)
                self._wall_offset = reading.wall - reading.at
            else:
                self.take(self._predictions(frame))
        except Exception:  # the next start would meet the same frame
            self.failed("events of the journal could not be counted into drift windows")
        if frame.kind in (journal.EVENTS, journal.LOADED):
            self._read_until = frame.time + self._wall_offset
        self.position = frame.end

    def _predictions(self, frame: journal.Frame) -> Iterator[Prediction]:
        for event in store.decode_events(frame):
            if isinstance(event, Prediction):
                yield event
            elif not isinstance(event, Label) and event.model in self._watched:
                yield from self._halves.take(frame.time, event)

    def take(self, events: Iterator[Prediction] | Sequence[Prediction]) -> None:
        """Count predictions into the windows of their model and version."""
        groups: dict[Key, list[Prediction]] = defaultdict(list)
        admitted: dict[Key, Key] = {}
        for event in events:
            if event.outcome == "ok" and event.model in self._watched:
                seen = event.model, event.version
                if seen not in admitted:
                    admitted |= self.admit([seen])
                groups[admitted[seen]].append(event)
        for key, members in groups.items():
            self._streams[key].take(members)

    def admit(self, seen: Iterable[Key]) -> dict[Key, Key]:
        """By versions in the order of their arrival, which versions they are judged as; none of unwatched models."""
        admitted = {}
        for model, version in seen:
            if model in self._watched:
                admitted[model, version] = key = model, self._admitted(model, version)
                self._stream(*key)
        return admitted

    def counting(self, key: Key) -> Counting:
        """How rows of an admitted version are counted that are not taken one by one."""
        one = self._judged_by[key]
        return Counting(schema=one.schema, identity=one.identity, rule=self._streams[key].rule)

    def merge(self, key: Key, parts: Iterable[Part]) -> None:
        """Take in rows of an admitted version that were counted as `counting` says, with no other rows in between."""
        self._streams[key].merge(parts)

    def _admitted(self, model: str, version: str) -> str:
        """The version as it is judged: beyond the cap of versions that are looked at together it is `other`."""
        known = self._streams_of[model]
        if version in known or len(known - {metrics.OTHER}) < self._versions:
            return version
        return metrics.OTHER

    def _stream(self, model: str, version: str) -> windows.Stream:
        key = (model, version)
        if key not in self._streams:
            one = self._judged_by[key] = self._own(model, version) or self._watched[model]
            self._streams[key] = windows.Stream(one.drift, one.schema, one.identity)
            self._streams_of[model].add(version)
        return self._streams[key]

    def _own(self, model: str, version: str) -> Watched | None:
        try:
            return self._of_version(model, version)
        except (MidwatchError, OSError):
            self.failed(f"the reference of {model} {version} cannot be used: it is judged by that of the model")
            return None

    def _record(self, key: Key) -> Record:
        if key not in self._records:
            self._records[key] = Record()
            self._records_of[key[0]].add(key[1])
        return self._records[key]

    # Judging -----------------------------------------------------------------------------------------------------

    @property
    def waiting_seconds(self) -> float:
        """Seconds since no window waited that has ended: 0 when none does."""
        since = self._waiting_since  # a scrape reads it beside who judges
        return 0.0 if since is None else time.monotonic() - since

    def close(self, now: float, until: float = math.inf) -> bool:
        """Judge windows that have ended, the oldest first, and forget old verdicts; whether there was either.

        No other window is begun after `until`, by the monotonic clock.
        """
        ended = self._forget(now)
        begun = time.monotonic()
        due = sorted((stream.due, key) for key, stream in self._streams.items() if stream.due <= now)
        for _, key in due:
            for window in self._streams[key].close(now):
                with telemetry.span("judge drift window", model=key[0], version=key[1], samples=window.samples):
                    self._judge_safely(key, window)
                ended = True
                if time.monotonic() > until:
                    self._waiting_since = self._waiting_since or begun
                    return ended
        self._waiting_since = None
        return ended

    def _judge_safely(self, key: Key, window: windows.Window) -> None:
        try:
            self._judge(key, window)
        except Exception:
            self.failed(f"the drift window of {key[0]} {key[1]} could not be judged")
            self._take_back(key)
            self._record(key).count(verdict.Verdict.INCONCLUSIVE)
        self.board.put(self._records[key].entry(key))
        self._bound_versions(key[0])

    def _judge(self, key: Key, window: windows.Window) -> None:
        model, version = key
        one = self._judged_by[key]
        judgement = verdict.judge(
            {name: one.reference.features[name] for name in window.counts},
            window.counts,
            samples=window.samples,
            methods=one.drift.methods,
            quorum=one.drift.quorum,
            alpha=verdict.window_alpha(one.drift.false_alarms, window.seconds),
            min_samples=one.drift.min_samples,
            together=None if window.rows is None else (one.reference.joint, window.rows.rows),
            phase=one.reference.phase(window.end - one.drift.window / 2, one.drift.window),
        )
        _log.info(
            "drift window judged",
            extra={"model": model, "version": version, "verdict": judgement.verdict.value, "reason": judgement.reason},
        )
        self.retraining.observe(model, version, judgement, start=window.start, end=window.end)
        record = self._record(key)
        record.count(judgement.verdict)
        record.end, record.samples = window.end, float(judgement.samples)
        quorum: Group = ({"model": model}, {metrics.DRIFT_QUORUM.name: float(judgement.needed)})
        self.board.put(Entry.of(("model", model, ""), [quorum]))
        has_enough = judgement.samples >= one.drift.min_samples
        self.board.put(_entry(key, list(window.counts), judgement, has_enough=has_enough))
        self._publish_shares(key, one, window, judgement)
        self.publish_retraining(key)

    def _publish_shares(self, key: Key, one: Watched, window: windows.Window, judgement: verdict.Judgement) -> None:
        subject = (SHARES, *key)
        if judgement.verdict is verdict.Verdict.INCONCLUSIVE:
            self.board.remove(subject)
            return
        where = {"model": key[0], "version": key[1]}
        told = shares.of_window(where, one.reference.features, window.counts, judgement, self._classes[key[0]])
        self.board.put(Entry.of(subject, [], list(told)))

    def publish_retraining(self, key: Key | None = None) -> None:
        """Publish episodes and triggers: those of a version, or all."""
        subjects: dict[tuple[str, str, str], list[Group]] = defaultdict(list)
        for name, labels, value in self.retraining.samples(key):
            subjects["retraining", labels["model"], labels.get("version", "")].append((labels, {name: value}))
        for subject, groups in subjects.items():
            self.board.put(Entry.of(subject, groups))

    # Forgetting --------------------------------------------------------------------------------------------------

    def _take_back(self, key: Key) -> None:
        """Publish nothing any more that a window said."""
        for kind in OF_A_WINDOW:
            self.board.remove((kind, *key))

    def _forget(self, now: float) -> bool:
        """Take back what old windows said; when they ended stays, for who asks why there is no newer one."""
        gone = False
        for key, record in self._records.items():
            if record.end is None or not self._is_old(key[0], now - record.end):
                continue
            if key in self._streams and not self._streams[key].is_open:
                del self._streams[key], self._judged_by[key]  # another version may have its place
                self._streams_of[key[0]].discard(key[1])
            if ("verdict", *key) in self.board:
                self._take_back(key)
                self.board.put(record.entry(key, is_old=True))
                gone = True
        return gone

    def _is_old(self, model: str, age: float) -> bool:
        return model in self._watched and age > OLD_WINDOWS * self._watched[model].drift.window

    def _bound_versions(self, model: str) -> None:
        """Let the versions go whose last window ended longest ago, beyond twice as many as are looked at together."""
        known = self._records_of[model]
        idle = sorted(
            (self._records[model, version].end or 0.0, version)
            for version in known
            if (model, version) not in self._streams
        )
        for _, version in idle[: max(0, len(known) - 2 * self._versions)]:
            known.discard(version)
            del self._records[model, version]
            self.retraining.forget(model, version)
            for kind in (*OF_A_WINDOW, "record", "retraining"):
                self.board.remove((kind, model, version))

    # Keeping -----------------------------------------------------------------------------------------------------

    def saved(self) -> state.Saved:
        """Everything to keep."""
        head = state.Head(
            self.position.segment,
            self.position.offset,
            self._wall_offset,
            [(*key, one.end, one.samples, one.counts) for key, one in self._records.items()],
            self.retraining.saved(),
        )
        streams = chain(((*key, stream.saved()) for key, stream in self._streams.items()), self._set_aside)
        entries = (entry for entry in self.board.entries() if entry.subject[0] in (*OF_A_WINDOW, "model"))
        return state.Saved(head, streams, entries, self._halves.saved())


def _entry(key: Key, features: Sequence[str], judgement: verdict.Judgement, *, has_enough: bool) -> Entry:
    """What is published of a verdict; without one, of an inconclusive window, what could not be judged."""
    where = {"model": key[0], "version": key[1]}
    is_decided = judgement.verdict is not verdict.Verdict.INCONCLUSIVE
    head: list[Group] = []
    if is_decided:
        detected = float(judgement.verdict is verdict.Verdict.DRIFT)
        votes = {metrics.DRIFT_VOTES.name: float(judgement.votes), metrics.DRIFT_DETECTED.name: detected}
        head.append((where, votes))
    details: list[Group] = list(_judged(where, features, judgement)) if has_enough else []
    for finding in (*judgement.findings, *judgement.quality):
        values = {}
        if is_decided:
            values = {
                metrics.DRIFT_VOTE.name: float(finding.votes),
                metrics.DRIFT_STATISTIC.name: float(finding.result.statistic),
                metrics.DRIFT_P_VALUE.name: float(finding.result.p_value),
                metrics.DRIFT_EFFECT.name: float(finding.result.effect),
            }
        if has_enough and finding.method not in quality.CHECKS:
            values[metrics.DRIFT_SMALLEST_SEEN.name] = float(finding.smallest)
        if values:
            details.append(({**where, "feature": finding.feature, "method": finding.method}, values))
    return Entry.of(("verdict", *key), head, details)


def _judged(where: dict[str, str], features: Sequence[str], judgement: verdict.Judgement) -> Iterator[Group]:
    unjudged = {one.feature: one for one in judgement.not_judged}
    for name in dict.fromkeys((*features, *unjudged)):
        values = {metrics.DRIFT_JUDGED.name: float(name not in unjudged)}
        if name in unjudged and (rows := unjudged[name].rows) is not None:
            values[metrics.DRIFT_ROWS_NEEDED.name] = float(rows)
        yield {**where, "feature": name}, values
