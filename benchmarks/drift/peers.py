"""What other tools take for the same data, and say of it, run by an interpreter that has them.

`peers.py cost DATA.npz`: DATA has `reference` (rows, features) and `window`; JSON of seconds by tool and work.
`peers.py verdicts DATA.npz`: DATA has columns of a reference and of windows; by tool, the places of those with drift.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

warnings.filterwarnings("ignore")

ROWS_OF_MMD = 2000
"""Rows of each side for the peers' MMD: with 10,000 they take minutes and gigabytes."""

LEVEL = 0.05
"""Significance that these tools take, or show in their examples, by default."""

Columns = dict[str, Any]
Judge = Callable[[Columns], bool]


# What it costs -----------------------------------------------------------------------------------------------------


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


COSTS = {tool.__name__: tool for tool in (evidently, nannyml, frouros, alibi_detect)}


def cost(data: Any) -> dict[str, dict[str, float | str]]:
    """Seconds by tool and work; of a work that failed nothing, and why on standard error."""
    found: dict[str, dict[str, float | str]] = {}
    for name, works in COSTS.items():
        if find_spec(name) is None:
            continue
        found[name] = {}
        for work, run in works(data["reference"], data["window"]).items():
            begun = time.perf_counter()
            try:
                run()
            except Exception as error:  # the others go on
                print(f"{name}, {work}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
            else:
                found[name][work] = time.perf_counter() - begun
    return found


# What it says ------------------------------------------------------------------------------------------------------


def _frame(columns: Columns) -> Any:
    import pandas as pd

    return pd.DataFrame(
        {name: values if values.dtype.kind == "f" else values.astype(object) for name, values in columns.items()}
    )


def evidently_says(before: Columns) -> Judge:
    """Dataset drift: by default where half of the columns drift."""
    from evidently import Report
    from evidently.presets import DataDriftPreset

    reference = _frame(before)

    def judge(window: Columns) -> bool:
        document = json.loads(Report([DataDriftPreset()]).run(_frame(window), reference).json())
        (counted,) = (one for one in document["metrics"] if "DriftedColumnsCount" in json.dumps(one.get("config", one)))
        return counted["value"]["share"] >= 0.5

    return judge


def nannyml_says(before: Columns) -> Judge:
    """An alert of any column."""
    import nannyml as tool

    calculator = tool.UnivariateDriftCalculator(list(before), chunk_size=5000)
    calculator.fit(_frame(before))

    def judge(window: Columns) -> bool:
        found = calculator.calculate(_frame(window)).filter(period="analysis").to_df()
        return bool(found.loc[:, [one for one in found.columns if one[-1] == "alert"]].to_numpy(bool).any())

    return judge


def frouros_says(before: Columns) -> Judge:
    """A p-value below the level for any column."""
    from frouros.detectors.data_drift import ChiSquareTest, KSTest

    detectors = {}
    for name, values in before.items():
        detectors[name] = KSTest() if values.dtype.kind == "f" else ChiSquareTest()
        detectors[name].fit(X=_present(values))

    def judge(window: Columns) -> bool:
        return any(detectors[name].compare(X=_present(values))[0].p_value < LEVEL for name, values in window.items())

    return judge


def alibi_detect_says(before: Columns) -> Judge:
    """TabularDrift, with its correction over columns."""
    from alibi_detect.cd import TabularDrift

    codes = {
        name: {one: float(index) for index, one in enumerate(np.unique(values))}
        for name, values in before.items()
        if values.dtype.kind != "f"
    }

    def matrix(columns: Columns) -> Any:
        whole = [
            np.array([codes[name].get(one, -1.0) for one in values]) if name in codes else values
            for name, values in columns.items()
        ]
        table = np.stack(whole, axis=1)
        return table[~np.isnan(table).any(axis=1)]

    places = {index: None for index, name in enumerate(before) if name in codes}
    detector = TabularDrift(matrix(before), p_val=LEVEL, categories_per_feature=places)
    return lambda window: bool(detector.predict(matrix(window))["data"]["is_drift"])


def scipy_says(before: Columns) -> Judge:
    """KS or chi-squared below the level for any column, uncorrected: the rule by hand."""
    from scipy import stats

    def p_value(name: str, values: Any) -> float:
        one, other = _present(before[name]), _present(values)
        if one.dtype.kind == "f":
            return float(stats.ks_2samp(one, other, method="asymp").pvalue)
        names = np.unique(np.concatenate([one, other]))
        return float(
            stats.chi2_contingency([[np.sum(side == known) for known in names] for side in (one, other)]).pvalue
        )

    return lambda window: any(p_value(name, values) < LEVEL for name, values in window.items())


def _present(values: Any) -> Any:
    return values[~np.isnan(values)] if values.dtype.kind == "f" else values


SAYS = {
    "scipy": scipy_says,
    "evidently": evidently_says,
    "nannyml": nannyml_says,
    "frouros": frouros_says,
    "alibi_detect": alibi_detect_says,
}


def verdicts(data: Any) -> dict[str, list[tuple[int, int]]]:
    """By tool, the change and run (numbers) of each window that is called drift."""
    installed = [name for name in COSTS if find_spec(name)] or ["scipy"]
    before = {name.split("|")[1]: data[name] for name in data.files if name.startswith("before|")}
    found = {}
    for tool in installed:
        judge = SAYS[tool](before)
        found[tool] = [(change, run) for change, run, window in _windows(data, list(before)) if judge(window)]
    return found


def _windows(data: Any, columns: list[str]) -> Iterator[tuple[int, int, Columns]]:
    places = dict.fromkeys(tuple(name.split("|")[:3]) for name in data.files if not name.startswith("before|"))
    for change, run, step in places:
        yield int(change), int(run), {name: data[f"{change}|{run}|{step}|{name}"] for name in columns}


if __name__ == "__main__":
    with np.load(sys.argv[2]) as given:
        print(json.dumps({"cost": cost, "verdicts": verdicts}[sys.argv[1]](given)))
