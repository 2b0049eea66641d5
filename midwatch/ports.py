"""Loopback ports for what Midwatch starts itself."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_240
EPHEMERAL = 32_768
"""Where the kernel's ports for outgoing connections begin, unless it says otherwise (ip(7), ip_local_port_range)."""

_marks: list[int] = []
"""Descriptors of the marks of this process."""


def free_ports(count: int = 1) -> list[int]:
    """Loopback ports that nothing listens on now, and that no running process was given before. OSError without any.

    They are below those that the kernel gives to outgoing connections: between being chosen and being listened on, such
    a port would now and then be taken by somebody who connects somewhere. For other processes of Midwatch each is
    marked, until this one ends, by a Unix socket in the abstract namespace (unix(7)), which only one can bind.
    """
    ports: list[int] = []
    for port in random.SystemRandom().sample(range(LOWEST, _ephemeral()), 100 + count):
        if len(ports) < count and _mark(port):
            ports.append(port)
    if len(ports) < count:
        raise OSError(f"no {count} free loopback ports were found")
    return ports


def _mark(port: int) -> bool:
    """Whether the port was free and is marked now."""
    with socket.socket(socket.AF_UNIX) as mark, socket.socket() as listener:
        try:
            mark.bind(f"\0midwatch-port-{port}")
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        _marks.append(mark.detach())
        return True


def _ephemeral() -> int:
    try:
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return EPHEMERAL
    return lowest if lowest > 2 * LOWEST else EPHEMERAL
