"""What is kept of intervals that are over: a look says the same as one that computes everything, for less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from monitors.canary import judge, ratio, starts
from monitors.canary.arms import Arms
from monitors.canary.finished import Finished, Store
from tests.canary.arms import counted, counts, scraped_out_of_phase, settings, simulated, with_retries


def at_look(arms: Arms, size: int) -> Arms:
    return arms.at((..., slice(None, size)))


def with_pauses(arms: Arms) -> Arms:
    requests = arms.canary_requests.copy()
    requests[40:52] = requests[95:] = 0
    return replace(arms, canary_requests=requests, canary_events=np.minimum(arms.canary_events, requests))


CASES = {
    "equal arms": simulated(intervals=130),
    "a regression": simulated(ratio=3.0, intervals=130),
    "retries": with_retries(4, intervals=130),
    "rare events": simulated(base=0.0005, intervals=130),
    "out of phase": scraped_out_of_phase(runs=1, intervals=130, canary_every=2).at(0),
    "pauses": with_pauses(simulated(ratio=2.0, intervals=130)),
}


@pytest.mark.parametrize("arms", CASES.values(), ids=CASES)
@pytest.mark.parametrize("criterion", [{}, {"negligible": "2%"}, {"harm": "either"}], ids=["ratio", "share", "either"])
def test_every_look_says_what_it_says_without_what_is_kept(arms: Arms, criterion: dict) -> None:
    asked = settings({"metric": "errors"} | {key: value for key, value in criterion.items() if key != "harm"})
    kept = Finished(Store(), ("analysis",))
    for size in (3, 30, 60, 61, 100, 129, 130, 130):
        data = counts(at_look(arms, size))
        two_sided = "harm" in criterion
        with_kept = judge.judge(data, asked, two_sided=two_sided, finished=kept)
        alone = judge.judge(data, asked, two_sided=two_sided)
        assert (with_kept.verdict, with_kept.reason, with_kept.decided) == (alone.verdict, alone.reason, alone.decided)
        np.testing.assert_allclose(with_kept.log_fail, alone.log_fail, rtol=1e-9, atol=1e-9)
        for found, wanted in zip(with_kept.findings, alone.findings, strict=True):
            if wanted.evidence is not None and found.evidence is not None:
                np.testing.assert_allclose(found.evidence.log_pass, wanted.evidence.log_pass, rtol=1e-9, atol=1e-9)


def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Intervals of each mixture over starts that is computed."""
    sizes: list[int] = []
    mixed = starts.mixed

    def counting(paths, since=0):
        found = mixed(paths, since)
        sizes.append(found.shape[-1])
        return found

    monkeypatch.setattr(starts, "mixed", counting)
    return sizes


def test_a_look_computes_the_new_intervals_and_the_two_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    arms, kept, sizes = simulated(intervals=2000), Finished(Store(), ("analysis",)), computed(monkeypatch)
    for size in (1990, 1991, 1992, 2000):
        ratio.log_e_above(at_look(arms, size), 1.1, 1.0, kept)
    assert sizes == [1990, 3, 3, 10]


def test_counts_that_changed_afterwards_are_computed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    arms, kept, sizes = simulated(intervals=200), Finished(Store(), ("analysis",)), computed(monkeypatch)
    ratio.log_e_above(arms, 1.1, 1.0, kept)
    late = arms.canary_events.copy()
    late[7] += 1
    changed = replace(arms, canary_events=late)
    found = ratio.log_e_above(changed, 1.1, 1.0, kept)
    np.testing.assert_array_equal(found, ratio.log_e_above(changed, 1.1, 1.0))
    assert sizes == [200, 200, 200]


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    arms, store, sizes = simulated(intervals=102), Store(max_bytes=2 * 100 * 8), computed(monkeypatch)
    for analysis in ("a", "b", "a", "c", "a", "b"):
        ratio.log_e_above(arms, 1.1, 1.0, Finished(store, (analysis,)))
    assert sizes == [102, 102, 2, 102, 2, 102]


def test_criteria_and_analyses_keep_their_own_paths() -> None:
    store = Store()
    for number, arms in enumerate((simulated(), simulated(ratio=3.0, seed=2))):
        data = counts(arms, counted={"errors": counted(arms), "more": counted(arms, "more")})
        asked = settings({"metric": "errors"})
        alone = judge.judge(data, asked)
        for _ in range(2):
            found = judge.judge(data, asked, finished=Finished(store, (number,)))
            assert found.reason == alone.reason
