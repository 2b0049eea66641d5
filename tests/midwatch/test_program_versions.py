"""Which program counts where PATH has several, and what is said when it is not of the platform file's version."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from midwatch import program_versions, programs
from midwatch.app import prometheus
from midwatch.errors import MidwatchError
from tests.conftest import midwatch_here

STATED = {"prometheus": {"version": "3.4"}, "alertmanager": {"version": "0.31"}}


def add_program(folder: Path, name: str, version: str, then: str = "exit 0") -> str:
    """A program that says its version, and otherwise does something."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    said = f"{name}, version {version} (branch: x)"
    program.write_text(f"#!/bin/sh\ncase $1 in --version) echo '{said}';; *) {then};; esac\n")
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders, which are all of PATH."""
    folders = tmp_path / "newer", tmp_path / "debian"
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))
    return folders


def test_the_first_folder_that_has_a_program_under_any_name_counts(path: tuple[Path, Path]) -> None:
    newer, debian = path
    add_program(debian, "prometheus-alertmanager", "0.25.0")
    assert programs.version("alertmanager") == (0, 25)
    added = add_program(newer, "alertmanager", "0.35.0")
    assert (programs.find("alertmanager"), programs.version("alertmanager")) == (added, (0, 35))


@pytest.mark.parametrize(
    ("said", "version"),
    [("3.16.0", (3, 16)), ("2.42.0+ds", (2, 42)), ("v0.35.1-rc.0", (0, 35)), ("unknown", None)],
)
def test_a_version_is_read_as_programs_say_it(path: tuple[Path, Path], said: str, version: object) -> None:
    add_program(path[0], "amtool", said)
    assert programs.version("amtool") == version


def test_what_is_run_here_is_written_for_what_is_run_here(path: tuple[Path, Path], make_platform) -> None:
    newer, debian = path
    add_program(debian, "prometheus", "2.42.0")
    add_program(debian, "prometheus-alertmanager", "0.25.0")
    add_program(newer, "amtool", "0.35.0")  # a tool without its server says nothing of the one that runs
    running = program_versions.as_running(make_platform(**STATED))
    assert (running.prometheus.version, running.alertmanager.version) == ((2, 42), (0, 25))
    assert [one.message for one in program_versions.of_servers(make_platform(**STATED))] == [
        "prometheus.version is 3.4, and prometheus on PATH is 2.42",
        "alertmanager.version is 0.31, and alertmanager on PATH is 0.25",
    ]


def test_a_program_that_does_not_say_its_version_is_taken_for_the_stated_one(
    path: tuple[Path, Path], make_platform
) -> None:
    add_program(path[0], "prometheus", "unknown")
    assert program_versions.as_running(make_platform(**STATED)).prometheus.version == (3, 4)


def test_a_server_that_is_too_old_is_said_before_it_is_started(path: tuple[Path, Path], make_platform) -> None:
    add_program(path[0], "prometheus", "2.31.0")
    with pytest.raises(MidwatchError, match=r"prometheus is 2.31, and 2.42 is the oldest that works"):
        program_versions.as_running(make_platform())


def test_a_check_says_that_its_tools_are_of_other_versions(
    path: tuple[Path, Path], tmp_path: Path, make_document
) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(make_document(**STATED)))
    said = "FAILED: yaml: unmarshal errors:\\n  line 12: field fallback_scrape_protocol not found\\nChecked 12 rules"
    add_program(path[0], "promtool", "2.42.0", f"printf '{said}' >&2; exit 1")
    add_program(path[0], "amtool", "0.31.2")
    done = midwatch_here("check", "-f", file, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    (warning,) = (one for one in document["warnings"] if "on PATH" in one["message"])
    assert (warning["path"], warning["message"]) == (
        "prometheus.version",
        "prometheus.version is 3.4, and promtool on PATH is 2.42",
    )
    assert warning["line"]
    problems = [one for one in document["problems"] if one["message"].startswith("promtool:")]
    assert any(one["message"].endswith("line 12: field fallback_scrape_protocol not found") for one in problems)
    assert all("put promtool of 3.4 first on PATH" in one["remedy"] for one in problems)


def test_tools_of_the_stated_versions_are_no_matter(path: tuple[Path, Path], tmp_path: Path, make_document) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(make_document(**STATED)))
    add_program(path[0], "promtool", "3.4.2")
    add_program(path[0], "amtool", "0.31.0")
    done = midwatch_here("check", "-f", file, "--json")
    document = json.loads(done.stdout)
    assert (document["ok"], done.returncode) == (True, 0)
    assert not any("on PATH" in one["message"] for one in document["warnings"])


@pytest.mark.parametrize("written", [3.4, 3, "three", "2.41", "3", ""])
def test_what_is_no_version_of_prometheus_is_refused(load_text, make_document, written: object) -> None:
    document = make_document(prometheus={"version": written})
    with pytest.raises(MidwatchError, match=r"prometheus\.version: .*(write it in quotes|is the oldest)"):
        load_text(yaml.safe_dump(document))


def test_scrape_jobs_for_prometheus_3_read_what_2_reads(make_platform) -> None:
    def jobs(**settings: object) -> list[dict[str, object]]:
        text = prometheus.render_files(make_platform(prometheus=settings))["prometheus/prometheus.yml"]
        return yaml.safe_load(text)["scrape_configs"]

    added = {"fallback_scrape_protocol", "metric_name_validation_scheme", "always_scrape_classic_histograms"}
    assert all(added <= job.keys() for job in jobs(version="3.0"))
    assert all(job["metric_name_escaping_scheme"] == "underscores" for job in jobs(version="3.4"))
    assert not any("metric_name_escaping_scheme" in job for job in jobs(version="3.3"))
    assert not any(added & job.keys() for job in [*jobs(), *jobs(version="2.55")])
    own = {"job_name": "own", "static_configs": []}
    assert own in jobs(version="3.4", scrapes=[own]), "jobs of one's own stay as they are written"


def test_objects_of_the_operator_say_the_same_in_its_words(make_platform, make_document) -> None:
    (model,) = make_document()["models"]
    served = model | {"servers": {"targets": ["m:1"]}}

    def spec(**settings: object) -> dict[str, object]:
        (text,) = prometheus.render_objects(make_platform(prometheus=settings, models=[served])).values()
        return yaml.safe_load(text)["spec"]

    plain = spec()
    added = {"fallbackScrapeProtocol": "PrometheusText0.0.4", "scrapeClassicHistograms": True}
    added |= {"nameValidationScheme": "Legacy", "nameEscapingScheme": "Underscores"}
    assert spec(version="3.4") == plain | added
    assert spec(version="2.55") == plain
