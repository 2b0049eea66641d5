"""Seeded traffic for the exporter and the stream: what Kafka would hold, and what the exporter counts of it."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from exporters import collector
from exporters.events import kserve, privacy
from exporters.events.checks import Checks
from exporters.events.state import State
from exporters.stream import reading
from midwatch.client.events import Label, Prediction
from midwatch.spec import model as spec

START = 1_700_000_000
TOPICS = ("predictions", "labels", "inference-log")
KINDS = {Prediction: "prediction", Label: "label"}


class Record(NamedTuple):
    """A record as a source gives it."""

    source: str
    partition: int
    offset: int
    arrived: int
    value: bytes
    headers: list[dict[str, Any]] | None
    is_loaded: bool = False


@dataclass(frozen=True, kw_only=True)
class World:
    """Settings, and models of each task, of which some are declared."""

    settings: spec.Exporter
    models: tuple[spec.Model, ...]
    privacy: privacy.Privacy | None


def world(folder: Path, **settings: Any) -> World:
    """Small caps, short ages, personal fields, and models of each task."""
    (folder / "key").write_text("0123456789abcdef0123456789abcdef")
    (folder / "key").chmod(0o600)
    given = {
        "label_retention": "300s",
        "remember": "200s",
        "caps": {"models": 6, "versions": 3, "classes": 4, "groups": 3},
        "personal": {"drop": ["name"], "hash": ["customer"], "key_file": "key"},
    }
    made = spec.Exporter.model_validate(given | settings)
    return World(settings=made, models=models(), privacy=privacy.load(made.personal, folder))


def models() -> tuple[spec.Model, ...]:
    """Learned and stated maturity; declared and learned classes; groups and attributions; amounts; text."""
    described = [
        {"name": "fraud", "task": "classification", "positive": "fraud", "groups": ["country", "customer"]}
        | {"label_maturity": "60s", "explanations": {"features": 4}},
        {"name": "colour", "task": "classification", "classes": ["red", "green", "blue"]},
        {"name": "price", "task": "regression", "too_old": "100s"},
        {"name": "chat", "task": "generation", "serving": "kserve"},
    ]
    return tuple(spec.Model.model_validate({"owner": "ml"} | one) for one in described)


def traffic(seed: int, seconds: int = 240, rate: int = 20) -> list[Record]:
    """Records of so many seconds: labels late, early and never, retries, faults, unknown names, both kinds of logs."""
    one = random.Random(seed)
    sent: list[tuple[float, str, bytes, list[dict[str, Any]] | None]] = []
    for number in range(seconds * rate):
        at = START + number / rate
        sent += _inference(one, at, number) if number % 10 == 0 else _events(one, at, number)
    sent += [(START + one.random() * seconds, "predictions", fault, None) for fault in _FAULTS]
    for later in (50, 1000):  # what waits is given up, and all is settled
        closing = {
            "event": "prediction",
            "id": f"closing-{later}",
            "model": "fraud",
            "version": "v1",
            "prediction": "fine",
        }
        at = START + seconds + 120 + later
        sent.append((float(at), "labels", json.dumps(closing | {"ts": at}).encode(), None))
    sent.sort(key=lambda entry: entry[0])
    offsets: Counter[tuple[str, int]] = Counter()
    records = []
    for at, topic, value, headers in sent:
        partition = one.randrange(2) if topic == "predictions" else 0
        records.append(Record(topic, partition, offsets[topic, partition], int(at * 1000), value, headers))
        offsets[topic, partition] += 1
    return records


_FAULTS = (
    b"",
    b"no json",
    b'{"event":"prediction"}',
    b'{"event":"label","id":"","model":"fraud","label":1,"ts":1}',
    b"[]",
)


def _events(one: random.Random, at: float, number: int) -> Iterator[tuple[float, str, bytes, None]]:
    model = one.choice(["fraud", "fraud", "colour", "price", "unknown-a", f"unknown-{number % 9}"])
    answer: Any = {
        "fraud": one.choice(["fraud", "fine", True]),
        "colour": one.choice(["red", "green", "violet", "somebody@example.com"]),
        "price": one.choice([1.5, 2, 100.25, "a lot"]) if number % 40 == 1 else round(one.uniform(1, 9) * 64) / 64,
    }.get(model, one.choice(["yes", "no", f"class-{number % 7}"]))
    event: dict[str, Any] = {
        "event": "prediction",
        "id": f"id-{number}",
        "model": model,
        "version": one.choice(["v1", "v1", "v2", f"v{number % 6}"]),
        "ts": at - one.choice([0, 0, 0.5, 90, 150, 250]) if number % 5 == 0 else at,
        "duration_seconds": one.randrange(1, 512) / 1024,
        "prediction": answer,
        "score": one.randrange(0, 257) / 256,
        "groups": {
            "country": one.choice(["de", "fr", f"c{number % 8}"]),
            "customer": f"person {number % 5}",
            "name": "Ann",
        },
        "trace_id": f"{number:032x}",
    }
    if model == "fraud" and number % 3 == 0:
        event["attributions"] = {f"f{place}": one.randrange(-64, 64) / 64 for place in range(one.randrange(1, 7))}
    if number % 23 == 0:
        event |= {"outcome": "error", "prediction": None}
    yield at, "predictions", json.dumps(event).encode(), None
    if number % 11 == 0:
        yield at + one.choice([0.001, 3, 70]), "predictions", json.dumps(event).encode(), None
    if number % 4 == 0:
        return
    truth = one.choice([answer, answer, "fine", "red", 3.5])
    label = {"event": "label", "id": f"id-{number}", "model": model, "label": truth, "ts": at + 30}
    delay = one.choice([-20, -0.5, 0.2, 5, 30, 59, 61, 120])
    if model == "fraud" and number % 37 == 1 and number % 5 and number % 23 and 0 < delay <= 30:
        label["model"] = "nobody-knows"
    came = max(float(START), at + delay)
    yield came, "labels", json.dumps(label).encode(), None
    if number % 13 == 0:
        yield came + 2, "labels", json.dumps([label, label]).encode(), None


def _inference(
    one: random.Random, at: float, number: int
) -> Iterator[tuple[float, str, bytes, list[dict[str, Any]] | None]]:
    """Request and response of a model server; answers of a chat with tokens, of others with rows, and their labels."""
    rows = one.choice([1, 1, 3])
    if number % 20 == 0:
        model, asked = "chat", {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        said: dict[str, Any] = {
            "object": "chat.completion",
            "model": "m",
            "choices": [{"index": 0, "finish_reason": one.choice(["stop", "length"]), "message": {"content": "hi"}}],
            "usage": {"prompt_tokens": 5, "completion_tokens": one.randrange(1, 9)},
        }
    else:
        model, asked = "colour", {"instances": [[1, 2]] * rows}
        said = {"predictions": [one.choice(["red", "blue"]) for _ in range(rows + (number % 70 == 10))]}
    identifier = f"log-{number}"
    for kind, body, later in (("request", asked, 0.0), ("response", said, 0.25)):
        if number % 110 == 30 and kind == "response":
            continue
        attributes = {
            "ce_type": f"org.kubeflow.serving.inference.{kind}",
            "ce_id": identifier,
            "ce_inferenceservicename": model,
            "ce_time": "2023-11-14T22:13:20Z" if kind == "request" else "2023-11-14T22:13:20.5Z",
            "ce_specversion": "1.0",
            "ce_source": "kserve",
        }
        headers = [{"key": name, "value": text.encode()} for name, text in attributes.items()]
        yield at + later, "inference-log", json.dumps(body).encode(), headers
        if number % 50 == 0:
            plain = {name.removeprefix("ce_"): text for name, text in attributes.items()} | {"data": body}
            structured = [{"key": "content-type", "value": b"application/cloudevents+json"}]
            yield at + later + 1, "inference-log", json.dumps(plain).encode(), structured
    if model == "colour":
        name = identifier if rows == 1 else f"{identifier}/1"
        label = {"event": "label", "id": name, "model": "colour", "label": "red", "ts": at + 9}
        yield max(float(START), at + one.choice([-3, 4])), "labels", json.dumps(label).encode(), None


def in_order(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (record.arrived, record.source, record.partition, record.offset))


def counted_by_the_exporter(given: World, records: Sequence[Record]) -> tuple[State, Counter[tuple[str, str, str]]]:
    """The exporter's State, and what it refused: records that arrive in one second are a group of its journal."""
    state, results = State(given.settings, given.models), Counter[tuple[str, str, str]]()
    checks = Checks(given.settings, given.models, given.privacy, state.counters)
    names = kserve.Models.of(given.models)
    for second, run in groupby(in_order(records), key=lambda record: record.arrived // 1000):
        now = float(second)
        items: list[Any] = []
        for record in run:
            try:
                read, refused = reading.read(record.value, record.headers, now, names, given.settings.max_body)
            except reading.UnreadableRecordError as error:
                results[error.kind, "malformed", error.reason] += 1
                continue
            items += [(len(items) + place, event) for place, (_, event) in enumerate(read)]
            results.update(("event", "malformed", one.reason) for one in refused)
        checked = checks.check(items, now)
        for one in checked.refused:
            results["event" if KINDS.get(type(items[one.line][1])) else "half", "malformed", one.reason] += 1
        events = [event for _, event in checked.good]
        for event in events:  # one by one, as the stream looks at them
            (verdict,) = state.admit([event])
            if verdict is None:
                state.apply(now, [event])
            else:
                results[KINDS.get(type(event), "half"), *verdict] += 1
    return state, results


def lines(state: State) -> list[str]:
    """What is published, without the exporter's own measurements; of which order says when each was seen first."""
    return sorted(collector.exposed(collector.View(state.published(), [], None)).decode().splitlines())
