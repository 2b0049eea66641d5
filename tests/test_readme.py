"""What the README and the guides say can be typed, typed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from midwatch.spec import model
from tests.conftest import midwatch_here, need_program
from tests.exporters.test_service import exporter

ROOT = Path(__file__).parents[1]
GUIDES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))


def blocks(language: str, guides: Iterable[Path] = GUIDES) -> list[str]:
    texts = [guide.read_text() for guide in guides]
    found = [block for text in texts for block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)]
    return [text for written, text in found if written == language]


def test_the_commands_of_the_readme_write_checked_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_program("promtool")
    need_program("amtool")
    (block,) = (block for block in blocks("sh", GUIDES[:1]) if "midwatch init" in block)
    *commands, serve = block.splitlines()
    assert serve.startswith("midwatch exporter serve")
    monkeypatch.chdir(tmp_path)
    for command in commands:
        program, *words = command.split()
        done = midwatch_here(*words)
        assert (program, done.returncode) == ("midwatch", 0), command + done.stderr
    assert (tmp_path / "build" / "alertmanager" / "alertmanager.yml").is_file()


def test_the_events_and_the_python_of_the_guide_are_kept_and_counted(tmp_path: Path) -> None:
    (block,) = (block for block in blocks("sh") if "curl" in block)
    body = re.sub(r"\$\(date \+%s\)", str(int(time.time())), "\n".join(block.splitlines()[1:-1])).encode()
    (program,) = (block for block in blocks("python", (ROOT / "docs").glob("*.md")) if "log.close()" in block)
    for block in blocks("python", (ROOT / "docs").glob("*.md")):
        compile(block, "a guide", "exec")
    with exporter(tmp_path) as running:
        assert running.ask("POST", "/events", body)[0] == 200
        exec(program.replace("127.0.0.1:9500", f"{running.host}:{running.port}"), {})
        assert running.metric('ml_requests_total{model="my-model",outcome="ok",version="v1"}') == 2
        outcomes = 'ml_outcomes_total{{actual="{}",model="my-model",predicted="true",version="v1"}}'
        assert [running.metric(outcomes.format(actual)) for actual in ("true", "false")] == [1, 1]


@pytest.mark.parametrize("expression", re.split(r"\n\n", "\n\n".join(blocks("promql"))))
def test_the_expressions_of_the_guide_parse(expression: str) -> None:
    assert promql_parser.parse(expression)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_links_of_a_guide_lead_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", guide.read_text()):
        assert target.startswith("http") or (guide.parent / target).exists(), target


def test_the_canary_of_the_guide_is_judged_as_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (block for block in blocks("sh") if "canary judge" in block)
    (shown,) = (block for block in blocks("") if block.startswith("criterion         verdict"))
    words = block.strip().replace("verdict.html", str(tmp_path / "verdict.html")).split()
    monkeypatch.setenv("COLUMNS", "118")
    done = midwatch_here(*words[1:])
    assert done.returncode == 1
    assert shown in done.stdout
    assert (tmp_path / "verdict.html").is_file()


def test_the_canary_section_of_the_guide_is_one(make_document: Any) -> None:
    (block,) = (block for block in blocks("yaml") if "canary:" in block)
    document = make_document()
    document["models"][0] |= yaml.safe_load(block)["models"][0]
    canary = model.Platform.model_validate(document).models[0].canary
    assert canary is not None
    assert len(canary.criteria) == 8
