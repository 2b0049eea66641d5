"""What a scrape gets: the client library's own text, of which only what changed is written again."""

from __future__ import annotations

import random

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from exporters import collector
from exporters.events.state import State
from exporters.incremental import IncrementalText
from midwatch import exposition, metrics
from midwatch.client import events
from midwatch.exposition import Sample
from midwatch.spec import model as spec

NOW = 1_700_000_000.0
COMMITS = ([0] * (len(metrics.COMMIT_BUCKETS) + 1), 0.0)
ODD = ['quo"te', "back\\slash", "new\nline", "ünïcode", "0.5", "", "True"]


def made_state() -> State:
    fraud = {"name": "fraud", "owner": "o", "task": "classification", "groups": ["country"], "label_maturity": "1s"}
    price = {"name": "price", "owner": "o", "task": "regression"}
    return State(spec.Exporter(), [spec.Model.model_validate(one) for one in (fraud, price)])


def tell(state: State, generator: random.Random, number: int, time: float) -> None:
    name = generator.choice(["fraud", "price", "another"])
    common = {"id": str(number), "model": name, "ts": NOW}
    amount = generator.choice([1, 2.5, 1e7, 1e-9])
    said = amount if name == "price" else generator.choice(ODD)
    group = {"country": generator.choice(ODD)}
    asked = events.Prediction(
        **common,
        version=generator.choice([*ODD, "v1"]),
        prediction=said,
        groups=group,
        score=generator.choice([None, 0.0, 0.31, 1.0]),
        duration_seconds=generator.choice([None, 0.3, 1e9 / 3e9]),
        trace_id=generator.choice([None, f"{number:032x}"]),
    )
    state.apply(time, [asked, events.Label(**common, label=said if generator.random() < 0.5 else 3.0)])


def write(text: IncrementalText, state: State, samples: list[Sample], content_type: str) -> bytes:
    totals = state.live()
    for _ in text.write(collector.tables(totals), collector.histograms(totals, COMMITS), samples, content_type):
        pass
    return b"".join(text.pieces(content_type))


def of_the_library(state: State, samples: list[Sample]) -> bytes:
    registry = CollectorRegistry()
    registry.register(collector.StateCollector(lambda: collector.View(state.published(), samples, COMMITS)))
    return generate_latest(registry)


def drift(window: int) -> list[Sample]:
    return [
        (metrics.DRIFT_STATISTIC, {"model": "m", "version": "v", "feature": f"f{one}", "method": "psi"}, float(window))
        if one % 2
        else (metrics.DRIFT_VOTES, {"model": "m", "version": f"v{one}"}, one * window)
        for one in range(700)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_the_text_stays_that_of_the_client_library_whatever_changes(seed: int) -> None:
    generator, state, text = random.Random(seed), made_state(), IncrementalText()
    own: list[Sample] = [(metrics.EXPORTER_EVENTS, {"kind": "event", "result": "malformed", "reason": "invalid"}, 1)]
    for number in range(60):
        tell(state, generator, number, NOW + number / 4)
        if number % 4 == 0:
            samples = own + drift(number // 20)[: 700 if number < 40 else 300]
            assert write(text, state, samples, exposition.CONTENT_TYPE) == of_the_library(state, samples)
            families = collector.families(collector.View(state.published(), samples, COMMITS))
            is_open = exposition.OPEN_METRICS
            assert write(text, state, samples, is_open) == exposition.render(families, is_open)
            lines = [line for line in b"".join(text.pieces(is_open)).splitlines() if not line.startswith(b"#")]
            assert text.series == len(lines)


def test_only_what_changed_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    state, text, again = made_state(), IncrementalText(), list[str]()
    for number in range(200):
        tell(state, random.Random(number), number, NOW)
    samples = drift(1)
    write(text, state, samples, exposition.CONTENT_TYPE)
    table_text, sample_text = exposition.table_text, exposition.sample_text
    monkeypatch.setattr(exposition, "table_text", lambda table: again.append(table.metric.name) or table_text(table))
    monkeypatch.setattr(exposition, "sample_text", lambda some: again.append(some[0][0].name) or sample_text(some))
    assert write(text, state, drift(1), exposition.CONTENT_TYPE)
    assert again == []
    state.apply(NOW, [events.Prediction(id="new", model="fraud", version="v1", ts=NOW, outcome="error")])
    samples[-1] = (*samples[-1][:2], -1.0)
    write(text, state, samples, exposition.CONTENT_TYPE)
    assert again == ["ml_requests_total", "midwatch_exporter_events_total", "ml_drift_statistic"]


def test_a_table_that_changes_between_two_steps_is_written_again_by_the_next_scrape() -> None:
    state, text = made_state(), IncrementalText()
    for number in range(200):
        tell(state, random.Random(number), number, NOW)
    totals = state.live()
    steps = text.write(collector.tables(totals), collector.histograms(totals, COMMITS), [], exposition.CONTENT_TYPE)
    for number, _ in enumerate(steps):
        tell(state, random.Random(number), 1000 + number, NOW + 1)
    assert write(text, state, [], exposition.CONTENT_TYPE) == of_the_library(state, [])


def test_what_is_not_published_any_more_takes_no_memory() -> None:
    text, state = IncrementalText(), made_state()
    for version in range(5):
        gone: list[Sample] = [
            (metrics.DRIFT_VOTES, {"model": "m", "version": f"{version}.{one}"}, 1) for one in range(900)
        ]
        write(text, state, gone, exposition.CONTENT_TYPE)
    held = sum(len(block.text) for block in text._known.values())
    assert held < len(b"".join(text.pieces(exposition.CONTENT_TYPE)))
