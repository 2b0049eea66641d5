"""The command line as people and programs meet it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer.main
import yaml

from midwatch import modules
from midwatch.app import cli, render
from midwatch.errors import InvalidInputError
from tests.conftest import midwatch_here, need_program

GUIDE = Path(__file__).parents[2] / "docs/commands.md"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str) -> None:
    done = midwatch_here(name, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_the_guide_names_every_command_and_sub_command_and_no_other() -> None:
    rows = re.findall(r"^\| `midwatch ([a-z]+)(?: ([a-z][a-z-]*))?[ `]", GUIDE.read_text(), re.M)
    assert sorted(rows) == sorted(names())


def names() -> Iterator[tuple[str, str]]:
    """Commands with their sub-commands that help shows, of one without them an empty name."""
    for name, (module, _) in cli.COMMANDS.items():
        inner = getattr(typer.main.get_command(import_module(module).app), "commands", {"": None})
        yield from ((name, sub) for sub, command in inner.items() if command is None or not command.hidden)


def test_help_names_every_command_and_imports_none() -> None:
    program = (
        "import sys; from midwatch.app import cli; cli.main(['--help'])\n"
        "assert not {'numpy', 'pydantic', 'rich', 'typer'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in cli.COMMANDS)


def test_an_unknown_command_or_option_is_usage() -> None:
    assert midwatch_here("nothing").returncode == 2
    assert midwatch_here("check", "--nothing").returncode == 2
    assert midwatch_here("--version").stdout.startswith("midwatch 0")


@pytest.fixture
def platform_file(tmp_path: Path, make_document) -> Path:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(make_document(), sort_keys=False))
    return file


def test_check_says_no_problems_or_all_of_them_also_as_json(platform_file: Path) -> None:
    need_program("promtool")
    need_program("amtool")
    assert midwatch_here("check", "-f", str(platform_file)).returncode == 0
    platform_file.write_text(platform_file.read_text().replace("99.9%", "100%").replace("task:", "tusk:"))
    done = midwatch_here("check", "-f", str(platform_file), "--json")
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert not document["ok"]
    assert {problem["path"].rsplit(".", 1)[-1] for problem in document["problems"]} == {"objective", "task", "tusk"}
    assert all(problem["line"] for problem in document["problems"])


def test_without_promtool_nothing_is_said_to_be_right(platform_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = midwatch_here("check", "-f", platform_file)
    assert done.returncode == 2
    assert "promtool was not found on PATH; install" in done.stderr


def test_rendering_twice_gives_the_same_bytes(platform_file: Path, tmp_path: Path) -> None:
    contents = []
    for name, order in (("a", "1"), ("b", "2")):
        words = ("render", "-f", str(platform_file), "-o", str(tmp_path / name))
        environment = {**os.environ, "PYTHONHASHSEED": order}  # sets of texts have another order in each process
        subprocess.run(modules.command("midwatch", *words), env=environment, check=True)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append({str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    assert "prometheus/rules/model-fraud.yml" in contents[0]


def test_a_broken_platform_file_writes_nothing(platform_file: Path, tmp_path: Path) -> None:
    platform_file.write_text("platform: [")
    assert midwatch_here("render", "-f", str(platform_file), "-o", str(tmp_path / "out")).returncode == 2
    assert not (tmp_path / "out").exists()


def test_files_of_an_earlier_render_go_and_those_changed_by_hand_stay(tmp_path: Path) -> None:
    assert render.write({"a.yml": "1", "b/c.yml": "2"}, tmp_path) == (["a.yml", "b/c.yml"], [])
    assert render.write({"a.yml": "1"}, tmp_path) == ([], ["b/c.yml"])
    (tmp_path / "a.yml").write_text("by hand")
    (tmp_path / "new.yml").write_text("not ours")
    with pytest.raises(InvalidInputError) as caught:
        render.write({"a.yml": "3", "new.yml": "4"}, tmp_path)
    assert len(caught.value.problems) == 2
    assert (tmp_path / "a.yml").read_text() == "by hand"
    render.write({"a.yml": "3", "new.yml": "4"}, tmp_path, force=True)
    assert (tmp_path / "new.yml").read_text() == "4"


def test_a_dry_run_and_a_diff_say_what_would_change_and_write_nothing(platform_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = ("render", "-f", platform_file, "-o", output)
    planned = midwatch_here(*words, "--dry-run")
    assert (planned.returncode, f"change: {output}/alertmanager/alertmanager.yml" in planned.stdout) == (0, True)
    assert not output.exists()
    assert midwatch_here(*words).returncode == 0
    assert midwatch_here(*words, "--diff").returncode == 0
    platform_file.write_text(platform_file.read_text().replace("routing-key", "routing-key-of-old"))
    (output / "prometheus/rules/plane.yml").write_text("by hand")
    shown = midwatch_here(*words, "--diff")
    assert shown.returncode == 1
    assert "-by hand" in shown.stdout.splitlines()
    planned = midwatch_here(*words, "--dry-run", "--json")
    assert json.loads(planned.stdout)["changed_by_hand"] == ["prometheus/rules/plane.yml"]
    assert (output / "prometheus/rules/plane.yml").read_text() == "by hand"


def test_only_the_parts_that_are_asked_for_are_written_or_removed(tmp_path: Path) -> None:
    every = {"prometheus/rules/a.yml": "1", "prometheus/rules/b.yml": "1", "alertmanager/alertmanager.yml": "1"}
    render.write(every, tmp_path)
    (tmp_path / "alertmanager/alertmanager.yml").write_text("by hand")
    now = {"prometheus/rules/a.yml": "2", "alertmanager/alertmanager.yml": "2"}
    rules = (["prometheus/rules/a.yml"], ["prometheus/rules/b.yml"])
    assert render.write(now, tmp_path, parts=[render.Part.RULES]) == rules
    assert (tmp_path / "alertmanager/alertmanager.yml").read_text() == "by hand"
    with pytest.raises(InvalidInputError, match="not as it was rendered"):
        render.write(now, tmp_path)
    assert "no part 'rotes'" in midwatch_here("render", "-f", "x", "--only", "rules,rotes").stderr


def test_a_render_that_was_killed_half_way_is_finished_by_the_next(tmp_path: Path, monkeypatch) -> None:
    render.write({"a.yml": "1", "b.yml": "1"}, tmp_path)
    replace, calls = render._replace, []

    def killed(path: Path, text: str) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(path, text)

    monkeypatch.setattr(render, "_replace", killed)
    with pytest.raises(KeyboardInterrupt):
        render.write({"a.yml": "2", "b.yml": "2"}, tmp_path)
    monkeypatch.setattr(render, "_replace", replace)
    assert ((tmp_path / "a.yml").read_text(), (tmp_path / "b.yml").read_text()) == ("2", "1")
    render.write({"a.yml": "2", "b.yml": "2"}, tmp_path)
    assert (tmp_path / "b.yml").read_text() == "2"


def test_an_output_that_cannot_be_written_is_said(platform_file: Path) -> None:
    done = midwatch_here("render", "-f", str(platform_file), "-o", "/proc/nothing")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
