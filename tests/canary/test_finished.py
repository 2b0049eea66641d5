"""What is kept of intervals that are over: a look says the same as one that computes everything, for less."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from monitors.canary import alignment, criteria, judge
from monitors.canary.arms import Arms
from monitors.canary.counts import Counted, Counts
from monitors.canary.finished import Finished, Store
from tests.canary.arms import counted, counts, scraped_out_of_phase, settings, simulated, with_retries


def at_look(whole: Counted, size: int) -> Counted:
    """The counts as a look sees them when so many intervals are over."""
    rows = {
        one.name: getattr(whole, one.name)[..., :size]
        for one in fields(Counted)
        if isinstance(getattr(whole, one.name), np.ndarray)
    }
    return replace(whole, **rows, strata={name: at_look(part, size) for name, part in whole.strata.items()})


def seen(whole: Counted, size: int) -> Counts:
    data = at_look(whole, size)
    return counts(
        Arms(
            baseline_events=data.baseline_events[0],
            canary_events=data.canary_events[0],
            baseline_requests=data.baseline_requests,
            canary_requests=data.canary_requests,
        ),
        counted={"errors": data},
    )


def with_pauses(arms: Arms, *pauses: slice) -> Arms:
    """Arms of which the canary has no traffic now and then."""
    requests = arms.canary_requests.copy()
    for pause in pauses:
        requests[..., pause] = 0
    return replace(arms, canary_requests=requests, canary_events=np.minimum(arms.canary_events, requests))


def of_channels(*arms: Arms) -> Counted:
    """A channel for each of the arms' events, all of the first one's requests."""
    first = arms[0]
    return replace(
        counted(first),
        channels=tuple(f"channel {number}" for number in range(len(arms))),
        baseline_events=np.stack([np.minimum(one.baseline_events, first.baseline_requests) for one in arms]),
        canary_events=np.stack([np.minimum(one.canary_events, first.canary_requests) for one in arms]),
    )


def of_strata(*arms: Arms) -> Counted:
    """A stratum for each of the arms."""
    parts = [counted(one) for one in arms]
    summed = {
        one.name: np.sum([getattr(part, one.name) for part in parts], axis=0)
        for one in fields(Counted)
        if isinstance(getattr(parts[0], one.name), np.ndarray)
    }
    return replace(parts[0], **summed, strata={str(number): part for number, part in enumerate(parts)})


PAUSED = with_pauses(simulated(ratio=2.0, intervals=130), slice(40, 52), slice(60, 62), slice(95, 111))
CASES = {
    "equal arms": counted(simulated(intervals=130)),
    "a regression": counted(simulated(ratio=3.0, intervals=130)),
    "retries": counted(with_retries(4, intervals=130)),
    "rare events": counted(simulated(base=0.0005, intervals=130)),
    "out of phase": counted(scraped_out_of_phase(runs=1, intervals=130, canary_every=2).at(0)),
    "outages": counted(scraped_out_of_phase(runs=1, intervals=130, outages=30.0, seconds=20.0).at(0)),
    "pauses": counted(PAUSED),
    "channels": of_channels(simulated(intervals=130), *(simulated(base=0.1 * n, intervals=130) for n in (1, 3, 5))),
    "strata": of_strata(simulated(intervals=130), simulated(rps=5.0, ratio=2.0, seed=3, intervals=130), PAUSED),
}
CRITERIA = {
    "ratio": {"negligible": "0%"},
    "share": {"negligible": "2%"},
    "either": {"two_sided": True},
    "bursts": {"equal_baseline": True},
}
LOOKS = (30, 60, 61, 61, 100, 129, 130)


def asked_for(criterion: dict[str, Any]) -> Any:
    return settings({"metric": "errors"} | {key: value for key, value in criterion.items() if key != "two_sided"})


def assert_same(found: judge.Judgement, wanted: judge.Judgement) -> None:
    """To the last bit."""
    for one in fields(judge.Judgement):
        if one.name not in ("findings", "log_fail"):
            assert getattr(found, one.name) == getattr(wanted, one.name), one.name
    np.testing.assert_array_equal(found.log_fail, wanted.log_fail)
    for finding, other in zip(found.findings, wanted.findings, strict=True):
        assert finding.reason == other.reason
        assert finding.evidence is not None
        assert other.evidence is not None
        for one in fields(criteria.Evidence):
            ours, theirs = getattr(finding.evidence, one.name), getattr(other.evidence, one.name)
            np.testing.assert_equal(ours, theirs, err_msg=one.name)


@pytest.mark.parametrize("whole", CASES.values(), ids=CASES)
@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA)
def test_every_look_says_what_it_says_without_what_is_kept(whole: Counted, criterion: dict[str, Any]) -> None:
    asked, two_sided, kept = asked_for(criterion), "two_sided" in criterion, Finished(Store(), ("analysis",))
    for size in LOOKS:
        data = seen(whole, size)
        alone = judge.judge(data, asked, two_sided=two_sided)
        assert_same(judge.judge(data, asked, two_sided=two_sided, finished=kept), alone)


def with_a_gap(whole: Counted, at: int, arm: str) -> Counted:
    """The counts of which one arm's of an interval came with the next, as of a scrape that was late."""
    parts = {name: with_a_gap(part, at, arm) for name, part in whole.strata.items()}
    moved = {}
    for name in (f"{arm}_events", f"{arm}_requests"):
        row = getattr(whole, name).copy()
        row[..., at + 1 : at + 2] += row[..., at : at + 1]
        row[..., at] = 0
        moved[name] = row
    return replace(whole, **moved, strata=parts)


@pytest.mark.parametrize("seed", range(8))
def test_no_history_of_looks_changes_what_one_says(seed: int) -> None:
    """Looks at random times, also at earlier ones; scrapes that come late, when a look has seen the interval."""
    generator = np.random.default_rng(seed)
    intervals = 150
    made = [
        simulated(
            base=float(generator.choice([0.001, 0.01, 0.2])),
            ratio=float(generator.choice([1.0, 2.0])),
            share=float(generator.choice([0.1, 0.5])),
            intervals=intervals,
            seed=seed * 10 + number,
        )
        for number in range(3)
    ]
    whole = (of_strata if seed % 3 == 0 else of_channels)(*made)
    asked = asked_for(CRITERIA[list(CRITERIA)[seed % len(CRITERIA)]])
    kept, size = Finished(Store(), ("analysis",)), 2
    for _ in range(8):
        size = int(np.clip(size + generator.choice([0, 1, 1, 2, 7, 30, -5]), 2, intervals))
        if generator.random() < 0.4:
            whole = with_a_gap(whole, int(generator.integers(0, size)), generator.choice(["baseline", "canary"]))
        data = seen(whole, size)
        assert_same(judge.judge(data, asked, finished=kept), judge.judge(data, asked))


def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Intervals of the arms that each look computes with."""
    sizes: list[int] = []
    log_fail = criteria.log_fail

    def counting(arms: Arms, *more: Any) -> Any:
        sizes.append(arms.canary_requests.shape[-1])
        return log_fail(arms, *more)

    monkeypatch.setattr(criteria, "log_fail", counting)
    return sizes


ASKED = settings({"metric": "errors"})


def weigh(arms: Arms, kept: Finished) -> criteria.Evidence:
    return criteria.weigh(ASKED.criteria[0], counted(arms), false_alarm=0.05, false_pass=0.05, finished=kept)


def test_a_look_computes_the_new_intervals_and_three_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    arms, kept, sizes = simulated(intervals=2000), Finished(Store(), ("analysis",)), computed(monkeypatch)
    for size in (1990, 1991, 1992, 2000):
        weigh(arms.at(slice(None, size)), kept)
    assert sizes == [1990, 4, 4, 11]


def test_what_is_kept_of_an_analysis_grows_by_two_numbers_an_interval() -> None:
    sizes = []
    for intervals in (1000, 1100):
        store = Store()
        weigh(simulated(intervals=intervals), Finished(store, ("analysis",)))
        sizes.append(store.size)
    later_starts = 1 * (17 + 7) * 8 + 2 * 250
    assert sizes[1] - sizes[0] <= 100 * 2 * 8 + later_starts


@pytest.mark.parametrize("changed", [7, 197, 198], ids=["long ago", "the last finished", "the one after it"])
def test_counts_that_changed_afterwards_are_computed_anew(changed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arms, kept, sizes = simulated(intervals=200), Finished(Store(), ("analysis",)), computed(monkeypatch)
    weigh(arms, kept)
    late = arms.canary_events.copy()
    late[changed] += 1
    after = replace(arms, canary_events=late)
    np.testing.assert_array_equal(weigh(after, kept).log_fail, weigh(after, Finished()).log_fail)
    assert sizes == [200, 200, 200]


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    arms, once = simulated(intervals=102), Store()
    weigh(arms, Finished(once, ("a",)))
    store, sizes = Store(max_bytes=2 * once.size), computed(monkeypatch)
    for analysis in ("a", "b", "a", "c", "a", "b"):
        weigh(arms, Finished(store, (analysis,)))
    assert sizes == [102, 102, 3, 102, 3, 102]
    assert store.size <= 2 * once.size


def test_an_arm_that_is_scraped_half_as_often_is_gone_on_from_too(monkeypatch: pytest.MonkeyPatch) -> None:
    arms = scraped_out_of_phase(runs=1, intervals=200, canary_every=2).at(0)
    assert not (alignment.joined(arms).both()).all()
    kept, sizes = Finished(Store(), ("analysis",)), computed(monkeypatch)
    for size in (198, 199, 200):
        weigh(arms.at(slice(None, size)), kept)
    assert sizes[0] == 198
    assert max(sizes[1:]) <= 6


def test_criteria_and_analyses_keep_their_own_paths() -> None:
    store = Store()
    for number, arms in enumerate((simulated(), simulated(ratio=3.0, seed=2))):
        data = counts(arms, counted={"errors": counted(arms), "more": counted(arms, "more")})
        asked = settings({"metric": "errors"})
        alone = judge.judge(data, asked)
        for _ in range(2):
            found = judge.judge(data, asked, finished=Finished(store, (number,)))
            assert found.reason == alone.reason
