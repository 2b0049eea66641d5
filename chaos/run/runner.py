"""One experiment in one process: Chaos Toolkit is run here and nowhere else, because it keeps global state.

`python -m chaos.run.runner EXPERIMENT --journal FILE --log EVIDENCE` is started by the watchdog. Each event is in the
evidence before the next thing happens, so that a crash leaves what was known. The settings are given, not read: a file
in the home directory has no say, rollbacks always run, and nothing is ever a dry run. Rollbacks of the experiment's own
run in another process (`--without-rollbacks`, then `--only-rollbacks`), after all that the method left is over.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from chaoslib.experiment import ensure_experiment_is_valid, run_experiment
from chaoslib.rollback import run_rollbacks
from chaoslib.run import RunEventHandler
from chaoslib.types import Strategy

from chaos.document import Activity, ActivityRun, Experiment, Journal
from chaos.run.verdict import failure
from midwatch import evidence, files, telemetry

ROLLED_BACK = "rollbacks.json"
"""Beside the journal: what the rollbacks did that ran in a process of their own."""


class Recorder(RunEventHandler):  # type: ignore[misc] # chaoslib has no types
    """Writes what happens into the evidence, and traces each activity."""

    def __init__(self, log: evidence.Log, run: str) -> None:
        self._log, self._run, self._spans = log, run, ExitStack()

    def start_activity(self, activity: Activity) -> None:
        """Before an activity."""
        self._spans.enter_context(telemetry.span(f"chaos {activity['type']}", activity=str(activity.get("name"))))
        self._log.append("activity-started", run=self._run, type=activity["type"], name=activity.get("name"))

    def activity_completed(self, activity: Activity, run: ActivityRun) -> None:
        """After an activity."""
        outcome = {"status": run.get("status"), "output": run.get("output")}
        self._log.append("activity-ended", run=self._run, type=activity["type"], name=activity.get("name"), **outcome)
        self._spans.close()

    def start_method(self, _experiment: Experiment) -> None:
        """Before the first fault."""
        self._log.append("method-started", run=self._run)

    def start_rollbacks(self, _experiment: Experiment) -> None:
        """Before the rollbacks."""
        self._log.append("rollbacks-started", run=self._run)


def run(experiment: Experiment, log: evidence.Log, name: str, *, rollbacks: str = "always") -> Journal:
    """Journal of an experiment; `rollbacks` is the toolkit's strategy, always or never."""
    ensure_experiment_is_valid(experiment)
    settings = {"runtime": {"rollbacks": {"strategy": rollbacks}}}
    with telemetry.span(f"chaos {experiment['title']}", run=name):
        journal: Journal = run_experiment(
            experiment, settings=settings, strategy=Strategy.DEFAULT, event_handlers=[Recorder(log, name)]
        )
    return journal


def only_rollbacks(experiment: Experiment) -> list[ActivityRun]:
    """Run the rollbacks alone."""
    from concurrent.futures import Future, ThreadPoolExecutor

    from chaoslib.configuration import load_configuration
    from chaoslib.run import EventHandlerRegistry
    from chaoslib.secret import load_secrets

    configuration = load_configuration(experiment.get("configuration", {}))
    secrets = load_secrets(experiment.get("secrets", {}), configuration)
    with ThreadPoolExecutor(1) as pool:
        ran = list(run_rollbacks(experiment, configuration, secrets, pool, None, EventHandlerRegistry()))
        return [one.result() if isinstance(one, Future) else one for one in ran]


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--without-rollbacks", action="store_true")
    parser.add_argument("--only-rollbacks", action="store_true")
    given = parser.parse_args()
    experiment = json.loads(given.experiment.read_text())
    key = evidence.read_key(given.key_file) if given.key_file else b""
    stop_telemetry = telemetry.setup("midwatch-chaos")
    try:
        if given.only_rollbacks:
            ran = only_rollbacks(experiment)
            files.replace(given.journal.with_name(ROLLED_BACK), json.dumps(ran, default=str, indent=1).encode())
            sys.exit(any(failure(one) for one in ran))
        rollbacks = "never" if given.without_rollbacks else "always"
        log = evidence.Log(given.log, key=key)
        journal = run(experiment, log, given.experiment.parent.name, rollbacks=rollbacks)
        files.replace(given.journal, json.dumps(journal, default=str, indent=1).encode())
    finally:
        stop_telemetry()


if __name__ == "__main__":
    main()
