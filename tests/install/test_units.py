"""Services of systemd: a part that runs on machines has a unit whose command starts it."""

from __future__ import annotations

import shlex
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from midwatch import jobs
from midwatch.app import units
from midwatch.app.cli import COMMANDS
from midwatch.spec.model import Platform
from tests.conftest import need_program, platform_document
from tests.install.programs import whole_document

KAFKA = {"brokers": ["kafka.example.com:9092"], "topics": ["predictions"]}
TOPICS = {"servers": ["kafka.example.com:9092"], "topics": ["predictions"]}
OPEN = "0.0.0.0"


def rendered(document: dict[str, Any]) -> dict[str, str]:
    return units.render_files(Platform.model_validate(document))


def document_of_everything() -> dict[str, Any]:
    document = whole_document() | {"stream": {"kafka": TOPICS}}
    return document | {"exporter": {"kafka": KAFKA}}


def words_of(text: str) -> list[str]:
    (line,) = [one for one in text.splitlines() if one.startswith("ExecStart=")]
    return shlex.split(line.removeprefix("ExecStart=/usr/bin/env midwatch "))


def named(platform: dict[str, Any]) -> set[str]:
    return {Path(path).stem for path in rendered(platform)}


def test_each_service_that_prometheus_scrapes_has_a_unit_and_so_have_the_console_and_the_judge_of_a_fleet() -> None:
    document = document_of_everything()
    scraped = {name for name, _, _ in jobs.services(Platform.model_validate(document))}
    assert named(document) == scraped | {"midwatch-console", "midwatch-exporter-judge"}
    assert len(scraped) == 8


def test_a_platform_of_one_model_has_the_exporters_unit_alone() -> None:
    assert named(platform_document()) == {"midwatch-exporter"}


@pytest.mark.parametrize("path", sorted(rendered(document_of_everything())))
def test_a_units_command_takes_the_options_that_the_unit_gives(path: str) -> None:
    words = words_of(rendered(document_of_everything())[path])
    command = typer.main.get_command(import_module(COMMANDS[words[0]][0]).app)
    subcommands = getattr(command, "commands", None)
    if subcommands and words[1] in subcommands:
        words, command = words[1:], subcommands[words[1]]
    command.make_context(words[0], words[1:])  # an option that it does not have ends this


def test_what_must_not_be_lost_is_below_the_folder_that_systemd_makes_for_the_service() -> None:
    for path, text in rendered(document_of_everything()).items():
        assert ("/var/lib/midwatch/" in text) == ("StateDirectory=midwatch\n" in text), path


def test_clients_off_loopback_send_a_token_and_prometheus_has_its_own() -> None:
    listen = {"listen": f"{OPEN}:9500", "targets": ["a:9500"], "metrics_token_file": "/run/50%/metrics"}
    text = rendered(platform_document(exporter=listen))["systemd/midwatch-exporter.service"]
    assert words_of(text)[-4:] == ["--token-file", "/etc/midwatch/token", "--metrics-token-file", "/run/50%%/metrics"]
    assert "--token-file" not in words_of(rendered(platform_document())["systemd/midwatch-exporter.service"])


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    program = need_program("systemd-analyze")
    for path, text in rendered(document_of_everything()).items():
        (tmp_path / Path(path).name).write_text(text)
    done = subprocess.run([program, "verify", *tmp_path.iterdir()], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "midwatch-" in line] == []
