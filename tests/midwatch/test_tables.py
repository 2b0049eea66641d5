"""Tables: as wide as the terminal, and with whole names in a pipe; durations as people write them."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from midwatch.spec import values

LONG = "a-name-that-is-longer-than-any-terminal-should-be-" * 4
PROGRAM = f"""
from rich.table import Table
from midwatch import tables
table = Table("name", "what", box=None)
table.add_row({LONG!r}, "words that may be put on several lines, " * 8)
tables.show(table)
"""


def piped(**environment: str) -> list[str]:
    given = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | environment
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=given, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_in_a_pipe_a_row_is_a_line() -> None:
    header, row = piped()
    assert row.split()[0] == LONG
    assert row.rstrip().endswith("lines,")
    assert header.split() == ["name", "what"]


def test_in_a_pipe_columns_says_how_wide_but_breaks_no_name() -> None:
    lines = piped(COLUMNS="80")
    assert len(lines) > 2
    assert any(LONG in line for line in lines)


def test_on_a_terminal_a_table_is_as_wide_as_it() -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=follower, stderr=follower)
    os.close(follower)
    said = b""
    try:
        while chunk := os.read(leader, 65536):
            said += chunk
    except OSError:  # the end, on Linux
        pass
    process.wait()
    os.close(leader)
    lines = re.sub(r"\x1b\[[0-9;]*m|\r", "", said.decode()).splitlines()
    assert len(lines) > 2
    assert all(len(line) <= 60 for line in lines)


def test_the_tables_of_commands_break_no_name_in_a_pipe(tmp_path: Path, make_document) -> None:
    name = "m" * 60
    document = make_document()
    document["models"][0]["name"] = name
    document["rules"] = [
        {
            "name": "r",
            "owner": "ml",
            "alerts": [{"alert": "A" * 90, "expr": "up == 0", "severity": "page", "summary": "s"}],
        }
    ]
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-P", "-m", "midwatch", "alerts", "route", "--all", "-f", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "A" * 90 in done.stdout


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 s"),
        (0.0004, "0.4 ms"),
        (0.25, "250 ms"),
        (0.9999, "1 s"),
        (12.345, "12.3 s"),
        (59.99, "1m"),
        (60.0, "1m"),
        (90.0, "1m30s"),
        (900.0, "15m"),
        (3599.9, "1h"),
        (5400.0, "1h30m"),
        (86399.0, "24h"),
        (93784.0, "1d2h"),
        (7776000.0, "90d"),
        (7783200.0, "90d2h"),
        (-90.0, "-1m30s"),
    ],
)
def test_a_duration_is_shown_as_people_write_it(seconds: float, shown: str) -> None:
    assert values.describe_duration(seconds) == shown
