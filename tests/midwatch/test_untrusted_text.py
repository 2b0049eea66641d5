"""Names and texts of others in a terminal: no markup of rich, no escape sequences; and errors nobody thought of."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from midwatch import modules, progress, tables, untrusted_text
from midwatch.app import cli
from midwatch.app.up.canaries import Answer
from midwatch.app.up.live_view import LiveView
from midwatch.app.up.queries import Figures
from midwatch.app.up.webhook_receiver import Alert
from midwatch.spec.model import LocalCanary
from tests.conftest import midwatch_here

HOSTILE = "v1[/x][bold]\x1b[2J\x1b]0;owned\x07\x9b31m\r\u202e:smile:"
SHOWN = r"v1[/x][bold]\x1b[2J\x1b]0;owned\x07\x9b31m\r\u202e:smile:"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def terminal() -> Iterator[Terminal]:
    """Standard output and error of a terminal, wide enough for a row."""
    stream, environment = Terminal(), dict(os.environ)
    os.environ.update(TERM="xterm", COLUMNS="1000")
    try:
        with redirect_stdout(stream), redirect_stderr(stream):
            yield stream
    finally:
        os.environ.clear()
        os.environ.update(environment)


def test_tables_and_lines_show_text_as_it_is() -> None:
    table = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    with terminal() as said:
        console = tables.make_console()
        tables.show(table, console=console)
        console.print(HOSTILE, soft_wrap=True)
    assert said.getvalue().count(SHOWN) == 5
    assert said.getvalue().count("v1[/x][bold]") == 6
    assert not steering(said)


def steering(said: Terminal) -> list[str]:
    return [text for text in ("\x1b[2J", "\x1b]0;", "\x07", "\x9b", "\u202e") if text in said.getvalue()]


def test_the_live_view_shows_names_of_others_as_they_are() -> None:
    figures = Figures(columns={"requests/s": {("m", HOSTILE): 1.0}})
    alert = Alert(**{one.name: HOSTILE for one in dataclasses.fields(Alert)})
    asked = LocalCanary(model="m", baseline="v0", canary=HOSTILE)
    answer = Answer(of=asked, verdict="fail", reason=HOSTILE, decided_after=None)
    with terminal() as said, LiveView(HOSTILE, {HOSTILE: "http://127.0.0.1"}) as view:
        with view.working(HOSTILE):
            pass
        view.note(HOSTILE)
        view.show(figures, [alert], {HOSTILE: HOSTILE}, 1.0, [answer])
    assert said.getvalue().count("v1[/x][bold]") > 8
    assert not steering(said)


def test_a_bar_is_called_as_its_file() -> None:
    with terminal() as said, progress.bar(HOSTILE, 2) as step:
        step(1)
    assert "v1[/x][bold]" in said.getvalue()
    assert not steering(said)


def test_what_is_written_to_a_terminal_is_escaped_and_to_a_pipe_as_it_is() -> None:
    with terminal() as said:
        with untrusted_text.guard():
            print(HOSTILE, file=sys.stderr)
            sys.stdout.writelines([HOSTILE, "\tkept\n"])
            tables.make_console().print("red", style="red")
        assert sys.stdout is said
    assert said.getvalue().startswith(SHOWN + "\n" + SHOWN + "\tkept\n\x1b[31mred")
    with redirect_stdout(io.StringIO()) as pipe, untrusted_text.guard():
        print(HOSTILE)
    assert pipe.getvalue() == HOSTILE + "\n"


def test_errors_of_a_command_cannot_steer_the_terminal() -> None:
    with terminal() as said, pytest.raises(SystemExit) as end:
        cli.main(["\x1b[2J"])
    assert end.value.code == 2
    assert "\x1b" not in said.getvalue()


def test_columns_of_others_are_shown_by_drift_compare(tmp_path: Path) -> None:
    for name, shift in (("before", 0), ("after", 5)):
        rows = [f"{number % 7 + shift},{number % 3}" for number in range(300)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["price[/eur],x[bold]", *rows]) + "\n")
    reference = tmp_path / "reference.json"
    fitted = midwatch_here("drift", "fit", tmp_path / "before.csv", "-o", reference, "--window-rows", 300)
    assert fitted.returncode == 0, fitted.stderr
    done = midwatch_here("drift", "compare", "--reference", reference, "--current", tmp_path / "after.csv")
    assert done.returncode in (0, 1, 3)
    assert "price[/eur]" in done.stdout, done.stderr
    assert "x[bold]" in done.stdout


@pytest.mark.parametrize("error", [ValueError("two\nlines \x1b[2J"), KeyError(1), RecursionError(), MemoryError()])
def test_an_unexpected_error_is_one_line_and_never_says_fail(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken() -> str:
        raise error

    monkeypatch.setattr("midwatch.app.schema.text", broken)
    done = midwatch_here("schema")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"midwatch: unexpected {type(error).__name__}")
    assert done.stderr.count("\n") == 1
    monkeypatch.setenv(cli.TRACEBACK_VARIABLE, "1")
    assert "Traceback" in midwatch_here("schema").stderr


@pytest.mark.parametrize("error", [BrokenPipeError(), EOFError()])
def test_streams_that_end_early_never_say_fail(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken() -> str:
        raise error

    monkeypatch.setattr("midwatch.app.schema.text", broken)
    done = midwatch_here("schema")
    assert done.returncode == 2
    assert done.stderr.startswith("standard ")


@pytest.mark.parametrize("asked", ["schema", "--version"])
def test_a_reader_that_leaves_is_not_a_fail(asked: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = modules.command("midwatch", asked)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (2, "standard output was closed before all was written\n")
