"""What Chaos Toolkit says of the experiments, and what we know of their schedules."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from chaos import experiments
from midwatch.errors import Problem


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
