"""What Chaos Toolkit says of the experiments, and of the alerts that they expect."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from chaos import experiments
from chaos.expectations import check_alerts
from midwatch.errors import InvalidInputError, Problem
from midwatch.spec.document import Document
from midwatch.spec.model import Platform


def ensure_alerts(platform: Platform, document: Document) -> None:
    """Raise InvalidInputError when an experiment expects an alert that the platform does not have."""
    if problems := list(check_alerts(platform, document)):
        raise InvalidInputError(problems)


def check_files(files: Mapping[str, str]) -> Iterator[Problem]:
    """Problems with rendered experiments."""
    from chaoslib.exceptions import ChaosException
    from chaoslib.experiment import ensure_experiment_is_valid

    for path, text in files.items():
        if path.startswith(f"{experiments.FOLDER}/"):
            try:
                ensure_experiment_is_valid(json.loads(text))
            except ChaosException as error:
                yield Problem(file=path, message=f"not a valid experiment: {error}")
