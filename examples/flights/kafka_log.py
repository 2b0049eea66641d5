"""The platform's prediction log in Kafka: a broker of its own, and an address that takes events and writes them there.

On a platform that has Kafka, model servers write their prediction logs to a topic themselves. Here they send them by
HTTP, as without Kafka, and this writes each event to the topic, keyed by its id: predictions and labels of one id are
in one partition. It answers once the broker has them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from aiohttp import web
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from midwatch import kafka_broker, processes
from midwatch.ports import free_ports

STARTING_SECONDS = 120.0
FLUSH_SECONDS = 10.0
MOST_BYTES = 16 * 2**20


def run_broker(folder: Path, port: int, topic: str, partitions: int) -> None:
    """Run a broker with the topic until one of the two ends."""
    prepared = kafka_broker.prepare(folder, port, free_ports()[0])
    process = subprocess.Popen(prepared.command, cwd=folder, preexec_fn=processes.end_with_parent)  # noqa: PLW1509
    try:
        create_topic(prepared.servers, topic, partitions)
        process.wait()
    finally:
        process.kill()
        process.wait()


def create_topic(servers: str, name: str, partitions: int) -> None:
    """Create the topic as soon as the broker answers."""
    client = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    deadline = time.monotonic() + STARTING_SECONDS
    while True:
        try:
            if name not in client.list_topics(timeout=1).topics:
                for future in client.create_topics([NewTopic(name, partitions, 1)]).values():
                    future.result()
            return
        except KafkaException:
            if time.monotonic() > deadline:
                raise


class Bridge:
    """Writes events of requests to a topic."""

    def __init__(self, servers: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 5})
        self._topic = topic

    async def take(self, request: web.Request) -> web.Response:
        """Write the events of a body, one a line; 503, so that they are sent again, when the broker has not all."""
        lines = [line for line in (await request.read()).splitlines() if line.strip()]
        failed = await asyncio.to_thread(self._write, lines)
        if failed:
            return web.json_response({"error": failed}, status=503)
        answer: dict[str, Any] = {"accepted": len(lines), "duplicates": 0, "dropped": 0, "refused": []}
        return web.json_response(answer)

    def _write(self, lines: list[bytes]) -> str:
        errors: list[str] = []
        for line in lines:
            key = json.loads(line)["id"]
            self._producer.produce(
                self._topic, line, key, on_delivery=lambda error, _: errors.append(str(error)) if error else None
            )
        left = self._producer.flush(FLUSH_SECONDS)
        return errors[0] if errors else f"{left} events are not written" if left else ""


async def serve(bridge: Bridge, port: int) -> None:
    """Take events until the process ends."""

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    application = web.Application(client_max_size=MOST_BYTES)
    application.add_routes([web.post("/events", bridge.take), web.get("/healthz", ready)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    """Run the broker, or what writes to it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["broker", "bridge"])
    parser.add_argument("--port", type=int, required=True, help="where it listens")
    parser.add_argument("--folder", type=Path, help="of the broker")
    parser.add_argument("--broker", help="URL of the broker, for the bridge")
    parser.add_argument("--topic", default="flight-predictions")
    parser.add_argument("--partitions", type=int, default=12)
    given = parser.parse_args()
    if given.part == "broker":
        run_broker(given.folder, given.port, given.topic, given.partitions)
    else:
        asyncio.run(serve(Bridge(given.broker.removeprefix("http://"), given.topic), given.port))


if __name__ == "__main__":
    main()
