"""Loopback ports for what Midwatch starts itself."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_240
EPHEMERAL = 32_768
"""Where the kernel's ports for outgoing connections begin, unless it says otherwise (ip(7), ip_local_port_range)."""

_given: set[int] = set()


def free_ports(count: int = 1) -> list[int]:
    """Loopback ports that nothing listens on now, and that this process was not given before. OSError without any.

    They are below those that the kernel gives to outgoing connections: between being chosen and being listened on, such
    a port would now and then be taken by somebody who connects somewhere.
    """
    candidates = random.SystemRandom().sample(sorted(set(range(LOWEST, _ephemeral())) - _given), 100 + count)
    listeners: list[socket.socket] = []
    try:
        while len(listeners) < count:
            if not candidates:
                raise OSError(f"no {count} free loopback ports were found")
            listener = socket.socket()
            listeners.append(listener)
            try:
                listener.bind(("127.0.0.1", candidates.pop()))
            except OSError:
                listeners.remove(listener)
                listener.close()
        found = [int(listener.getsockname()[1]) for listener in listeners]
        _given.update(found)
        return found
    finally:
        for listener in listeners:
            listener.close()


def _ephemeral() -> int:
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return EPHEMERAL
    return lowest if lowest > 2 * LOWEST else EPHEMERAL
