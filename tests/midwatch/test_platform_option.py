"""`-f` of every command that takes it: what stands for it, and that none of several is dropped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from midwatch import options, platform_files
from midwatch.app import cli
from midwatch.errors import MidwatchError
from midwatch.spec import load
from tests.conftest import midwatch_here


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and sub-command, by its words."""
    for name, (module, _) in cli.COMMANDS.items():
        command = typer.main.get_command(import_module(module).app)
        inner = getattr(command, "commands", None)
        if inner is None:
            yield (name,), command
        else:
            yield from (((name, sub), one) for sub, one in inner.items())


def takes_file(command: Any) -> bool:
    return any("--file" in parameter.opts for parameter in command.params)


TAKERS = {words: command for words, command in commands() if takes_file(command)}

ARGUMENTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("alerts", "route"): ("alertname=X",),
    ("alerts", "deadman"): ("--alertmanager", "http://127.0.0.1:9"),
    ("alerts", "preview"): ("ModelNoData", "--channel", "oncall"),
    ("canary", "judge"): ("--model", "fraud", "--baseline", "v1", "--canary", "v2"),
    ("canary", "promote"): ("fraud", "2"),
    ("loop", "regressions"): ("fraud",),
    ("loop", "helped"): ("fraud", "--new", "v2", "--old", "v1"),
    ("canary", "calibrate"): ("--model", "fraud", "--version", "v1"),
    ("scale", "check"): ("--requests", "1000"),
    ("chaos", "list"): (),
    ("chaos", "plan"): ("x", "--where", "kubernetes"),
    ("chaos", "run"): ("x", "--where", "kubernetes"),
    ("chaos", "stop"): ("--where", "kubernetes"),
    ("dr", "run"): ("x",),
    ("dashboards", "preview"): ("-o", "x"),
    ("drift", "fit"): ("x.csv", "-o", "x.npz"),
    ("drift", "compare"): ("--reference", "x.npz", "--current", "x.csv", "--model", "fraud"),
    ("exporter", "load"): ("x.csv", "--state", "s"),
    ("evaluate", "serve"): (),
    ("fairness", "advise"): (),
    ("stream", "run"): (),
    ("fairness", "judge"): (),
    ("attributions", "compare"): ("--model", "fraud", "--version", "v1"),
    ("dr", "recoverer"): ("--store", "x"),
    ("dr", "guard"): ("--store", "x"),
    ("dr", "verify"): ("x",),
    ("dr", "publish"): ("x",),
    ("loop", "drill"): ("--model", "x"),
    ("loop", "show"): ("x",),
    ("silence",): ("X", "--for", "1h", "--why", "x"),
    ("explain", "alert"): ("ModelSlow",),
    ("systems", "history"): ("--model", "fraud"),
    ("who",): ("X",),
}
"""What a command needs beside the platform file."""

SPOKEN = "owner: x"
"""A mistake that only whoever reads the file can name."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Files that were read; reading ends the command."""
    read: list[Path] = []

    def stop(path: Path) -> None:
        read.append(path)
        raise MidwatchError(SPOKEN)

    monkeypatch.setattr(load, "load_platform", stop)
    monkeypatch.setattr(load, "load_with_places", stop)
    monkeypatch.setattr(load, "read", stop)
    monkeypatch.delenv(options.FILE_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "platform.yaml").touch()
    return read


def test_the_commands_that_take_a_platform_file_are_known() -> None:
    assert len(TAKERS) > 15


@pytest.mark.parametrize("words", TAKERS, ids=" ".join)
def test_without_f_the_platform_file_of_the_folder_is_read(words: tuple[str, ...], asked: list[Path]) -> None:
    done = midwatch_here(*words, *ARGUMENTS.get(words, ()))
    assert (done.returncode, done.stderr.strip()) == (2, SPOKEN)
    assert asked == [Path("platform.yaml")]


@pytest.mark.parametrize("words", TAKERS, ids=" ".join)
def test_the_variable_names_the_platform_file(
    words: tuple[str, ...], asked: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(options.FILE_VARIABLE, "elsewhere.yaml")
    assert midwatch_here(*words, *ARGUMENTS.get(words, ())).returncode == 2
    assert asked == [Path("elsewhere.yaml")]


@pytest.mark.parametrize("words", TAKERS, ids=" ".join)
def test_of_two_platform_files_none_is_dropped(words: tuple[str, ...], asked: list[Path], tmp_path: Path) -> None:
    done = midwatch_here(*words, *ARGUMENTS.get(words, ()), "-f", "a.yaml", "--file", "b.yaml")
    assert (done.returncode, done.stderr.strip()) == (2, SPOKEN)
    assert asked == [Path(os.pathsep.join((str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"))))]


def test_the_variable_names_overlays_as_path_does(asked: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(options.FILE_VARIABLE, os.pathsep.join(("a.yaml", "b.yaml")))
    assert midwatch_here("check").returncode == 2
    assert [[one.name for one in platform_files.layers(path)] for path in asked] == [["a.yaml", "b.yaml"]]


def test_an_alertmanager_configuration_alone_needs_no_platform_file(asked: list[Path], tmp_path: Path) -> None:
    config = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
    done = midwatch_here("alerts", "route", "alertname=X", "--alertmanager", "alertmanager.yml")
    assert (done.returncode, asked) == (0, []), done.stderr


def test_without_any_platform_file_what_is_needed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(options.FILE_VARIABLE, raising=False)
    done = midwatch_here("check")
    assert done.returncode == 2
    assert done.stderr == "platform.yaml: there is no such file; midwatch init writes one to start from\n"


def test_an_empty_name_is_not_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (("check",), ("alerts", "check")):
        done = midwatch_here(*words, "-f", "")
        assert (done.returncode, "is empty; is a variable" in done.stderr) == (2, True)
    monkeypatch.setenv(options.FILE_VARIABLE, f"a.yaml{os.pathsep}")
    for words in (("check",), ("alerts", "check")):
        done = midwatch_here(*words)
        assert (done.returncode, "is empty; is a variable" in done.stderr) == (2, True)
