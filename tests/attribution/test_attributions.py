"""Windows of attributions: what moved is named, what did not is calm, and too little is undecided."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from midwatch import exposition, metrics
from midwatch.prometheus import Client, Line, Sample
from midwatch.spec.model import Platform
from monitors.attribution import change, fetch, judge, others
from monitors.attribution.change import Verdict, Windows
from monitors.evaluator.kinds import attributions
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
    assert others.ndcg(before, np.array([6.0, 4.0, 2.0])) == pytest.approx(1.0)
    swapped = (2 + 3 / np.log2(3) + 0.5) / (3 + 2 / np.log2(3) + 0.5)
    assert others.ndcg(before, np.array([2.0, 3.0, 1.0])) == pytest.approx(swapped)
    assert others.jensen_shannon(before, before) == 0
    assert others.jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)


def _twins(seed: int, count: int, weights: tuple[float, float], other: float = 0.5) -> Windows:
    """Two features of one input, which the model weighs, and one of another."""
    rng = np.random.default_rng(seed)
    one, apart = 1 + 0.05 * rng.standard_normal((2, count))
    signed = np.stack([weights[0] * one, weights[1] * one, other * apart], axis=1)
    return Windows(signed=signed, amount=1.2 * np.abs(signed), rows=np.full(count, 1000.0))


TWINS = ("income", "salary", "age")


def test_a_twin_that_takes_over_is_told_and_is_no_change_within_the_stated_share() -> None:
    said = [change.compare(TWINS, _twins(seed, 40, (0.6, 0.4)), _twins(999 + seed, 1, (0, 1))) for seed in range(100)]
    assert sum(one.verdict is Verdict.CHANGED for one in said) <= 0.05 * 100 + 3 * np.sqrt(0.05 * 0.95 * 100)
    assert said[0].exchanged == ("income", "salary")
    assert {one.name: one.twins for one in said[0].others}["income"] == ("salary",)


def test_twins_that_lose_together_are_a_change_and_a_feature_that_has_none_is_not_hidden_by_them() -> None:
    lost = change.compare(TWINS, _twins(1, 40, (0.6, 0.4)), _twins(2, 1, (0.3, 0.2)))
    assert {one.name for one in lost.features} == {"income", "salary"}
    assert lost.verdict is Verdict.CHANGED
    other = change.compare(TWINS, _twins(1, 40, (0.6, 0.4)), _twins(2, 1, (0, 1), other=1.0))
    assert [one.name for one in other.features] == ["age"]
    assert other.exchanged == ("income", "salary")


def test_a_twin_that_had_nothing_before_is_one_when_the_platform_file_says_so() -> None:
    before, now = _twins(1, 40, (1, 0)), _twins(2, 1, (0, 1))
    assert change.compare(TWINS, before, now).verdict is Verdict.CHANGED
    listed = change.compare(TWINS, before, now, listed=[["salary", "income", "unknown"]])
    assert (listed.verdict, listed.exchanged) == (Verdict.STABLE, ("income", "salary"))


def test_intervals_of_all_changes_hold_at_once_and_leave_out_0_for_what_moved() -> None:
    def is_covered(seed: int) -> bool:
        said = change.compare(NAMES, _windows(seed, 40), _windows(1000 + seed, 1))
        return all(low <= 0 <= high for one in said.others for low, high in (one.share_change, one.mean_change))

    missed = sum(not is_covered(seed) for seed in range(100))
    assert missed <= 2 * (0.05 * 100 + 3 * np.sqrt(0.05 * 0.95 * 100))  # shares and means have 95% each
    (lost,) = change.compare(NAMES, _windows(1, 40), _windows(2, 1, (1.0, 0.0, 0.2))).features
    assert lost.name == "amount"
    assert lost.share_change[1] < 0 < lost.mean_change[0]
    assert lost.share_now - lost.share_before == pytest.approx(sum(lost.share_change) / 2)


def test_a_change_lasts_when_the_last_two_windows_differ_from_those_before_both() -> None:
    def judged(*newest: Windows) -> judge.Judgement:
        every = (_windows(1, 40), *newest)
        windows = Windows(**{name: np.concatenate([getattr(one, name) for one in every]) for name in FIELDS})
        return judge.over_time(fetch.Asked(names=NAMES, windows=windows))

    calm, moved = _windows(2, 1), [_windows(seed, 1, (1.0, 0.0, 0.2)) for seed in (3, 4)]
    assert [judged(*newest).lasts for newest in ((calm, calm), (moved[0], calm), (calm, moved[0]), moved)] == [
        *[False] * 3,
        True,
    ]


@pytest.mark.parametrize("before", [20, 30, 40])
def test_a_change_that_lasts_is_said_at_its_second_window_however_few_are_before_it(before: int) -> None:
    parts = (_windows(1, before), _windows(2, 2, (1.0, 0.0, 0.2)))
    windows = Windows(**{name: np.concatenate([getattr(one, name) for one in parts]) for name in FIELDS})
    said = judge.over_time(fetch.Asked(names=NAMES, windows=windows))
    assert (said.verdict, said.lasts) == (Verdict.CHANGED, True)
    assert said.change is not None
    assert said.change.features[0].name == "amount"


FIELDS = ("signed", "amount", "rows")


class Fixed:
    """A Prometheus that has these lines of each metric."""

    def __init__(self, **lines: Sequence[tuple[Mapping[str, str], Mapping[int, float]]]) -> None:
        self._lines = lines

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        del end
        own = next((lines for name, lines in self._lines.items() if str(expr).startswith(name)), ())
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

        # Places of `hour`, the last feature: it is the first one in the last window of a version that moved.
        firsts = np.full(COUNT, 0.0)
        firsts[-1] = rows[-1] * bool(last)
        for bound, gains in (("1.0", firsts), ("3.0", rows), ("+Inf", rows)):
            self.course("ml_attribution_place_bucket", gains, **labels, feature="hour", le=bound)

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
    late = np.array([0.0] * (COUNT - 3) + [200.0] * 3)
    past.version("price", "old", rng)
    past.version("price", "new", rng, rows=late, last={"amount": 0.3})
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


def test_the_document_has_what_other_services_would_have_measured(prometheus: str, tmp_path: Path) -> None:
    said = json.loads(_compare(prometheus, tmp_path, "--version", "other").stdout)["change"]
    by_name = {one["name"]: one for one in (*said["features"], *said["others"])}
    assert said["usual_ndcg"] == pytest.approx(1.0)
    assert said["ndcg"] < 1
    assert by_name["hour"]["divergence"] == pytest.approx(1.0)
    assert 0 < by_name["hour"]["share_change"][0] < by_name["hour"]["share_now"] - by_name["hour"]["share_before"]


# Published again and again --------------------------------------------------------------------------------------------


class Counted(Client):
    """Counts range queries."""

    ranges = 0

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        self.ranges += 1
        return super().query_range(expr, start=start, end=end, step=step)

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        return super().query(expr, at=END if at is None else at)


@pytest.fixture(scope="module")
def evaluated(prometheus: str) -> tuple[Any, Counted]:
    document = platform_document(prometheus={"url": prometheus})
    (fraud,) = document["models"]
    document["models"] = [{**fraud, "name": name, "explanations": {"window": "1h"}} for name in ("fraud", "price")]
    return attributions.prepare(Platform.model_validate(document)), Counted(prometheus)


def _values(samples: Sequence[exposition.Sample], metric: metrics.Metric, *by: str) -> dict[tuple[str, ...], float]:
    return {tuple(labels[name] for name in by): value for one, labels, value in samples if one is metric}


def test_a_version_is_compared_with_its_past_and_nothing_calm_is_said_while_blind(evaluated: Any) -> None:
    evaluate, client = evaluated
    found = evaluate(client, END + 60)
    verdicts = _values(found.samples, metrics.ATTRIBUTION_VERDICT, "version", "question")
    inputs = {version: value for (version, question), value in verdicts.items() if question == "inputs"}
    assert inputs == {"calm": 1, "moved": -1, "other": -1, "rare": 0, "gone": 0, "thin": 0, "old": 1, "new": 0}
    blind = _values(found.when_blind, metrics.ATTRIBUTION_VERDICT, "version", "question")
    assert blind == {key: min(0, value) for key, value in verdicts.items()}
    moved = _values(found.samples, metrics.ATTRIBUTION_MOVED, "version", "question", "feature")
    assert moved["moved", "inputs", "amount"] > 3
    assert moved["moved", "inputs", "age"] == moved["calm", "inputs", "amount"] == 0
    ends = _values(found.samples, metrics.ATTRIBUTION_WINDOW_END, "model")
    assert ends == {("fraud",): END, ("price",): END}


def test_a_new_version_is_compared_with_the_one_that_it_replaces(evaluated: Any) -> None:
    evaluate, client = evaluated
    verdicts = _values(evaluate(client, END + 60).samples, metrics.ATTRIBUTION_VERDICT, "version", "question")
    assert verdicts["new", "use"] == -1
    assert {version for version, question in verdicts if question == "use"} == {"new"}


def test_counters_are_asked_for_once_a_window(evaluated: Any) -> None:
    evaluate, client = evaluated
    evaluate(client, END + 60)
    before = client.ranges
    assert evaluate(client, END + 120).samples == evaluate(client, END + 180).samples
    assert client.ranges == before
    evaluate(client, END + WINDOW)
    assert client.ranges == before + 4


def test_a_feature_that_is_named_as_a_twin_twice_is_refused_with_its_name() -> None:
    model = platform_document()["models"][0]
    model["explanations"] = {"twins": [["income", "salary"], ["salary", "wage"]]}
    with pytest.raises(ValueError, match="names 'salary' twice"):
        Platform.model_validate(platform_document(models=[model]))
