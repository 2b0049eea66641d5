"""A store as the observer uses it through the site's commands: rows as JSON lines."""

from __future__ import annotations

import json
import select
import subprocess
from collections import Counter

from dr.drill.client import NotSentError, Row, UnknownError, checksum

READ_SECONDS = 30.0


class CommandsClient:
    """Implements `client.Client`.

    `observe` runs on: it gets a row a line on standard input, and answers each with a line once it is durable. `read`
    writes every row to standard output.
    """

    def __init__(self, *, run: str, observe: list[str], read: list[str], timeout: float) -> None:
        self._run, self._observe, self._read, self._timeout = run, observe, read, timeout
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, seq: int) -> str:
        """A line is an acknowledgement; none in time, or the end of the command, is unknown."""
        row = {"run": self._run, "seq": seq, "checksum": checksum(self._run, seq)}
        process = self._process = self._process or self._started()
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        try:
            process.stdin.write(json.dumps(row).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            self.close()
            raise NotSentError(f"{self._observe[0]} has ended") from error
        ready, _, _ = select.select([process.stdout], [], [], self._timeout)
        if not ready or not process.stdout.readline():
            self.close()
            raise UnknownError(f"{self._observe[0]} did not acknowledge within {self._timeout:g} s, or ended")
        return "commands"

    def _started(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._observe, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise NotSentError(f"{self._observe[0]}: {error.strerror}") from error

    def newest(self) -> tuple[int, str]:
        """The largest number that is read."""
        return max((row.seq for row in self.rows()), default=0), ""

    def rows(self) -> list[Row]:
        """Every line that is a row of this run."""
        try:
            done = subprocess.run(
                self._read, text=True, errors="replace", capture_output=True, timeout=READ_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotSentError(f"{self._read[0]}: {error}") from error
        if done.returncode:
            raise NotSentError(f"{self._read[0]} ended with code {done.returncode}: {done.stderr.strip()}")
        counted: Counter[tuple[int, str]] = Counter()
        for line in done.stdout.splitlines():
            try:
                row = json.loads(line) if line.startswith("{") else {}
                if row.get("run") == self._run:
                    counted[int(row["seq"]), str(row["checksum"])] += 1
            except (ValueError, KeyError, TypeError) as error:
                raise NotSentError(f"{self._read[0]} wrote a line that is no row: {line[:80]!r}") from error
        return [Row(seq, text, count) for (seq, text), count in sorted(counted.items())]

    def close(self) -> None:
        """End `observe`."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None
