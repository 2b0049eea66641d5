"""Proves every alert of a platform: promtool sees it fire in time and stay silent, its route leads to its owner."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from alerts import alerting_rule, expressions, inventory
from alerts.inventory import Entry
from alerts.proofs import burning, case, reality, search, written
from alerts.proofs.case import Case, Grid
from alerts.proofs.series import NoInstanceError
from alerts.routing import configuration, delivery, generate
from alerts.routing.configuration import Config
from midwatch import metrics, yamlfile
from midwatch.spec.model import Platform
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity
from midwatch.spec.values import describe_duration


class Outcome(StrEnum):
    """What is known of an alert."""

    PROVEN = "proven"
    FAILED = "failed"
    UNPROVEN = "unproven"


@dataclass(frozen=True, kw_only=True)
class Proved:
    """An alert, what came of its proof, and why; `within` is the stated time in seconds, `test` the promtool test."""

    alert: str
    outcome: Outcome
    reason: str = ""
    within: float | None = None
    receivers: tuple[str, ...] = ()
    file: str = ""
    test: str = ""
    rules: str = ""


OnProved = Callable[[Proved], None]


def chosen(platform: Platform, names: Sequence[str] = ()) -> list[Entry]:
    """Alerts to prove: those of some names, or all."""
    return [entry for entry in inventory.entries(platform) if not names or entry.name in names]


def prove(platform: Platform, names: Sequence[str] = (), on_proved: OnProved = lambda _: None) -> list[Proved]:
    """Prove alerts; `on_proved` hears of each as it is done. MissingProgramError when promtool is not there."""
    case.ensure_promtool()
    text = yamlfile.dump(generate.alertmanager_config(platform))
    config = configuration.parse(text, "alertmanager/alertmanager.yml")
    entries = chosen(platform, names)
    with_amtool = _amtool(text, [entry.labels for entry in entries])

    def prove_one(entry: Entry, name: str) -> Proved:
        result = _proved(platform, config, entry, name, with_amtool)
        on_proved(result)
        return result

    with case.workers() as pool:
        return list(pool.map(prove_one, entries, _file_names(entries)))


def _proved(platform: Platform, config: Config, entry: Entry, name: str, with_amtool: Mapping[str, str]) -> Proved:
    receivers = tuple(delivery.receivers(config, entry.labels))
    if wrong := _route_problem(platform, config, entry, receivers, with_amtool):
        return Proved(alert=entry.title, outcome=Outcome.FAILED, reason=wrong, receivers=receivers, file=name)
    group = {"name": "proof", "rules": _needed(entry)}
    try:
        cases, within = _cases(platform, entry)
        cases, failed, said = _decided(entry, group, cases)
    except (NoInstanceError, case.NotFoundError, case.SlowError) as error:
        return Proved(alert=entry.title, outcome=Outcome.UNPROVEN, reason=str(error), receivers=receivers, file=name)
    return Proved(
        alert=entry.title,
        outcome=Outcome.FAILED if failed else Outcome.PROVEN,
        reason=_explained(failed, said, within) if failed else "",
        within=within,
        receivers=receivers,
        file=name,
        test=case.test_file(f"{name}.rules.yml", cases),
        rules=yamlfile.dump({"groups": [group]}),
    )


def _file_names(entries: Sequence[Entry]) -> list[str]:
    """A name for each test; alerts of one title are numbered."""
    names: list[str] = []
    for entry in entries:
        name = "-".join(entry.title.replace(".", "-").split()).lower()
        names.append(name if name not in names else f"{name}-{len(names)}")
    return names


def _explained(failed: set[int], said: str, within: float) -> str:
    if -1 in failed:
        return " ".join(said.split())[-400:]
    what = f"it does not fire within {describe_duration(within)}" if 0 in failed else "it fires though all is well"
    return f"{what} (promtool)"


# Cases -------------------------------------------------------------------------------------------------------------


def _needed(entry: Entry) -> list[dict[str, Any]]:
    """The alert, and of its objective's rules those it reads, and those they read, in their order."""
    if entry.group is None:
        return [entry.rule]
    records = [rule for rule in entry.group["rules"] if "record" in rule]
    wanted, more = set[str](), _read(entry.rule)
    while more - wanted:
        wanted |= more
        more = {name for rule in records if rule["record"] in wanted for name in _read(rule)}
    return [*(rule for rule in records if rule["record"] in wanted), entry.rule]


def _read(rule: Mapping[str, Any]) -> set[str]:
    return {selector.metric for selector in expressions.selectors(expressions.parse(rule["expr"]))}


def _cases(platform: Platform, entry: Entry) -> tuple[list[Case], float]:
    if entry.objective is not None and entry.direct is not None:
        return burning.direct_cases(entry.objective, entry.direct, entry.name)
    if entry.objective is not None:
        return burning.cases(entry.objective, Severity(entry.severity), entry.name)
    bounds = {metrics.REQUEST_DURATION.name: platform.latency_bounds}
    if entry.alert.proof is not None:
        reality.ensure_exposed(expressions.parse_or_none(entry.rule["expr"]), bounds)
        return _written(entry, entry.alert.proof)
    prometheus = platform.prometheus
    grid = Grid(scrape=prometheus.scrape_interval, evaluation=prometheus.evaluation_interval)
    return search.cases(entry.rule, entry.for_, grid, bounds)


def _decided(entry: Entry, group: Mapping[str, Any], cases: list[Case]) -> tuple[list[Case], set[int], str]:
    """Cases as they were run, and what does not hold. What was searched for was found by promtool already."""
    proof = entry.alert.proof if entry.objective is None else None
    if entry.objective is None and proof is None:
        return cases, set(), ""
    failed, said = case.failures(group, cases)
    if failed and proof is not None and cases[0].evaluation > proof.interval:
        # A series that begins between two evaluations is seen up to one of them later.
        cases = [replace(one, evaluation=proof.interval) for one in cases]
        failed, said = case.failures(group, cases)
    return cases, failed, said


def _written(entry: Entry, proof: Proof) -> tuple[list[Case], float]:
    """Cases of a proof that is written beside the alert."""
    evaluation = written.evaluation_seconds(proof, entry.rule)
    make = partial(Case, interval=proof.interval, evaluation=evaluation, alert=entry.name, severity=entry.severity)
    at = -(-proof.within // proof.interval) * proof.interval
    return [make(series=proof.fires, fires_at=[at]), make(series=proof.silent, silent_at=[at])], proof.within


# Routes ------------------------------------------------------------------------------------------------------------


def _route_problem(
    platform: Platform,
    config: Config,
    entry: Entry,
    receivers: Sequence[str],
    with_amtool: Mapping[str, str],
) -> str:
    """Why an alert does not reach whom it should, or an empty text."""
    labels = entry.labels
    wanted = _wanted(platform, labels)
    if list(receivers) != [wanted]:
        return f"it is routed to {', '.join(receivers)}, not to {wanted}"
    if wanted == generate.NOBODY:
        return "a receiver that must reach nobody has an integration" if config.integrations(wanted) else ""
    if not config.integrations(wanted):
        return f"{wanted} has no integration"
    said = with_amtool.get(_key(labels))
    if said is not None and said != wanted:
        return f"amtool routes it to {said}, not to {wanted}"
    return "" if wanted == generate.DEADMAN or labels.get("owner") in platform.owners else "nobody owns it"


def _wanted(platform: Platform, labels: Mapping[str, str]) -> str:
    if labels["alertname"] == alerting_rule.DEADMAN:
        return generate.receiver_of_deadman(platform)
    if labels["severity"] == "none":
        return generate.NOBODY
    return f"{labels['owner']}-{labels['severity']}" if "owner" in labels else "an owner"


def _key(labels: Mapping[str, str]) -> str:
    """What routes look at."""
    return " ".join(f"{name}={labels.get(name, '')}" for name in ("alertname", "owner", "severity"))


def _amtool(text: str, alerts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Receiver by amtool for an alert of each owner and severity, where amtool is there, quick, and knows the file."""
    if shutil.which("amtool") is None:
        return {}
    first: dict[tuple[str, str], Mapping[str, str]] = {}
    for labels in alerts:
        first.setdefault((labels.get("owner", ""), labels["severity"]), labels)
    receivers: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="midwatch-routes-") as name:
        file = Path(name) / "alertmanager.yml"
        file.write_text(text, encoding="utf-8")
        for labels in first.values():
            words = [f'{label}="{value}"' for label, value in labels.items()]
            command = ["amtool", "config", "routes", "test", f"--config.file={file}", *words]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            except subprocess.TimeoutExpired:
                continue
            if not done.returncode:
                receivers[_key(labels)] = done.stdout.strip()
    return receivers


def as_document(proved: Proved) -> dict[str, Any]:
    """One line of the JSON document."""
    return {
        "alert": proved.alert,
        "outcome": proved.outcome.value,
        "reason": proved.reason,
        "within_seconds": proved.within,
        "receivers": list(proved.receivers),
        "test": proved.file,
    }
