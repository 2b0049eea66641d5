"""Numbers of few people, and those that give them away, are in no document, table or reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from midwatch.spec.fairness import CROSS
from monitors.fairness import document, promises, small_cells, view
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Pair
from tests.fairness import published

BLOCKS = 20


def _crossed(**numbers: int) -> dict[str, int]:
    """Numbers of an intersection of two attributes, from names such as `no_young`."""
    return {name.replace("_", CROSS): number for name, number in numbers.items()}


@pytest.mark.parametrize(
    ("events", "hidden"),
    [
        ({"no": 500, "de": 90, "fr": 11}, set()),
        ({"no": 500, "de": 90, "fr": 10}, {"fr", "de"}),
        ({"no": 500, "de": 10, "fr": 4}, {"fr", "de"}),
        ({"no": 500, "fr": 0}, set()),
        ({"fr": 4}, {"fr"}),
        (
            _crossed(no_young=300, no_old=200, de_young=40, de_old=5),
            set(_crossed(no_young=1, no_old=1, de_young=1, de_old=1)),
        ),
        (
            _crossed(no_young=300, no_old=200, no_mid=90, de_young=40, de_old=5, de_mid=60)
            | _crossed(fr_young=70, fr_old=80, fr_mid=50),
            set(_crossed(de_old=1, de_young=1, fr_old=1, fr_young=1)),
        ),
    ],
)
def test_few_people_are_hidden_with_what_they_could_be_derived_from(events: dict[str, int], hidden: set[str]) -> None:
    assert small_cells.hidden(events) == hidden


@pytest.mark.parametrize("seed", range(20))
def test_no_hidden_cell_is_the_only_one_of_its_line(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = {f"{row}{CROSS}{column}": int(rng.choice([0, 4, 30, 500])) for row in "abcd" for column in "xyz"}
    hidden = small_cells.hidden(cells)
    assert hidden >= {cell for cell, number in cells.items() if 0 < number < small_cells.LEAST}
    for place, names in ((0, "abcd"), (1, "xyz")):
        for name in names:
            line = [cell for cell in cells if cell.split(CROSS)[place] == name]
            if sum(cell in hidden for cell in line) == 1:
                assert all(not cells[cell] for cell in line if cell not in hidden), "nothing else could be hidden"


def _judged(numbers: dict[tuple[str, str], int], **more: Any) -> Finding:
    """Half of each cell's people are selected."""
    rows = [
        {"prediction": "yes" if place % 2 else "no", "groups": {"g": g, "h": h}}
        for (g, h), number in numbers.items()
        for place in range(number)
    ]
    order = np.random.default_rng(1).permutation(len(rows))
    blocks = [[rows[place] for place in order[block::BLOCKS]] for block in range(BLOCKS)]
    model = published.model("demographic_parity", crossed_with="h", min_events=50, **more)
    (found,) = promises.judge([model], published.asked(model, blocks), published.window(BLOCKS))
    return found


def test_the_smallest_cell_of_an_intersection_is_named_with_its_events_everywhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = _judged({("no", "young"): 600, ("no", "old"): 300, ("de", "young"): 200, ("de", "old"): 30})
    said = document.document([found], published.window(BLOCKS), [])["findings"][0]
    assert said["smallest"] == {"group": f"de{CROSS}old", "stratum": None, "events": 30}
    assert said["left_out"] == [f"de{CROSS}old"]
    assert (
        f"fewer than 50 events are of de{CROSS}old" in found.reason
        or f"fewer than 50 are of de{CROSS}old" in found.reason
    )
    view.show([(published.window(BLOCKS), [found])])
    assert f"de{CROSS}old: 30" in " ".join(capsys.readouterr().out.split())


def test_a_cell_of_few_people_is_named_without_its_number_or_anything_that_gives_it_away() -> None:
    found = _judged({("no", "young"): 600, ("no", "old"): 300, ("de", "young"): 200, ("de", "old"): 7})
    said = document.document([found], published.window(BLOCKS), [])["findings"][0]
    assert said["smallest"] == {"group": f"de{CROSS}old", "stratum": None, "events": None}
    assert all(one["events"] is None and one["interval"] is None for one in said["groups"])
    text = json.dumps(said)
    assert "600" not in text
    assert "0.5035" not in text
    for name in ("difference", "ratio"):
        assert said["measured"][name] == pytest.approx(round(said["measured"][name], 2), abs=0.006)
    worst = said["worst"]
    assert (worst["difference_interval"], worst["ratio_interval"]) == (None, None)
    assert worst["difference"] == round(worst["difference"], 2), "with the other's rate it would be the exact one"


def test_a_pair_of_which_a_stratum_has_few_people_is_named_without_rates(capsys: pytest.CaptureFixture[str]) -> None:
    found = _judged({("no", "young"): 600, ("de", "young"): 200, ("no", "old"): 300, ("de", "old"): 9})
    few = replace(found, judgement=replace(found.judgement, worst=_pair(fewest=9)))
    said = document.document([few], published.window(BLOCKS), [])["findings"][0]["worst"]
    assert [said[name] for name in ("difference", "difference_interval", "ratio", "ratio_interval")] == [None] * 4
    view.show([(published.window(BLOCKS), [few])])
    assert "too few to show" in " ".join(capsys.readouterr().out.split())


def _pair(fewest: int) -> Pair:
    apart = {"difference": 1 / 9, "difference_interval": (-0.5, 0.5), "ratio": 8 / 9, "ratio_interval": (0.1, 3.0)}
    return Pair(above="no", below="de", stratum="old", fewest=fewest, **apart)


def test_few_positives_are_not_derived_from_all_and_those_that_are_not() -> None:
    tables = [("g", {"no": 90, "de": 6, "fr": 80}), ("g", {"no": 500, "de": 94, "fr": 300}), ("h", {"no": 500})]
    assert small_cells.hidden_together(tables) == {"g": {"de", "fr"}, "h": set()}


def test_the_share_of_labels_of_few_people_is_not_said() -> None:
    rows = [
        {"prediction": "yes", "groups": {"g": g}} | ({"label": "yes"} if place % 5 or g == "a" else {})
        for g, number in (("a", 600), ("b", 300), ("c", 9))
        for place in range(number)
    ]
    model = published.model("predictive_parity", min_events=11)
    asked = published.asked(model, [rows[block::BLOCKS] for block in range(BLOCKS)])
    (found,) = promises.judge([model], asked, published.window(BLOCKS))
    said = document.document([found], published.window(BLOCKS), [])["findings"][0]
    assert set(said["labelled"]) == {"a"}, "b gives c away"
