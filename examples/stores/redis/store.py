"""A Redis with a replica, as a store of kind `commands`: every command of platform.yaml is a word of this script.

`python3 store.py start PORT PORT` starts both in this folder, `stop` ends them. Clients find the server in the file
`route`; a write counts once it is on the primary's disk and, while there is one, with the replica.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(__file__).resolve().parent
ROUTE = HOME / "route"


class Redis:
    """A connection that speaks just enough of Redis' protocol (RESP 2)."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=2.0)
        self._lines = self._socket.makefile("rb")

    def ask(self, *words: str) -> object:
        """The answer to a command; OSError when it is an error or there is none."""
        parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
        self._socket.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        return self._answer()

    def _answer(self) -> object:
        line = self._lines.readline().rstrip()
        kind, rest = line[:1], line[1:].decode()
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else self._lines.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        raise OSError(rest or "no answer")

    def is_primary(self) -> bool:
        """Whether it takes writes."""
        return self.ask("ROLE")[0] == "master"

    def replicas(self) -> int:
        """How many follow it."""
        return len(self.ask("ROLE")[2])


def route() -> int:
    """Port that clients use."""
    return int(ROUTE.read_text())


def servers() -> list[int]:
    """Ports of both."""
    return json.loads((HOME / "servers").read_text())


def kill(port: int) -> None:
    """kill -9 of a server, if it runs."""
    try:
        number = int((HOME / f"{port}.pid").read_text())
        if b"redis-server" in Path(f"/proc/{number}/cmdline").read_bytes():
            os.kill(number, signal.SIGKILL)
    except OSError:
        pass


def start(*ports: str) -> None:
    """Both servers; every write is synced to the disk before it is answered."""
    (HOME / "servers").write_text(json.dumps([int(port) for port in ports]))
    for port in ports:
        (HOME / f"data-{port}").mkdir(exist_ok=True)
        words = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", str(HOME / f"data-{port}")]
        words += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "yes"]
        words += ["--pidfile", str(HOME / f"{port}.pid"), "--logfile", str(HOME / f"{port}.log")]
        words += ["--repl-diskless-sync-delay", "0"]
        subprocess.run(words, check=True)
    primary, replica = map(int, ports)
    wait(lambda: Redis(primary).is_primary() and Redis(replica).ask("PING"))
    Redis(replica).ask("REPLICAOF", "127.0.0.1", str(primary))
    wait(lambda: Redis(primary).replicas() == 1)
    Redis(primary).ask("SET", "midwatch:drills", "allowed")
    ROUTE.write_text(str(primary))


def wait(condition: object) -> None:
    """Until it holds, for 20 s."""
    deadline = time.monotonic() + 20
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            sys.exit("Redis did not come up: look at its log")
        time.sleep(0.05)


def observe() -> None:
    """Answer each row once it is durable. A connection that breaks ends this; midwatch starts it again."""
    redis = Redis(route())
    for line in sys.stdin:
        redis.ask("RPUSH", "midwatch:rows", line.strip())
        if redis.replicas() and redis.ask("WAIT", "1", "1000") == 0:
            sys.exit("the replica did not confirm it")
        print("kept", flush=True)


def recover() -> None:
    """Make the other server the primary, and send clients there."""
    (other,) = (port for port in servers() if port != route())
    Redis(other).ask("REPLICAOF", "NO", "ONE")
    fresh = ROUTE.with_suffix(".new")
    fresh.write_text(str(other))
    fresh.rename(ROUTE)
    print(f"promoted the replica on port {other}")


def is_effective() -> bool:
    """Whether the server that clients use answers no more."""
    try:
        Redis(route())
    except OSError:
        return True
    return False


def main(word: str, *more: str) -> None:
    """Do one word."""
    if word == "start":
        start(*more)
    elif word == "stop":
        for port in servers():
            kill(port)
    elif word in {"inject", "fence"}:
        kill(route())
    elif word == "is_effective":
        sys.exit(not is_effective())
    elif word == "check":
        sys.exit(not Redis(route()).is_primary())
    elif word == "recover":
        recover()
    elif word == "observe":
        observe()
    elif word == "read":
        print("\n".join(Redis(route()).ask("LRANGE", "midwatch:rows", "0", "-1")))
    elif word == "integrity":
        redis = Redis(route())
        print(f"{redis.ask('LLEN', 'midwatch:rows')} rows on port {route()}")
        sys.exit(not redis.is_primary())
    elif word == "allowed":
        sys.exit(Redis(route()).ask("GET", "midwatch:drills") != "allowed")


if __name__ == "__main__":
    main(*sys.argv[1:])
