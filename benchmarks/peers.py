"""What other tools take for the same data, run by an interpreter that has them: `python peers.py DATA.npz`.

DATA has `reference` (rows, features) and `window`; prints one JSON object: seconds, or what went wrong, by tool, work.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

warnings.filterwarnings("ignore")

ROWS_OF_MMD = 2000
"""Rows of each side for the peers' MMD: with 10,000 they take minutes and gigabytes."""


def evidently(reference: Any, window: Any) -> dict[str, Callable[[], object]]:
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    names = [f"f{index}" for index in range(reference.shape[1])]
    before, now = pd.DataFrame(reference, columns=names), pd.DataFrame(window, columns=names)
    return {
        "KS, all features": lambda: Report([DataDriftPreset(num_method="ks")]).run(now, before).json(),
        "PSI, all features": lambda: Report([DataDriftPreset(num_method="psi")]).run(now, before).json(),
        "the usual report": lambda: Report([DataDriftPreset()]).run(now, before).json(),
    }


def nannyml(reference: Any, window: Any) -> dict[str, Callable[[], object]]:
    import nannyml as tool
    import pandas as pd

    names = [f"f{index}" for index in range(reference.shape[1])]
    before, now = pd.DataFrame(reference, columns=names), pd.DataFrame(window, columns=names)

    def ks() -> object:
        calculator = tool.UnivariateDriftCalculator(names, continuous_methods=["kolmogorov_smirnov"], chunk_number=1)
        return calculator.fit(before).calculate(now)

    return {"KS, all features": ks}


def frouros(reference: Any, window: Any) -> dict[str, Callable[[], object]]:
    from frouros.detectors.data_drift import MMD, PSI, KSTest

    def each(kind: Any) -> object:
        found = []
        for column in range(reference.shape[1]):
            detector = kind()
            detector.fit(X=reference[:, column])
            found.append(detector.compare(X=window[:, column]))
        return found

    def mmd() -> object:
        detector = MMD()
        detector.fit(X=reference[:ROWS_OF_MMD])
        return detector.compare(X=window[:ROWS_OF_MMD])

    return {
        "KS, all features": lambda: each(KSTest),
        "PSI, all features": lambda: each(PSI),
        f"MMD, {ROWS_OF_MMD} rows, no p-value": mmd,
    }


def alibi_detect(reference: Any, window: Any) -> dict[str, Callable[[], object]]:
    from alibi_detect.cd import KSDrift

    return {"KS, all features": lambda: KSDrift(reference).predict(window)}


TOOLS = {tool.__name__: tool for tool in (evidently, nannyml, frouros, alibi_detect)}


def main() -> None:
    with np.load(sys.argv[1]) as data:
        reference, window = data["reference"], data["window"]
    found: dict[str, dict[str, float | str]] = {}
    for name, works in TOOLS.items():
        if find_spec(name) is None:
            continue
        found[name] = {}
        try:
            for work, run in works(reference, window).items():
                begun = time.perf_counter()
                run()
                found[name][work] = time.perf_counter() - begun
        except Exception as error:  # a peer that fails is told of, and the others go on
            found[name]["failed"] = f"{type(error).__name__}: {error}"[:200]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
