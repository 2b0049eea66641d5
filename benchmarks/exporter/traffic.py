"""Bodies to send: made once as templates, so that the generator's own work stays small."""

from __future__ import annotations

import json
import random
import time

BATCH = 100
CARRIERS = ("AA", "B6", "DL", "EV", "UA")
_THIS, _PREVIOUS = b"@@@@@@@@", b"########"


def prediction(identifier: str, number: int, rng: random.Random) -> dict[str, object]:
    """A prediction with everything one can have."""
    event: dict[str, object] = {
        "event": "prediction",
        "id": identifier,
        "ts": round(time.time(), 3),
        "version": f"v{number % 3}",
        "duration_seconds": round(rng.expovariate(50), 6),
        "features": {"distance": rng.randrange(5000), "wind": round(rng.random() * 40, 2), "carrier": "UA"},
        "trace_id": f"{rng.getrandbits(128):032x}",
    }
    if number % 4 == 0:
        return {**event, "model": "price", "prediction": round(rng.random() * 500, 2)}
    score = round(rng.random(), 4)
    late = "late" if score > 0.5 else "on_time"
    return {**event, "model": "delay", "prediction": late, "score": score, "groups": {"carrier": rng.choice(CARRIERS)}}


def label(identifier: str, number: int, rng: random.Random) -> dict[str, object]:
    """The label of the prediction with this number."""
    event: dict[str, object] = {"event": "label", "id": identifier, "ts": round(time.time() + 60, 3)}
    if number % 4 == 0:
        return {**event, "model": "price", "label": round(rng.random() * 500, 2)}
    return {**event, "model": "delay", "label": rng.choice(("late", "on_time"))}


def template(*, labels: bool = True, seed: int = 1) -> bytes:
    """NDJSON of a batch: half predictions, half the labels of the batch before it (or predictions only)."""
    rng = random.Random(seed)
    count = BATCH // 2 if labels else BATCH
    events = [prediction(f"{_THIS.decode()}-{number:02d}", number, rng) for number in range(count)]
    if labels:
        events += [label(f"{_PREVIOUS.decode()}-{number:02d}", number, rng) for number in range(count)]
        rng.shuffle(events)
    return b"".join(json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in events)


def fill(body: bytes, this: str, previous: str) -> bytes:
    """A template with the eight characters that tell this batch and the one before it."""
    return body.replace(_THIS, this.encode()).replace(_PREVIOUS, previous.encode())


def single(seed: int = 1) -> bytes:
    """One prediction, its id to be filled in."""
    return json.dumps(prediction(f"{_THIS.decode()}-00", 1, random.Random(seed)), separators=(",", ":")).encode()


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """Bytes of a request."""
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


def inference(number: int, prefix: str) -> bytes:
    """A CloudEvent of KServe's logger: requests at even numbers, each followed by its response."""
    kind, body = (
        ("request", b'{"instances":[{"distance":812,"wind":13.5,"carrier":"UA"}]}')
        if number % 2 == 0
        else ("response", b'{"predictions":[1],"model_version":"v1"}')
    )
    headers = (
        "content-type: application/json\r\nconnection: close\r\nce-specversion: 1.0\r\n"
        f"ce-id: {prefix}-{number // 2}\r\nce-type: org.kubeflow.serving.inference.{kind}\r\n"
        "ce-source: http://localhost:9081/\r\nce-inferenceservicename: iris\r\nce-namespace: default\r\n"
        "ce-component: predictor\r\nce-endpoint: \r\n"
    )
    return post("/kserve", body, headers)
