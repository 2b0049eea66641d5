"""Windows of attributions: what moved is named, what did not is calm, and too little is undecided."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from midwatch.prometheus import Line
from monitors.attribution import change, fetch
from monitors.attribution.change import Verdict, Windows
from tests.canary.arms import Past, prometheus_with
from tests.conftest import midwatch_here, platform_document

END, WINDOW, COUNT = 1_780_012_800.0, 3600.0, 41
NAMES = ("age", "amount", "hour")
MEANS = {"age": 1.0, "amount": -0.5, "hour": 0.2}


def _windows(seed: int, count: int, means: Sequence[float] = (1.0, -0.5, 0.2), rows: float = 1000) -> Windows:
    rng = np.random.default_rng(seed)
    signed = np.array(means) + 0.02 * np.sqrt(1000 / rows) * rng.standard_normal((count, 3))
    return Windows(signed=signed, amount=np.abs(signed) + 0.1, rows=np.full(count, float(rows)))


def test_a_window_like_the_earlier_ones_is_stable_in_all_but_the_stated_share() -> None:
    said = [change.compare(NAMES, _windows(seed, 40), _windows(1000 + seed, 1)) for seed in range(200)]
    assert sum(one.verdict is Verdict.CHANGED for one in said) <= 0.05 * 200 + 3 * np.sqrt(0.05 * 0.95 * 200)


def test_a_window_of_fewer_rows_is_not_called_changed_for_their_chance() -> None:
    said = [change.compare(NAMES, _windows(seed, 40), _windows(1000 + seed, 1, rows=60)) for seed in range(200)]
    assert sum(one.verdict is Verdict.CHANGED for one in said) <= 0.05 * 200 + 3 * np.sqrt(0.05 * 0.95 * 200)
    lost = change.compare(NAMES, _windows(1, 40), _windows(2, 1, (0.0, -0.5, 0.2), rows=60))
    assert lost.verdict is Verdict.CHANGED


@pytest.mark.parametrize(
    ("means", "moved"), [((1.0, 0.0, 0.2), "amount"), ((1.0, -0.5, 0.6), "hour"), ((-1.0, -0.5, 0.2), "age")]
)
def test_a_feature_that_is_lost_gained_or_reversed_is_named_first(means: tuple[float, ...], moved: str) -> None:
    said = change.compare(NAMES, _windows(1, 40), _windows(2, 1, means))
    assert said.verdict is Verdict.CHANGED
    assert said.features[0].name == moved
    assert [one.name for one in said.features] == [moved]


def test_few_earlier_windows_cannot_tell() -> None:
    assert change.compare(NAMES, _windows(1, 10), _windows(2, 1)).verdict is Verdict.UNKNOWN


def test_the_orders_gain_is_that_of_clarify_and_histograms_diverge_between_none_and_one_bit() -> None:
    before = np.array([3.0, 2.0, 1.0])
    assert change.ndcg(before, np.array([6.0, 4.0, 2.0])) == pytest.approx(1.0)
    swapped = (2 + 3 / np.log2(3) + 0.5) / (3 + 2 / np.log2(3) + 0.5)
    assert change.ndcg(before, np.array([2.0, 3.0, 1.0])) == pytest.approx(swapped)
    assert change.jensen_shannon(before, before) == 0
    assert change.jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)


class Fixed:
    """A Prometheus that has these lines of each metric."""

    def __init__(self, **lines: Sequence[tuple[Mapping[str, str], Mapping[int, float]]]) -> None:
        self._lines = lines

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        del end
        (own,) = (lines for name, lines in self._lines.items() if str(expr).startswith(name))
        return [
            Line(labels=dict(labels), points=[(start + place * step, value) for place, value in points.items()])
            for labels, points in own
        ]


def _asked(**lines: Sequence[tuple[Mapping[str, str], Mapping[int, float]]]) -> fetch.Asked:
    return fetch.ask(Fixed(**lines), "fraud", "v1", fetch.Span(end=4 * WINDOW, window=WINDOW, count=4))


def test_counters_that_are_reset_together_are_counted_anew_together_and_over_gaps() -> None:
    one, other = {"instance": "a"}, {"instance": "b"}
    asked = _asked(
        ml_explained_predictions_total=[
            (one, {0: 100, 1: 200, 2: 250, 3: 350, 4: 450}),  # reset before 2, and above what it was
            (other, {1: 900, 2: 1000, 4: 1300}),  # a gap at 3; what was before 1 is not known
        ],
        ml_attribution_added_total=[
            ({**one, "feature": "x"}, {0: 300, 1: 600, 2: 250 * 3, 3: 350 * 3, 4: 450 * 3}),
            ({**other, "feature": "x"}, {1: 2700, 2: 3000, 4: 3900}),
            ({**one, "feature": "late"}, {3: 200, 4: 400}),
        ],
        ml_attribution_taken_total=[
            ({**one, "feature": "x"}, {0: 500, 1: 500, 2: 0, 3: 0, 4: 0}),
            ({**one, "feature": "late"}, {3: 0, 4: 0}),
        ],
    )
    assert asked.windows.rows.tolist() == [100, 350, 100, 400]
    late, always = asked.windows.signed.T
    assert asked.names == ("late", "x")
    assert always.tolist() == [3, 3, 3, 3]
    assert late.tolist() == [0, 0, 2, 0.5]


def test_a_feature_that_is_back_some_time_after_a_reset_is_no_second_reset() -> None:
    asked = _asked(
        ml_explained_predictions_total=[({}, {0: 500, 1: 600, 2: 50, 3: 100, 4: 150})],
        ml_attribution_added_total=[({"feature": "rare"}, {0: 90, 1: 100, 3: 10, 4: 20})],
        ml_attribution_taken_total=[],
    )
    assert asked.windows.rows.tolist() == [100, 50, 50, 50]


class Seeded(Past):
    """Counters of explained predictions, one sample a window."""

    def version(self, model: str, name: str, rng: Any, *, last: Mapping[str, float] = {}, rows: Any = 200) -> None:
        labels = {"model": model, "version": name}
        rows = np.full(COUNT, 1.0) * rows
        self.course("ml_explained_predictions_total", rows, **labels)
        for feature, mean in MEANS.items():
            means = mean + 0.01 * rng.standard_normal(COUNT)
            means[-1] = last.get(feature, means[-1])
            own = {**labels, "feature": feature}
            self.course("ml_attribution_added_total", rows * (np.maximum(means, 0) + 0.05), **own)
            self.course("ml_attribution_taken_total", rows * (np.maximum(-means, 0) + 0.05), **own)

    def course(self, name: str, gains: Any, **labels: str) -> None:
        start = END - COUNT * WINDOW
        sums = np.cumsum([0.0, *gains])
        self.add(name, [(start + place * WINDOW, float(value)) for place, value in enumerate(sums)], **labels)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    rng, past = np.random.default_rng(4), Seeded(END)
    past.version("fraud", "calm", rng)
    past.version("fraud", "moved", rng, last={"amount": 0.3})
    past.version("fraud", "other", rng, last={"hour": 0.8})
    past.version("fraud", "rare", rng, rows=5)
    past.version("fraud", "gone", rng, rows=np.array([200.0] * (COUNT - 1) + [0.0]))
    past.version("fraud", "thin", rng, rows=np.array([2000.0] * (COUNT - 1) + [100.0]))
    with prometheus_with(past, tmp_path_factory.mktemp("attributions")) as url:
        yield url


def _compare(prometheus: str, folder: Path, *words: object) -> Any:
    document = platform_document(prometheus={"url": prometheus})
    document["models"][0]["explanations"] = {}
    (folder / "platform.yaml").write_text(yaml.safe_dump(document))
    given = ("-f", folder / "platform.yaml", "--model", "fraud", "--window", "1h", "--end", END, "--json")
    return midwatch_here("attributions", "compare", *given, *words)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--version", "calm"), 0, "as in 40 earlier windows"),
        (("--version", "moved"), 1, "its inputs moved: amount"),
        (("--version", "other", "--against", "calm"), 1, "it uses its features otherwise: hour"),
        (("--version", "calm", "--against", "moved"), 3, "inputs moved, and the versions cannot be compared"),
        (("--version", "rare"), 3, "50 are needed"),
        (("--version", "other", "--against", "gone"), 3, "whether inputs moved is not known"),
        (("--version", "thin"), 3, "500 are needed to call it stable"),
        (("--version", "nobody"), 3, "0 explained predictions"),
    ],
)
def test_the_command_says_what_moved(
    prometheus: str, tmp_path: Path, words: Sequence[str], code: int, said: str
) -> None:
    done = _compare(prometheus, tmp_path, *words)
    assert done.returncode == code, done.stderr
    assert said in json.loads(done.stdout)["reason"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--version", "calm", "--window", "soon"), "--window"),
        (("--version", "calm", "--window", "1s"), "shorter than a scrape interval"),
        (("--version", "calm", "--against", "calm"), "--against"),
        (("--version", "calm", "--end", "tomorrow"), "--end"),
        (("--version", "calm", "--model", "x"), "no model 'x' has an explanations section"),
    ],
)
def test_what_cannot_be_asked_is_one_line_that_names_the_option(
    prometheus: str, tmp_path: Path, words: Sequence[str], said: str
) -> None:
    done = _compare(prometheus, tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
