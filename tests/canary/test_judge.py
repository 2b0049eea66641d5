"""Verdicts from counts, and the command that gives them."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from midwatch.app import cli
from monitors.canary import counts_file, judge
from monitors.canary.counts import Counted, Counts, Doubt
from monitors.canary.times import parse_moment
from tests.canary.arms import counted, counts, settings, simulated
from tests.canary.test_statistics import bursty


def with_latency(*, slow: float = 1.0, **more: Any) -> Counts:
    arms = simulated(**more)
    generator = np.random.default_rng(7)
    sides = {}
    for name, requests, factor in (("baseline", arms.baseline_requests, 1.0), ("canary", arms.canary_requests, slow)):
        half = generator.binomial(requests, 0.5)
        tail = generator.binomial(half, min(1.0, 0.02 * factor))
        sides[name] = np.array([half, tail])
    latency = Counted(
        channels=("> 0.1 s", "> 0.5 s"),
        baseline_events=sides["baseline"],
        canary_events=sides["canary"],
        baseline_requests=arms.baseline_requests,
        canary_requests=arms.canary_requests,
    )
    return counts(arms, counted={"errors": counted(arms), "latency": latency})


BOTH = ({"metric": "errors"}, {"metric": "latency"})


def test_a_pass_needs_every_criterion_and_a_fail_names_the_one_that_regressed() -> None:
    said = judge.judge(with_latency(), settings(*BOTH))
    assert (said.verdict, {one.verdict for one in said.findings}) == ("pass", {"pass"})
    said = judge.judge(with_latency(slow=3.0), settings(*BOTH))
    assert (said.verdict, [one.verdict for one in said.findings]) == ("fail", ["pass", "fail"])
    assert said.reason.startswith("latency > 0.5 s: ")
    assert "errors" not in said.reason
    said = judge.judge(with_latency(intervals=24), settings(*BOTH))
    assert said.verdict == "inconclusive"
    assert said.needs is not None
    assert said.needs.requests > 100


def test_a_verdict_once_reached_stays_when_more_counts_come() -> None:
    whole = simulated(ratio=1.7, rps=200.0, intervals=240)
    verdicts = []
    for until in range(4, 240, 4):
        cut = replace_intervals(counts(whole), until)
        verdicts.append(judge.judge(cut, settings()).verdict.value)
    first = verdicts.index("fail")
    assert set(verdicts[:first]) == {"inconclusive"}
    assert set(verdicts[first:]) == {"fail"}
    decided = judge.judge(counts(whole), settings()).decided
    assert decided == pytest.approx(parse_moment("2026-01-05T00:00:00Z") + 15 * 4 * (first + 1), abs=60)


def replace_intervals(given: Counts, until: int) -> Counts:
    data = given.counted["errors"]
    cut = replace(
        data,
        baseline_events=data.baseline_events[:, :until],
        canary_events=data.canary_events[:, :until],
        baseline_requests=data.baseline_requests[:until],
        canary_requests=data.canary_requests[:until],
    )
    return replace(
        given,
        baseline_requests=given.baseline_requests[:until],
        canary_requests=given.canary_requests[:until],
        counted={"errors": cut},
    )


def test_what_would_decide_is_about_what_does() -> None:
    whole = simulated(rps=100.0, intervals=400)
    early = judge.judge(replace_intervals(counts(whole), 20), settings())
    assert early.needs is not None
    reached = judge.judge(counts(whole), settings())
    assert reached.verdict == "pass"
    assert reached.decided is not None
    took = (reached.decided - counts(whole).start) / 15
    assert 0.3 * took < 20 + (early.needs.intervals or 0) < 3 * took


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"doubts": (Doubt(text="something is odd"),)}, "something is odd"),
        ({"counted": {}}, "no counters"),
        ({"baseline_requests": np.zeros(0, np.int64), "canary_requests": np.zeros(0, np.int64)}, "not over"),
        ({"canary_requests": np.zeros(240, np.int64)}, "v2 has not received traffic"),
        ({"baseline_requests": np.zeros(240, np.int64)}, "v1 receives no traffic"),
    ],
    ids=["a doubt", "no counters", "too early", "no canary traffic", "no baseline traffic"],
)
def test_what_is_not_known_is_never_a_pass(change: dict[str, Any], reason: str) -> None:
    good = simulated()
    assert judge.judge(counts(good), settings()).verdict == "pass"
    said = judge.judge(counts(good, **change), settings())
    assert (said.verdict, reason in said.reason) == ("inconclusive", True), said.reason


def test_an_unhealthy_baseline_decides_nothing_not_even_a_fail() -> None:
    said = judge.judge(counts(simulated(base=0.2, ratio=3.0)), settings())
    assert said.verdict == "inconclusive"
    assert "the baseline is unhealthy: errors 19.97%" in said.reason


def test_without_any_error_a_canary_passes_once_errors_can_only_be_negligible() -> None:
    none = simulated(base=0.0, rps=100.0)
    assert judge.judge(counts(none), settings()).verdict == "pass"
    strict = settings({"metric": "errors", "negligible": "0%"})
    assert judge.judge(counts(none), strict).verdict == "inconclusive"


def test_a_regression_among_negligible_events_is_no_fail() -> None:
    tiny = counts(simulated(base=0.00005, ratio=5.0, rps=2000.0))
    assert judge.judge(tiny, settings()).verdict == "pass"
    assert judge.judge(tiny, settings({"metric": "errors", "negligible": "0%"})).verdict == "fail"


def test_bursty_errors_are_compared_with_a_baseline_of_equal_size() -> None:
    equal = {"metric": "errors", "equal_baseline": True, "unacceptable_ratio": 3}

    def one(arms: Any) -> Counts:
        return counts(arms.at(0))

    assert judge.judge(one(bursty(ratio_=1.0, runs=1)), settings(equal)).verdict == "pass"
    assert judge.judge(one(bursty(ratio_=5.0, runs=1)), settings(equal)).verdict == "fail"
    said = judge.judge(counts(simulated()), settings(equal))
    assert (said.verdict, "of the canary's size" in said.reason) == ("inconclusive", True)


def test_two_versions_are_compared_either_way() -> None:
    orders = {"metric": "counters", "name": "orders", "total": "v_total", "events": "o_total"}

    def said(ratio: float) -> judge.Judgement:
        arms = simulated(base=0.05, ratio=ratio, share=0.5)
        return judge.judge(counts(arms, counted={"orders": counted(arms, "orders")}), settings(orders), two_sided=True)

    for ratio, word in ((1.5, "higher"), (0.6, "lower")):
        found = said(ratio)
        assert (found.verdict, f"is {word} on the canary" in found.reason) == ("fail", True)
        interval = found.findings[0].evidence.interval  # type: ignore[union-attr]
        assert interval.low < ratio < interval.high  # type: ignore[operator]
    assert said(1.0).verdict == "pass"


def test_the_page_of_two_versions_that_differ_says_so_and_shows_no_red_fail(tmp_path: Path, capsys: Any) -> None:
    file, page = tmp_path / "counts.json", tmp_path / "page.html"
    file.write_text(json.dumps(counts_file.document(with_latency(slow=3.0), settings(*BOTH))))
    assert midwatch("canary", "judge", "--counts", file, "--two-sided", "--html", page) == 1
    assert 'id="verdict" class="different">Canary v2 against v1: different<' in page.read_text()
    assert 'class="fail"' not in page.read_text()
    capsys.readouterr()
    assert midwatch("canary", "judge", "--counts", file, "--two-sided", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert {document["verdict"], *(one["verdict"] for one in document["criteria"])} <= {"different", "equivalent"}


# Documents -----------------------------------------------------------------------------------------------------------


def midwatch(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(one) for one in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    file = tmp_path / "counts.json"
    file.write_text(json.dumps(counts_file.document(with_latency(slow=3.0), settings(*BOTH))))
    return file


def test_a_verdict_is_given_again_from_its_own_document(saved: Path, tmp_path: Path, capsys: Any) -> None:
    assert midwatch("canary", "judge", "--counts", saved, "--json") == 1
    text = capsys.readouterr().out
    (tmp_path / "verdict.json").write_text(text)
    assert midwatch("canary", "judge", "--counts", tmp_path / "verdict.json", "--json") == 1
    assert capsys.readouterr().out == text
    said = json.loads(text)
    latency = said["criteria"][1]
    assert (said["verdict"], latency["channel"]) == ("fail", "> 0.5 s")
    assert latency["interval"][0] < latency["effect_ratio"] < latency["interval"][1]
    assert said["e_value"]["fail"] > said["e_value"]["fail_needed"]
    assert latency["distance"]["bound"] < 1
    assert re.fullmatch("[0-9a-f]{64}", said["digest"])
    assert midwatch("canary", "judge", "--counts", saved, "--metric", "errors") == 0
    assert "pass" in capsys.readouterr().out
    assert midwatch("canary", "judge", "--counts", saved, "--metric", "latency", "--two-sided") == 1
    two_sided = capsys.readouterr().out
    assert "different" in two_sided
    assert "is higher on the canary" in " ".join(two_sided.split())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"requests": {"baseline": [1], "canary": [1, 2]}}, "1 intervals of the baseline, 2 of the canary"),
        ({"start": "yesterday"}, "'yesterday' is not a time"),
        ({"start": "2026-01-01T00:00:00"}, "has no time zone"),
        ({"interval_seconds": 0}, "interval_seconds"),
        ({"interval_seconds": math.inf}, "interval_seconds"),
        ({"interval_seconds": 1e300}, "end after the year 9998"),
        ({"format": "other/9"}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"requests": {"baseline": [-1], "canary": [1]}}, "requests.baseline.0"),
        ({"requests": {"baseline": [math.nan], "canary": [1]}}, "requests.baseline.0"),
        ({"requests": {"baseline": [5], "canary": [5]}}, "not as many intervals as requests has"),
    ],
    ids=[
        "lengths",
        "time",
        "zone",
        "interval",
        "endless",
        "late",
        "format",
        "unknown key",
        "negative",
        "nan",
        "length",
    ],
)
def test_a_broken_file_of_counts_is_named_with_its_place(saved: Path, change: dict, told: str, capsys: Any) -> None:
    saved.write_text(json.dumps({**json.loads(saved.read_text()), **change}))
    assert midwatch("canary", "judge", "--counts", saved) == 2
    errors = capsys.readouterr().err
    assert told in errors
    assert str(saved) in errors
    assert "Traceback" not in errors


def test_what_is_no_json_or_no_file_or_no_settings_is_one_line(saved: Path, tmp_path: Path, capsys: Any) -> None:
    whole = saved.read_text()
    for text, told in (("{", "not JSON"), ("[]", "not a JSON object"), ("\x00", "not JSON")):
        saved.write_text(text)
        assert midwatch("canary", "judge", "--counts", saved) == 2
        assert told in capsys.readouterr().err
    assert midwatch("canary", "judge", "--counts", tmp_path / "none") == 2
    document = json.loads(whole)
    del document["settings"]
    saved.write_text(json.dumps(document))
    assert midwatch("canary", "judge", "--counts", saved) == 2
    assert "give the platform file" in capsys.readouterr().err


@pytest.fixture
def platform(tmp_path: Path, make_document: Any) -> Path:
    document = make_document(prometheus={"url": "http://127.0.0.1:1", "timeout": "200ms"})
    gauge = {"metric": "gauge", "name": "memory", "series": "memory_bytes"}
    document["models"][0]["canary"] = {"criteria": [{"metric": "errors"}, gauge]}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def test_samples_are_judged_by_the_platforms_gauges(platform: Path, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "samples.json"
    for canary, code in (([20.5, 21, None, 20, 22, 21, 20, 21], 1), ([], 3)):
        file.write_text(json.dumps({"memory": {"baseline": [10, 11, 10.5, 9, 10, 12, 11], "canary": canary}}))
        assert midwatch("canary", "judge", "-f", platform, "--model", "fraud", "--samples", file) == code
    said = capsys.readouterr().out.replace("\n", " ")
    assert "without samples nothing is known" in said
    assert "1970" not in said


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ([], 2, "--baseline: missing"),
        (["--model", "fraud", "--baseline", "v1", "--canary", "v1"], 2, "is the baseline too"),
        (["--model", "fruad", "--baseline", "v1", "--canary", "v2"], 2, "there is no model 'fruad'"),
        (["--model", "fraud", "--baseline", "v1", "--canary", "v2", "--start", "noon"], 2, "'noon' is not a time"),
        (["--model", "fraud", "--baseline", "v1", "--canary", "v2", "--start", "9", "--end", "8"], 2, "not after"),
        (["--model", "fraud", "--baseline", "v1", "--canary", "v2", "--metric", "x"], 2, "no criterion 'x'"),
        (["--model", "fraud", "--baseline", "v1", "--canary", "v2", "--wait", "soon"], 2, "--wait"),
        (["--model", "fraud", "--baseline", "v1", "--canary", "v2"], 3, ""),
    ],
    ids=["missing", "the same version", "model", "time", "order", "criterion", "wait", "Prometheus is down"],
)
def test_options_that_cannot_be_meant_are_lines(
    platform: Path, options: list, code: int, told: str, capsys: Any
) -> None:
    assert midwatch("canary", "judge", "-f", platform, *options) == code
    captured = capsys.readouterr()
    assert told in captured.err
    assert code == 2 or "no answer" in captured.out


def test_the_page_has_no_axis_for_what_never_happened(tmp_path: Path, platform: Path) -> None:
    arms = simulated(base=0.0)
    file, page = tmp_path / "counts.json", tmp_path / "page.html"
    file.write_text(json.dumps(counts_file.document(counts(arms), settings({"metric": "errors"}))))
    midwatch("canary", "judge", "--counts", file, "-f", platform, "--model", "fraud", "--html", page)
    shown = page.read_text().partition('<figure id="criterion-0">')[2].partition("</figure>")[0]
    assert re.search(r"Such events: none in [\d,]+ requests of v1, none in [\d,]+ requests of v2\.", shown)
    assert "<svg" not in shown


def test_the_page_names_evidence_by_criterion_and_says_what_to_do(saved: Path, tmp_path: Path) -> None:
    assert midwatch("canary", "judge", "--counts", saved, "--html", tmp_path / "page.html") == 1
    text = html.unescape((tmp_path / "page.html").read_text())
    for name in ("against the canary, all criteria", "for the canary: errors", "for the canary: latency"):
        assert f"<span>{name} <b>" in text
    assert 'id="verdict" class="fail">Canary v2 against v1: fail<' in text
    assert "v2 is worse than v1 in latency, beyond what is tolerated" in text
    assert "Take v2 back" in text
    assert "latency distribution, share of requests within" in text


def test_the_page_of_a_canary_that_waits_says_for_how_many_requests(tmp_path: Path) -> None:
    file, page = tmp_path / "counts.json", tmp_path / "page.html"
    file.write_text(json.dumps(counts_file.document(with_latency(intervals=24), settings(*BOTH))))
    assert midwatch("canary", "judge", "--counts", file, "--html", page) == 3
    assert re.search(r"Wait for about [\d,]+ more requests of v2", page.read_text())
