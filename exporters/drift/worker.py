"""The drift judge: a process beside the exporter that reads its journal, judges windows, and says what it found.

Ingestion never waits for it. Windows' counts and the place in the journal are written together, so a restart neither
loses nor counts twice. It ends when the exporter does. What it cannot use or judge it passes over, and says so.
Standard output: JSON lines at each change, with all its metrics.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from exporters.drift import halves, published, windows
from exporters.events import journal, private_files, store
from midwatch import files, metrics, telemetry
from midwatch.client.events import Label, Prediction
from midwatch.errors import MidwatchError
from midwatch.spec import load
from midwatch.spec import model as spec
from monitors.drift import reference, reference_file, retraining, verdict

PAUSE = 0.2
"""Seconds between two looks at the journal."""

SAVE_EVERY = 1.0

OLD_WINDOWS = 3
"""A verdict older than so many windows is none, as ModelInputDrift has it: an exporter whose clients have gone to that
of another region must not go on saying what its last window said."""

FAILING_SECONDS = 600.0
"""So long after something could not be judged the judge says that it fails: longer than its alert waits."""

_log = logging.getLogger(__name__)

Key = tuple[str, str]


class Saved(msgspec.Struct):
    """What survives: the place in the journal, open windows, and what is published. Keys are `model` and `version`."""

    segment: int = 0
    offset: int = 0
    streams: list[tuple[str, str, windows.SavedStream]] = []
    gauges: list[tuple[str, dict[str, str], float]] = []
    verdicts: list[tuple[str, str, str, int]] = []
    retraining: retraining.Saved = msgspec.field(default_factory=retraining.Saved)
    halves: list[bytes] = []


class Judge:
    """Windows of every watched model, and what their verdicts lead to. `folder` is the judge's own."""

    def __init__(self, platform: spec.Platform, base: Path, folder: Path, saved: Saved) -> None:
        self.retraining = retraining.Retraining(platform, base, folder, saved.retraining)
        self._models = {model.name: model.drift for model in platform.models if model.drift}
        self._references = {}
        for name, drift in self._models.items():
            path = base / drift.reference
            self._references[name] = reference_file.load(path)
            reference.ensure_schema(self._references[name], drift.features, path, whole=drift.looks_at_rows)
        self._caps = platform.exporter.caps
        self.position = journal.Position(saved.segment, saved.offset)
        self._halves = halves.Halves(saved.halves)
        self._failed = -math.inf
        self._gauges = {(name, tuple(labels.items())): value for name, labels, value in saved.gauges}
        self._verdicts = {(model, version, name): count for model, version, name, count in saved.verdicts}
        self._streams: dict[Key, windows.Stream] = {}
        for model, version, stream in saved.streams:
            if model in self._models and self._admitted(model, version) == version:
                self._stream(model, version).restore(stream)
        self._bound_versions()

    def failed(self, what: str) -> None:
        """Say that something could not be done, with the error that is being handled, and that the judge fails."""
        _log.exception("%s", what)
        self._failed = time.monotonic()

    @property
    def is_failing(self) -> bool:
        """Whether something could not be judged lately."""
        return time.monotonic() - self._failed < FAILING_SECONDS

    def read(self, frame: journal.Frame) -> None:
        """Take the predictions of a frame, also those of inference logs; what cannot be used is passed over."""
        events: list[Prediction] = []
        try:
            for event in store.decode_events(frame):
                if isinstance(event, Prediction):
                    events.append(event)
                elif not isinstance(event, Label) and event.model in self._models:
                    events += self._halves.take(frame.time, event)
            self.take(events)
        except Exception:  # the next start would meet the same frame
            self.failed("events of the journal could not be counted into drift windows")
        self.position = frame.end

    def take(self, events: list[Prediction]) -> None:
        """Count predictions into the windows of their model and version."""
        groups: dict[Key, list[Prediction]] = defaultdict(list)
        for event in events:
            if event.model in self._models and event.outcome == "ok":
                key = event.model, self._admitted(event.model, event.version)
                self._stream(*key)
                groups[key].append(event)
        for key, members in groups.items():
            self._stream(*key).take(members)

    def _admitted(self, model: str, version: str) -> str:
        """The version as it is judged: beyond the cap of versions that are looked at together it is `other`."""
        if (model, version) in self._streams:
            return version
        known = sum(name == model for name, _ in self._streams) - ((model, metrics.OTHER) in self._streams)
        return version if known < self._caps.versions else metrics.OTHER

    def _stream(self, model: str, version: str) -> windows.Stream:
        key = (model, version)
        if key not in self._streams:
            drift, fitted = self._models[model], self._references[model]
            embedding = fitted.joint.embedding if drift.looks_at_rows else None
            self._streams[key] = windows.Stream(drift, fitted.features, embedding)
        return self._streams[key]

    def close(self, now: float) -> bool:
        """Judge the windows that have ended, and forget old verdicts; whether there was either."""
        ended = self._forget(now)
        for (model, version), stream in self._streams.items():
            for window in stream.close(now):
                with telemetry.span("judge drift window", model=model, version=version, samples=window.samples):
                    self._judge_safely(model, version, window)
                ended = True
        return ended

    def _judge_safely(self, model: str, version: str, window: windows.Window) -> None:
        try:
            self._judge(model, version, window)
        except Exception:
            self.failed(f"the drift window of {model} {version} could not be judged")
            self._unset({"model": model, "version": version}, published.VERDICT)
            key = (model, version, verdict.Verdict.INCONCLUSIVE.value)
            self._verdicts[key] = self._verdicts.get(key, 0) + 1

    def _judge(self, model: str, version: str, window: windows.Window) -> None:
        drift, fitted = self._models[model], self._references[model]
        judgement = verdict.judge(
            {name: fitted.features[name].coarse for name in window.counts},
            window.counts,
            samples=window.samples,
            methods=drift.methods,
            quorum=drift.quorum,
            alpha=verdict.window_alpha(drift.false_alarms, window.seconds),
            min_samples=drift.min_samples,
            together=None if window.rows is None else (fitted.joint, window.rows.rows),
            phase=fitted.phase(window.end - drift.window / 2, drift.window),
        )
        _log.info(
            "drift window judged",
            extra={"model": model, "version": version, "verdict": judgement.verdict.value, "reason": judgement.reason},
        )
        self.retraining.observe(model, version, judgement, window.end)
        key = (model, version, judgement.verdict.value)
        self._verdicts[key] = self._verdicts.get(key, 0) + 1
        where = {"model": model, "version": version}
        self._set(metrics.DRIFT_WINDOW_SAMPLES, where, judgement.samples)
        self._set(metrics.DRIFT_WINDOW_END, where, window.end)
        self._set(metrics.DRIFT_QUORUM, {"model": model}, judgement.needed)
        self._unset(where, (metrics.DRIFT_ROWS_NEEDED, metrics.DRIFT_SMALLEST_SEEN))
        if judgement.verdict is verdict.Verdict.INCONCLUSIVE:
            self._unset(where, published.VERDICT)  # the votes of an earlier window say nothing of this one
        if judgement.samples >= drift.min_samples:
            self._say_what_was_judged(where, window, judgement)
        if judgement.verdict is verdict.Verdict.INCONCLUSIVE:
            return
        self._set(metrics.DRIFT_VOTES, where, judgement.votes)
        self._set(metrics.DRIFT_DETECTED, where, judgement.verdict is verdict.Verdict.DRIFT)
        for finding in (*judgement.findings, *judgement.quality):
            labels = {**where, "feature": finding.feature, "method": finding.method}
            self._set(metrics.DRIFT_VOTE, labels, finding.votes)
            self._set(metrics.DRIFT_STATISTIC, labels, finding.result.statistic)
            self._set(metrics.DRIFT_P_VALUE, labels, finding.result.p_value)
            self._set(metrics.DRIFT_EFFECT, labels, finding.result.effect)

    def _say_what_was_judged(self, where: dict[str, str], window: windows.Window, judgement: verdict.Judgement) -> None:
        unjudged = {one.feature: one for one in judgement.not_judged}
        for name in {*window.counts, *unjudged}:
            self._set(metrics.DRIFT_JUDGED, {**where, "feature": name}, name not in unjudged)
        for name, one in unjudged.items():
            if one.rows is not None:
                self._set(metrics.DRIFT_ROWS_NEEDED, {**where, "feature": name}, one.rows)
        for finding in judgement.findings:
            labels = {**where, "feature": finding.feature, "method": finding.method}
            self._set(metrics.DRIFT_SMALLEST_SEEN, labels, finding.smallest)

    def _set(self, metric: metrics.Metric, labels: dict[str, str], value: float) -> None:
        self._gauges[metric.name, tuple(labels.items())] = float(value)

    def _unset(self, where: dict[str, str], gone: Sequence[metrics.Metric]) -> bool:
        names = {metric.name for metric in gone}
        keys = [key for key in self._gauges if key[0] in names and set(where.items()) <= set(key[1])]
        for key in keys:
            del self._gauges[key]
        return bool(keys)

    def _forget(self, now: float) -> bool:
        """Take back what old windows said; when they ended stays, for who asks why there is no newer one."""
        old = [
            dict(labels)
            for (name, labels), end in self._gauges.items()
            if name == metrics.DRIFT_WINDOW_END.name and self._is_old(dict(labels)["model"], now - end)
        ]
        for where in old:
            key = (where["model"], where["version"])
            if key in self._streams and not self._streams[key].is_open:
                del self._streams[key]  # another version may have its place
        gone = sum(self._unset(where, (*published.VERDICT, metrics.DRIFT_WINDOW_SAMPLES)) for where in old) > 0
        return self._bound_versions() or gone

    def _bound_versions(self) -> bool:
        """Let the versions go whose last window ended longest ago, beyond twice as many as are looked at together."""
        ends: dict[str, dict[str, float]] = defaultdict(dict)
        for model, version, _ in self._verdicts:
            ends[model][version] = 0.0
        for (name, labels), end in self._gauges.items():
            if name == metrics.DRIFT_WINDOW_END.name:
                ends[dict(labels)["model"]][dict(labels)["version"]] = end
        gone: set[Key] = set()
        for model, versions in ends.items():
            idle = sorted((end, version) for version, end in versions.items() if (model, version) not in self._streams)
            gone.update((model, version) for _, version in idle[: max(0, len(versions) - 2 * self._caps.versions)])
        if gone:
            self._verdicts = {key: count for key, count in self._verdicts.items() if key[:2] not in gone}
            self._gauges = {key: value for key, value in self._gauges.items() if _version_of(key[1]) not in gone}
        return bool(gone)

    def _is_old(self, model: str, age: float) -> bool:
        return model in self._models and age > OLD_WINDOWS * self._models[model].window

    def saved(self) -> Saved:
        """Everything to keep."""
        return Saved(
            segment=self.position.segment,
            offset=self.position.offset,
            streams=[(*key, stream.saved()) for key, stream in self._streams.items()],
            gauges=[(name, dict(labels), value) for (name, labels), value in self._gauges.items()],
            verdicts=[(*key, count) for key, count in self._verdicts.items()],
            retraining=self.retraining.saved(),
            halves=self._halves.saved(),
        )

    def samples(self) -> list[tuple[str, dict[str, str], float]]:
        """Every metric to publish."""
        windows = [
            (metrics.DRIFT_WINDOWS.name, {"model": model, "version": version, "verdict": name}, float(count))
            for (model, version, name), count in self._verdicts.items()
        ]
        gauges = [(name, dict(labels), value) for (name, labels), value in self._gauges.items()]
        return published.most_important(gauges + windows + self.retraining.samples(), self._caps.series)


def _version_of(labels: tuple[tuple[str, str], ...]) -> Key:
    named = dict(labels)
    return named["model"], named.get("version", "")


def run(state: Path, platform_file: Path) -> None:
    """Judge for ever."""
    folder = state / "drift"
    private_files.make_inner_folder(folder)
    judge = Judge(load.load_platform(platform_file), load.base_folder(platform_file), folder, _restored(folder))
    _say(judge)
    saved_at = 0.0
    was_failing = False
    while True:
        changed = _read(judge, state)
        # A window closes on time only when everything before its end has been read.
        if judge.close(time.time()):
            changed = True
            _save(folder, judge)
            _say(judge)
        if judge.retraining.step(time.time(), lambda: _save(folder, judge)) or judge.is_failing != was_failing:
            was_failing = judge.is_failing
            _say(judge)
        if changed and time.monotonic() - saved_at > SAVE_EVERY:
            _save(folder, judge)
            saved_at = time.monotonic()
        if not changed:
            time.sleep(PAUSE)


def _read(judge: Judge, state: Path) -> bool:
    begun = judge.position
    try:
        for frame in journal.follow(state, judge.position):
            judge.read(frame)
    except journal.GapError as gap:
        _log.error("part of the journal was deleted before it was read: drift windows miss events")
        judge.position = gap.resume
    except OSError:
        judge.failed("the journal could not be read")
    return judge.position != begun


def _restored(folder: Path) -> Saved:
    try:
        return msgspec.json.decode((folder / "windows.json").read_bytes(), type=Saved)
    except FileNotFoundError:
        return Saved()
    except msgspec.MsgspecError:
        _log.exception("open drift windows could not be read and begin anew")
        return Saved()


def _save(folder: Path, judge: Judge) -> None:
    """Windows and place in one file, so that they always belong together; the place again for the journal's keeper."""
    place = {"segment": judge.position.segment, "offset": judge.position.offset}
    try:
        files.replace(folder / "windows.json", msgspec.json.encode(judge.saved()))
        files.replace(folder / "position.json", json.dumps(place).encode())
    except MidwatchError:
        judge.failed("drift windows could not be kept")


def _say(judge: Judge) -> None:
    for line in published.lines(judge.samples(), is_failing=judge.is_failing):
        sys.stdout.buffer.write(line)
    sys.stdout.flush()


def _end_with_parent() -> None:
    """End when the exporter does, however it ends: its end of our standard input closes then."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: list[str] | None = None) -> Any:
    """Entry of `python -m exporters.drift.worker`."""
    parser = argparse.ArgumentParser(description="Judge drift windows from an exporter's journal.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--platform", type=Path, required=True)
    options = parser.parse_args(arguments)
    telemetry.setup("midwatch-drift")
    os.nice(10)  # ingestion comes first
    _end_with_parent()
    run(options.state, options.platform)


if __name__ == "__main__":
    main()
