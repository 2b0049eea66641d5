"""Free text never becomes a label value: not of a prediction, a label or a group, and not from an older state."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml

from exporters import collector
from exporters.events import ingest, journal
from exporters.events.class_names import is_class_like
from exporters.events.series import ModelSeries, Series
from exporters.events.state import State
from exporters.events.store import Store, decode_events
from midwatch import exposition, metrics
from midwatch.client import events
from midwatch.errors import MidwatchError
from midwatch.spec import model as spec

NOW = 1_700_000_000.0
LETTER = "Dear Ms Smith, your card 4111 1111 1111 1111 was charged with 12.50"
TEXTS = [
    LETTER,
    LETTER * 10_000,
    "jane.doe@example.com",
    "4111 1111 1111 1111",
    "+49 170 1234567",
    "first line\nsecond",
    "x" * 65,
    "é" * 40,
    "She lives in Bergen",
    "a\x00b",
    "",
]
CLASSES = ["late", "true", "3", "-1", "0.25", "golden retriever", "n02123045", "[18, 25)", "spam/ham", "Größe_M", "65+"]

_numbers = itertools.count()


def prediction(answer, **changes) -> events.Prediction:
    values = {"id": f"t{next(_numbers)}", "model": "fraud", "version": "v1", "ts": NOW, "prediction": answer}
    return events.Prediction(**(values | changes))


class Exporter:
    """Ingestion without HTTP: events go through the checks, the journal and the state."""

    def __init__(self, folder: Path, settings: spec.Exporter, models) -> None:
        self.store = Store(folder, settings, models)
        self.ingest = ingest.Ingest(self.store, settings, models, None, clock=lambda: NOW)

    def take(self, *given: events.Event) -> None:
        batch = ingest.Batch(items=list(enumerate(given, 1)), reply=lambda _: None)
        self.ingest.submit(batch)
        assert not batch.refused
        kept = [event for _, event in batch.items]
        frame = self.store.encode(NOW, kept)
        self.store.append(frame)
        self.store.applied(NOW, kept, len(frame))


@pytest.fixture
def exporter(tmp_path: Path, make_platform):
    made = Exporter(tmp_path / "state", spec.Exporter(), make_platform().models)
    yield made
    made.store.journal.close()


def exposed(state: State) -> str:
    view = collector.View(state.totals(), [], ([0] * (len(metrics.COMMIT_BUCKETS) + 1), 0.0))
    return exposition.render(collector.families(view)).decode()


def samples(state: State, name: str) -> dict[str, float]:
    lines = [line for line in exposed(state).splitlines() if line.startswith(name + "{")]
    return {line.rpartition(" ")[0].removeprefix(name): float(line.rpartition(" ")[2]) for line in lines}


@pytest.mark.parametrize("name", CLASSES)
def test_a_name_of_a_class_is_one(name: str) -> None:
    assert is_class_like(name)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_text_counts_as_text_wherever_it_comes(exporter: Exporter, text: str) -> None:
    assert not is_class_like(text)
    said, groups = prediction(text), prediction("fraud", groups={"country": text})
    exporter.take(said, groups)
    exporter.take(
        events.Label(id=said.id, model="fraud", label="fine", ts=NOW),
        events.Label(id=groups.id, model="fraud", label=text, ts=NOW),
    )
    assert samples(exporter.store.state, "ml_predictions_total") == {
        '{model="fraud",predicted="fraud",version="v1"}': 1,
        '{model="fraud",predicted="text",version="v1"}': 1,
    }
    assert samples(exporter.store.state, "ml_outcomes_total") == {
        '{actual="fine",model="fraud",predicted="text",version="v1"}': 1,
        '{actual="text",model="fraud",predicted="fraud",version="v1"}': 1,
    }
    (group,) = samples(exporter.store.state, "ml_group_outcomes_total")
    assert 'group="text"' in group
    assert len(exposed(exporter.store.state)) < 20_000
    if text:
        assert text not in exposed(exporter.store.state)


def test_a_text_is_not_even_written_to_the_journal(exporter: Exporter) -> None:
    exporter.take(prediction(LETTER, id="a"), events.Label(id="b", model="fraud", label=LETTER, ts=NOW))
    written = b"".join(path.read_bytes() for path in exporter.store.directory.glob("*.log"))
    assert b"text" in written
    assert b"Smith" not in written


def test_whether_two_texts_are_the_same_is_not_known_and_no_outcome(exporter: Exporter) -> None:
    exporter.take(prediction(LETTER, id="a"))
    exporter.take(events.Label(id="a", model="fraud", label=LETTER, ts=NOW))
    assert samples(exporter.store.state, "ml_outcomes_total") == {}
    assert samples(exporter.store.state, "midwatch_exporter_predictions_waiting") == {'{model="fraud"}': 0}


def test_fifty_texts_leave_room_for_the_classes(exporter: Exporter) -> None:
    exporter.take(*(prediction(f"{number} is a number of some kind") for number in range(200)))
    exporter.take(prediction("late"))
    assert set(exporter.store.state.counters.versions["fraud", "v1"].predicted) == {"text", "late"}


def test_of_declared_classes_each_stands_and_nothing_else_does(tmp_path: Path, make_platform) -> None:
    long_class = "the customer asks for a refund"
    model = {"name": "intent", "owner": "ml", "task": "classification", "classes": [long_class, True, 7, "late"]}
    made = Exporter(tmp_path, spec.Exporter(caps=spec.Caps(classes=2)), make_platform(models=[model]).models)
    answers = [long_class, True, 7, "late", "unheard", LETTER]
    made.take(*(prediction(answer, model="intent") for answer in answers))
    counted = made.store.state.counters.versions["intent", "v1"].predicted
    assert counted == {long_class: 1, "true": 1, "7": 1, "late": 1, "other": 1, "text": 1}
    assert 'midwatch_exporter_folded_total{label="class"} 1.0' in exposed(made.store.state)
    made.store.journal.close()


def test_a_group_that_was_hashed_stands_as_it_is(tmp_path: Path, make_platform) -> None:
    models = make_platform().models
    settings = spec.Exporter(personal=spec.Personal(hash=["country"], key_file=Path("key")))
    made = Exporter(tmp_path, settings, models)
    digest = "0123456789ab0123456789ab"
    made.take(prediction("fraud", id="a", groups={"country": digest}))
    made.take(events.Label(id="a", model="fraud", label="fraud", ts=NOW))
    (group,) = samples(made.store.state, "ml_group_outcomes_total")
    assert f'group="{digest}"' in group
    made.store.journal.close()


def test_texts_that_an_earlier_release_took_for_classes_are_folded_when_its_state_is_opened(
    tmp_path: Path, make_platform
) -> None:
    models = make_platform().models
    first = Store(tmp_path, spec.Exporter(), models)
    bounds = list(models[0].latency_buckets)
    series = Series("fraud", "v1", bounds, [0] * (len(bounds) + 1), [[0.0] * 3 for _ in range(10)])
    series.predicted = {LETTER: 2, "jane@example.com": 3, "late": 1}
    series.outcomes = {LETTER: {"late": 1, LETTER: 2}, "jane@example.com": {"late": 4}}
    series.groups = {"country": {LETTER: {"late": {"late": 1}}, "de": {"late": {LETTER: 5}}}}
    model = ModelSeries("fraud", [0] * (len(metrics.DELAY_BUCKETS) + 1), waiting=1, labels_waiting=1)
    model.classes, model.group_values = {LETTER, "late"}, {"country": {LETTER, "de"}}
    state = first.state
    state.counters.versions["fraud", "v1"], state.counters.models["fraud"] = series, model
    # What waits was written by a release that kept texts.
    frame = first.encode(NOW, [prediction(LETTER, id="w"), events.Label(id="x", model="fraud", label=LETTER, ts=NOW)])
    first.append(frame)
    first.applied(NOW, first_events(frame), len(frame))
    first.close(NOW)
    again = Store(tmp_path, spec.Exporter(), models)
    text = exposed(again.state)
    assert "Smith" not in text
    assert "jane" not in text
    assert again.state.counters.versions["fraud", "v1"].predicted == {"text": 6, "late": 1}
    assert again.state.counters.versions["fraud", "v1"].outcomes == {"text": {"late": 5, "text": 2}}
    groups = again.state.counters.versions["fraud", "v1"].groups
    assert groups == {"country": {"text": {"late": {"late": 1}}, "de": {"late": {"text": 5}}}}
    assert again.state.counters.models["fraud"].classes == {"late"}
    settle = [events.Label(id="w", model="fraud", label="late", ts=NOW), prediction("late", id="x")]
    again.state.apply(NOW, settle)
    assert "Smith" not in exposed(again.state)
    assert again.state.counters.versions["fraud", "v1"].outcomes["text"]["late"] == 6
    again.journal.close()


def first_events(frame: bytes) -> list:
    body = frame[journal.HEADER.size :]
    return decode_events(journal.Frame(journal.EVENTS, NOW, body, journal.Position(0, 0)))


def test_an_exemplar_names_a_trace_and_nothing_else(exporter: Exporter) -> None:
    for trace in ("my name is Erika Mustermann 12345", "0af7651916cd43dd8448eb211c80319c"):
        exporter.take(prediction("late", duration_seconds=0.01, trace_id=trace))
    series = exporter.store.state.counters.versions["fraud", "v1"]
    assert [exemplar.trace_id for exemplar in series.exemplars.values()] == ["0af7651916cd43dd8448eb211c80319c"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ["late", "fine"], "positive": "true"}, "true is not among classes"),
        ({"classes": ["late"], "task": "regression"}, "a regression has no classes"),
    ],
)
def test_classes_that_do_not_fit_the_model_are_a_problem_of_the_platform_file(
    load_text, make_document, changes, said
) -> None:
    document = make_document()
    model = {"name": "other", "owner": "ml", "task": "classification"} | changes
    document["models"].append(model)
    with pytest.raises(MidwatchError, match=said):
        load_text(yaml.safe_dump(document))
