"""The evaluator's rounds: verdicts of promises as samples, counting from fixed times, and blindness that is said."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from midwatch import exposition, http_service, jobs
from midwatch.app import units
from midwatch.prometheus import Line, Sample, UnreachableError
from midwatch.spec import evaluation
from midwatch.spec.fairness import Fairness
from midwatch.spec.model import Platform
from monitors.evaluator import kinds
from monitors.evaluator.rounds import MOST_FAILURES, Rounds
from tests.conftest import midwatch_here, platform_document

BLOCK, SIZE = 600.0, 100
END = 1_780_000_200.0
OVER = f"{BLOCK * SIZE:.0f}s"
EVERY = "ml_predictions_total"
COUNTER, SINCE = "ml_group_predictions_total", "ml_fairness_since_timestamp_seconds"
PROMISE = {"attribute": "country", "measure": "demographic_parity", "ratio": "80%", "over": OVER, "public": True}

Series = dict[str, list[tuple[Mapping[str, str], list[tuple[float, float]]]]]


def make_platform(*promises: Mapping[str, Any], **more: Any) -> Platform:
    model = platform_document()["models"][0] | {"slos": [], "groups": ["country"], "fairness": list(promises)}
    return Platform.model_validate(platform_document(models=[model], **more))


@dataclass
class Counted:
    """A Prometheus in memory: counters by metric, sampled once a block; `answers` says whether it does."""

    series: Series = field(default_factory=dict)
    now: float = END
    answers: bool = True
    asked: list[str] = field(default_factory=list)

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        self._ask(expr)
        return [Sample(labels={}, value=self.now, time=self.now)]

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        self._ask(expr)
        found = self.series.get(str(expr).partition("{")[0], [])
        return [
            Line(labels=labels, points=inside)
            for labels, points in found
            if (inside := [(at, value) for at, value in points if start <= at <= end])
        ]

    def _ask(self, expr: object) -> None:
        self.asked.append(str(expr))
        if not self.answers:
            raise UnreachableError(str(expr), "no answer")

    def count(self, group: str, rate: float, rows: int, *, blocks: int = SIZE, attribute: str = "country") -> None:
        """Predictions of a group over the last blocks."""
        hits = np.random.default_rng(len(group)).binomial(rows, rate, size=blocks)
        first = END - blocks * BLOCK
        for predicted, counts in (("fraud", hits), ("fine", rows - hits)):
            labels = {"model": "fraud", "version": "v1", "attribute": attribute, "group": group, "predicted": predicted}
            course = [(first + place * BLOCK, float(n)) for place, n in enumerate([0, *np.cumsum(counts)])]
            self.series.setdefault(COUNTER, []).append(({"__name__": COUNTER, "job": "j", **labels}, course))
            if attribute == "country":
                every = {"model": "fraud", "version": "v1", "predicted": predicted, "pod": group}
                self.series.setdefault(EVERY, []).append((every, course))


def rounds_of(platform: Platform, client: Any) -> Rounds:
    return Rounds(client, {name: kinds.prepare_of(name)(platform) for name in evaluation.promised(platform)})


def published(rounds: Rounds, name: str) -> Iterator[tuple[dict[str, str], float]]:
    for family in exposition.parse(rounds.text().decode()):
        for sample in family.samples:
            if sample.name == name:
                yield dict(sample.labels), sample.value


def value(rounds: Rounds, name: str, **labels: str) -> float:
    (found,) = [one for own, one in published(rounds, name) if labels.items() <= own.items()]
    return found


@pytest.fixture
def apart() -> Counted:
    client = Counted()
    client.count("a", 0.5, 60)
    client.count("bb", 0.3, 60)
    return client


def test_every_kind_has_a_module_and_every_module_is_a_kind() -> None:
    assert set(kinds.NAMES) == set(evaluation.PROMISED)


def test_what_is_broken_is_published_with_the_pair_and_intervals(apart: Counted) -> None:
    rounds = rounds_of(make_platform(PROMISE), apart)
    rounds.evaluate()
    where = {"model": "fraud", "version": "v1", "attribute": "country", "measure": "demographic_parity"}
    where |= {"rate": "selected", "limit": "ratio 80%"}
    assert value(rounds, "ml_fairness_verdict", **where) == -1
    assert value(rounds, "ml_fairness_limit", **where) == 0.8
    low, middle, high = (value(rounds, "ml_fairness_ratio", **where, bound=one) for one in ("low", "estimate", "high"))
    assert 0.3 < low < middle < high < 0.8
    assert value(rounds, "ml_fairness_worst_pair_info", above="a", below="bb") == 1
    assert value(rounds, "ml_fairness_smallest_group_events", **where) == 60 * SIZE
    rates = {(own["group"], own["bound"]): one for own, one in published(rounds, "ml_fairness_group_rate")}
    assert rates["bb", "low"] < rates["bb", "estimate"] < rates["bb", "high"] < rates["a", "low"]
    assert value(rounds, "midwatch_evaluator_last_success_timestamp_seconds", kind="fairness") == END
    assert not rounds.problem


def test_groups_alike_are_kept_and_few_are_not_known_with_the_rows_that_are_missing() -> None:
    for rows, expected in ((600, 1), (6, 0)):
        client = Counted()
        client.count("a", 0.5, rows)
        client.count("bb", 0.5, rows)
        rounds = rounds_of(make_platform(PROMISE), client)
        rounds.evaluate()
        assert value(rounds, "ml_fairness_verdict") == expected
        assert [one > 0 for _, one in published(rounds, "ml_fairness_rows_needed")] == ([] if expected else [True])


def test_groups_alike_are_not_known_to_be_where_most_predictions_have_none() -> None:
    client = Counted()
    for group in ("a", "bb"):
        client.count(group, 0.5, 600)
    client.series[EVERY] = [
        (labels, [(at, 20 * value) for at, value in points]) for labels, points in client.series[EVERY]
    ]
    rounds = rounds_of(make_platform(PROMISE), client)
    rounds.evaluate()
    assert value(rounds, "ml_fairness_verdict") == 0
    assert value(rounds, "ml_fairness_ungrouped_ratio") == pytest.approx(0.95)


def test_the_number_of_questions_does_not_grow_with_promises(apart: Counted) -> None:
    asked = []
    for promises in ([PROMISE], [{**PROMISE, "ratio": f"{percent}%"} for percent in range(50, 90)]):
        apart.asked.clear()
        rounds_of(make_platform(*promises), apart).evaluate()
        asked.append(len(apart.asked))
    assert asked[0] == asked[1]


def test_two_promises_that_differ_in_their_limit_alone_are_told_apart(apart: Counted) -> None:
    rounds = rounds_of(make_platform(PROMISE, {**PROMISE, "ratio": "40%"}), apart)
    rounds.evaluate()
    assert value(rounds, "ml_fairness_verdict", limit="ratio 80%") == -1
    assert value(rounds, "ml_fairness_verdict", limit="ratio 40%") == 1


def test_counting_goes_on_from_when_the_evaluator_found_it_begun(apart: Counted) -> None:
    rounds = rounds_of(make_platform(PROMISE), apart)
    rounds.evaluate()
    began = value(rounds, SINCE, model="fraud", version="v1")
    assert began == END - SIZE * BLOCK, "the version's first prediction, as far back as is read"
    older = began - SIZE * BLOCK / 4
    apart.series[SINCE] = [({"model": "fraud", "version": "v1"}, [(END, older)])]
    rounds.evaluate()
    assert value(rounds, SINCE, model="fraud", version="v1") == older, "what was found once is not forgotten"
    assert value(rounds, "ml_fairness_smallest_group_events") == 60 * SIZE * 3 / 4, "the second run has taken over"


def test_a_change_at_the_end_is_said_to_have_come_lately() -> None:
    client = Counted()
    rng = np.random.default_rng(5)
    for group, last in (("a", 0.3), ("b", 0.05)):
        hits = np.concatenate([rng.binomial(300, 0.3, size=SIZE - 20), rng.binomial(300, last, size=20)])
        for predicted, counts in (("fraud", hits), ("fine", 300 - hits)):
            labels = {"model": "fraud", "version": "v1", "attribute": "country", "group": group, "predicted": predicted}
            course = [(END - (SIZE - place) * BLOCK, float(n)) for place, n in enumerate([0, *np.cumsum(counts)])]
            client.series.setdefault(COUNTER, []).append(({"__name__": COUNTER, "job": "j", **labels}, course))
    rounds = rounds_of(make_platform({**PROMISE, "ratio": "70%"}), client)
    rounds.evaluate()
    assert value(rounds, "ml_fairness_became_unfair") == 1


def test_blind_for_a_while_what_was_kept_is_not_known_and_what_was_broken_stays_broken(apart: Counted) -> None:
    rounds = rounds_of(make_platform(PROMISE, {**PROMISE, "ratio": "40%"}), apart)
    rounds.evaluate()
    apart.answers = False
    for failures in range(1, MOST_FAILURES + 1):
        rounds.evaluate()
        said = {own["limit"]: one for own, one in published(rounds, "ml_fairness_verdict")}
        assert said["ratio 80%"] == -1
        assert said["ratio 40%"] == (1 if failures < MOST_FAILURES else 0)
    assert "no answer" in rounds.problem
    assert value(rounds, "midwatch_evaluator_last_success_timestamp_seconds", kind="fairness") == END
    assert not list(published(rounds, "ml_fairness_group_rate")), "numbers of the past are not taken for the present"
    apart.answers = True
    rounds.evaluate()
    assert value(rounds, "ml_fairness_verdict", limit="ratio 40%") == 1


def test_before_the_first_answer_nothing_is_known_and_the_last_success_is_0(apart: Counted) -> None:
    apart.answers = False
    rounds = rounds_of(make_platform(PROMISE), apart)
    rounds.evaluate()
    assert value(rounds, "midwatch_evaluator_last_success_timestamp_seconds", kind="fairness") == 0
    assert not list(published(rounds, "ml_fairness_verdict"))


def test_an_error_that_nobody_thought_of_ends_a_round_and_not_the_service(apart: Counted, monkeypatch: Any) -> None:
    rounds = rounds_of(make_platform(PROMISE), apart)
    monkeypatch.setattr(Fairness, "key", property(lambda _: 1 / 0))
    rounds.evaluate()
    assert "ZeroDivisionError" in rounds.problem


def test_it_is_served_with_a_token_and_says_whether_it_can_judge(apart: Counted) -> None:
    rounds = rounds_of(make_platform(PROMISE), apart)
    rounds.evaluate()
    answers: dict[str, tuple[int, str]] = {}

    def ask(url: str) -> None:
        for path, headers in (("metrics", {}), ("metrics", {"Authorization": "Bearer t"}), ("readyz", {}), ("x", {})):
            request = urllib.request.Request(f"{url}/{path}", headers=headers)
            try:
                with urllib.request.urlopen(request) as answer:
                    answers[f"{path}{len(headers)}"] = answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                answers[f"{path}{len(headers)}"] = error.code, error.read().decode()
                error.close()
        os.kill(os.getpid(), signal.SIGTERM)

    def started(url: str) -> None:
        asyncio.get_running_loop().run_in_executor(None, ask, url)

    asyncio.run(rounds.serve(3600, http_service.Address(host="127.0.0.1", port=0, token=b"t"), started))
    assert answers["metrics0"][0] == 401
    assert answers["metrics1"][0] == 200 and "ml_fairness_verdict" in answers["metrics1"][1]
    assert answers["readyz0"][0] == 200
    assert answers["x0"][0] in (401, 404)


def test_it_is_scraped_missed_and_started_where_something_is_promised_and_nowhere_else() -> None:
    promising, other = make_platform(PROMISE), make_platform()
    assert jobs.EVALUATOR in {job.name for job in jobs.of_platform(promising)}
    assert jobs.EVALUATOR not in {job.name for job in jobs.of_platform(other)}
    text = units.render_files(promising)["systemd/midwatch-evaluator.service"]
    assert "ExecStart=/usr/bin/env midwatch evaluate serve -f /etc/midwatch/platform.yaml\n" in text
    assert "systemd/midwatch-evaluator.service" not in units.render_files(other)


def test_it_does_not_start_where_nothing_is_promised_that_it_evaluates(tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document()))
    done = midwatch_here("evaluate", "serve", "-f", file)
    assert done.returncode == 2
    assert "write models[].fairness" in done.stderr
