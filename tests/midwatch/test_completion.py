"""Completion in the shell: offered once, for commands, sub-commands and options; and what is meant by a misspelling."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from midwatch.app import cli
from tests.conftest import midwatch_here


def completed(line: str, shell: str = "bash") -> list[str]:
    """What the shell is answered at the end of a line."""
    words = line.split(" ")
    asked = {cli.COMPLETION_VARIABLE: f"complete_{shell}"}
    asked |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    asked |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "midwatch"], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    return done.stdout.split("\n")


def test_commands_sub_commands_and_options_are_completed() -> None:
    assert {*completed("midwatch c")} >= {"check", "chaos", "canary"}
    assert {*completed("midwatch chaos ")} >= {"list", "plan", "run", "stop"}
    assert {*completed("midwatch chaos run --")} >= {"--file", "--state", "--json"}
    assert {*completed("midwatch render --ta")} >= {"--target"}
    assert {*completed("midwatch render --target ")} >= {"files", "kubernetes"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_get_the_commands_with_their_help(shell: str) -> None:
    answer = "\n".join(completed("midwatch che", shell))
    assert "check" in answer
    assert "Check the platform file" in answer


def test_bash_itself_completes_with_the_script_that_is_shown(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash
    command = tmp_path / "midwatch"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m midwatch "$@"\n')
    command.chmod(0o755)
    script = midwatch_here("--show-completion", "bash").stdout or shown(bash, tmp_path)
    program = (
        script + '\nCOMP_WORDS=(midwatch dr ve); COMP_CWORD=2; _midwatch_completion midwatch; echo "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([bash, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["verify"]


def shown(bash: str, folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "SHELL": bash}
    done = subprocess.run(
        # `exit` keeps bash from becoming the command: its parent has to be a shell, which a background job has not.
        [bash, "-c", "midwatch --show-completion; exit $?"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_completion_is_offered_by_no_single_command(name: str) -> None:
    assert "completion" not in midwatch_here(name, "--help").stdout
    assert "--install-completion" in midwatch_here("--help").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rendr",), "midwatch: there is no command 'rendr'; did you mean render?"),
        (("--verson",), "midwatch: there is no option '--verson'; did you mean --version?"),
        (("xyz",), "midwatch: there is no command 'xyz'; see midwatch --help"),
        (("chaos", "pln"), "Did you mean 'plan'?"),
        (("check", "--jsn"), "--json"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_a_misspelling_is_told_what_was_meant(words: tuple[str, ...], said: str) -> None:
    done = midwatch_here(*words)
    assert done.returncode == 2
    assert said in done.stderr
