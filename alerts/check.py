"""promtool and amtool check the rendered files; what they say becomes problems."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from alerts import tuning
from alerts.routing import existing
from alerts.rules import attributions, canaries, fairness, promotions, regressions, shipped
from midwatch import programs
from midwatch.errors import InvalidInputError, Problem
from midwatch.spec.document import Document
from midwatch.spec.model import Platform

_TIMEOUT_SECONDS = 60
"""Of a program, and a second more for each file: promtool reads a thousand in half a minute of a core of its own."""

_SECRET = re.compile(r"^(\s+credentials_file: ).*$", re.M)
"""promtool wants the file to be there; it is where Prometheus runs, not where rendered files are checked."""


_SAYS_WHY = re.compile(r"FAILED|error|^\s*line \d+: ", re.I)
"""Lines in which promtool and amtool say what is wrong; a field that they do not know stands in one of its own."""

_SLOW_REMEDY = "try again when the machine has less to do, or look at it with the program itself"


def _timeout(files: int) -> int:
    return _TIMEOUT_SECONDS + files


def _slow(program: str, timeout: int) -> str:
    return f"{program} did not finish within {timeout} s: nothing is known of it"


def check_tuning(platform: Platform, document: Document) -> list[Problem]:
    """Problems of what the platform file says of shipped alerts by their names, and of an existing Alertmanager's."""
    of_base = [document.problem(*one) for one in existing.find_problems(platform)]
    of_models = [*shipped.of_models(), canaries.ALERT, *promotions.NAMES, regressions.ALERT]
    of_models += [*fairness.NAMES, attributions.ALERT]
    return [*tuning.find_problems(platform, document, of_models), *of_base]


def ensure_tuning(platform: Platform, document: Document) -> None:
    """Raise InvalidInputError when the platform file names an alert that is not shipped."""
    if problems := check_tuning(platform, document):
        raise InvalidInputError(problems)


def check_files(files: Mapping[str, str]) -> list[Problem]:
    """Problems that the programs find; MissingProgramError when one is not there, since unchecked is not right."""
    for program in ("promtool", "amtool"):
        programs.path_of(program)
    with tempfile.TemporaryDirectory(prefix="midwatch-check-") as name:
        folder = Path(name)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        return list(_run_all(folder, _timeout(len(files))))


def ensure_rules(platform: Platform, files: Mapping[str, str]) -> None:
    """Raise InvalidInputError for what people wrote and promtool rejects; without promtool nothing is said."""
    written = {f"prometheus/rules/{name}" for name in _written(platform)}
    rules = {path: text for path, text in files.items() if path in written}
    if programs.find("promtool") is None or not rules:
        return
    with tempfile.TemporaryDirectory(prefix="midwatch-check-") as name:
        folder = Path(name)
        for path, text in rules.items():
            (folder / Path(path).name).write_text(text, encoding="utf-8")
        command = ["promtool", "check", "rules", *sorted(Path(path).name for path in rules)]
        timeout = _timeout(len(rules))
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise InvalidInputError.at("prometheus/rules", _slow(command[0], timeout), remedy=_SLOW_REMEDY) from error
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if "SUCCESS" not in line]
        said = " ".join(line for line in lines if line and not line.startswith("Checking"))
        raise InvalidInputError.at("prometheus/rules", f"promtool: {said}", remedy="correct the expression")


def _written(platform: Platform) -> Iterator[str]:
    """Rule files with expressions that people wrote."""
    yield from (f"team-{file.name}.yml" for file in platform.rules)
    for model in platform.models:
        own = any(slo.kind in ("events", "gauge", "freshness", "ratio") for slo in model.slos)
        if own or model.serving_metrics:
            yield f"model-{model.name}.yml"


def _run_all(folder: Path, timeout: int) -> Iterator[Problem]:
    prometheus, alertmanager = folder / "prometheus/prometheus.yml", folder / "alertmanager/alertmanager.yml"
    prometheus.write_text(_SECRET.sub(r"\1/dev/null", prometheus.read_text(encoding="utf-8")), encoding="utf-8")
    yield from _run(["promtool", "check", "config", str(prometheus)], folder, timeout)
    if alertmanager.exists():  # the view over all regions has none of its own
        yield from _run(["amtool", "check-config", str(alertmanager)], folder, timeout)


def _run(command: list[str], folder: Path, timeout: int) -> Iterator[Problem]:
    file = str(Path(command[-1]).relative_to(folder))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        yield Problem(file=file, message=_slow(command[0], timeout), remedy=_SLOW_REMEDY)
        return
    if done.returncode:
        text = (done.stderr + done.stdout).replace(f"{folder}/", "")
        lines = [line.strip() for line in text.splitlines() if _SAYS_WHY.search(line)]
        yield Problem(file=file, message=f"{command[0]}: {' '.join(lines) or text.strip()}")
