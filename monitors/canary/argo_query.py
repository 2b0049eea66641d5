"""The query that an AnalysisTemplate asks the gate, and the numbers that answer it."""

from __future__ import annotations

from collections.abc import Iterable

METRIC = "midwatch_canary_gate_verdict"
"""Nothing publishes it: a Prometheus that is asked in place of the gate has no sample of it, which decides nothing."""
VALUES = {"pass": 1, "inconclusive": 0, "fail": -1}
"""Value of the one sample by the verdict."""
SUCCESS = f"len(result) == 1 && result[0] == {VALUES['pass']}"
FAILURE = f"len(result) == 1 && result[0] == {VALUES['fail']}"


def query(platform: str, fields: Iterable[str], *, region: str | None = None) -> str:
    """The query to a platform's gate, with an argument of the analysis for each field.

    The gate of another platform refuses it, and that of another region. In backticks nothing is an escape: a version
    may have quotes and backslashes.
    """
    place = [] if region is None else [f"region=`{region}`"]
    labels = ",".join([f"platform=`{platform}`", *place, *(f"{name}=`{{{{args.{name}}}}}`" for name in fields)])
    return f"{METRIC}{{{labels}}}"
