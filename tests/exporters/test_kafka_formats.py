"""What a member reads and writes beside the log: records, settings of connections, and who moved an offset last."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from exporters.events import kserve
from exporters.events.inference_log import RequestHalf, ResponseHalf
from exporters.events.store import decode_events
from exporters.kafka import claims, client, fleet, records, takeover
from exporters.kafka.client import FencedError, KafkaUnavailableError, _polled, settings_of
from exporters.kafka.records import Record
from exporters.kafka.takeover import Committed
from midwatch.spec import model

KAFKA = {"brokers": ["a:9092", "b:9092"], "topics": ["events"]}
PREDICTION = {"event": "prediction", "id": "a", "model": "m", "version": "v", "ts": 1.0, "prediction": "yes"}


def record(value: bytes | None, *headers: tuple[str, bytes]) -> Record:
    return Record("events", 0, 0, 1_700_000_000.0, value, headers)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (json.dumps(PREDICTION), 1),
        (json.dumps([PREDICTION, PREDICTION]), 2),
        (f"{json.dumps(PREDICTION)}\n{json.dumps(PREDICTION)}\n", 2),
        (f"{json.dumps(PREDICTION)}\nrubbish\n", 1),
    ],
    ids=["one", "an array", "lines", "lines with a fault"],
)
def test_a_record_has_one_event_or_more(value: str, count: int) -> None:
    results: records.Results = Counter()
    assert len(records.read_events(record(value.encode()), results)) == count
    assert sum(results.values()) == ("rubbish" in value)


def test_a_cloudevent_in_binary_mode_is_a_half_of_an_inference() -> None:
    read = records.cloudevents(kserve.Models(), 2**20)
    headers = (("ce_id", b"1"), ("ce_inferenceservicename", b"m"), ("content-type", b"application/json"))
    results: records.Results = Counter()
    (request,) = read(
        record(b'{"instances": [[1]]}', *headers, ("ce_type", b"org.kubeflow.serving.inference.request")), results
    )
    (response,) = read(
        record(b'{"predictions": ["yes"]}', *headers, ("ce_type", b"org.kubeflow.serving.inference.response")), results
    )
    assert isinstance(request, RequestHalf)
    assert isinstance(response, ResponseHalf)
    assert (request.model, request.key) == ("m", response.key)
    assert not results
    assert not read(record(b"{}"), results)
    assert results == {("half", "malformed", "invalid"): 1}


def test_secrets_are_read_from_files_beside_the_platform_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "ca.pem").write_text("certificates\n")
    sasl = {"mechanism": "SCRAM-SHA-512", "username": "midwatch", "password_file": "password"}
    kafka = model.Kafka.model_validate(KAFKA | {"sasl": sasl, "tls": {"ca_file": "ca.pem"}})
    told = settings_of(kafka, tmp_path)
    assert told["security.protocol"] == "SASL_SSL"
    assert (told["sasl.password"], told["ssl.ca.location"]) == ("secret", str(tmp_path / "ca.pem"))
    assert settings_of(model.Kafka.model_validate(KAFKA), tmp_path)["security.protocol"] == "PLAINTEXT"


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b" \n", "is empty"), (b"no certificate", "certificate.*look at .*ca.pem")],
    ids=["no file", "an empty file", "no PEM"],
)
def test_certificates_that_cannot_be_used_are_said_with_their_file(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    kafka = model.Kafka.model_validate(KAFKA | {"tls": {"ca_file": "ca.pem"}})
    with pytest.raises(KafkaUnavailableError, match=said):
        client.Group(kafka, "a", tmp_path)


def test_a_member_that_gets_no_connection_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TRANSACTION_SECONDS", 1.0)
    monkeypatch.setattr(client, "ANSWER_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = f"127.0.0.1:{closed.getsockname()[1]}"
    group = client.Group(model.Kafka.model_validate(KAFKA | {"brokers": [place]}), "a")
    with pytest.raises(KafkaUnavailableError, match="Connection refused"):
        group.connect()
    group.close()


def test_a_commit_whose_coordinator_is_away_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """librdkafka's call does not end before the coordinator is back (librdkafka#5456)."""
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.02)
    monkeypatch.setattr(client, "SPARE_SECONDS", 0.01)
    is_back = threading.Event()
    group = client.Group(model.Kafka.model_validate(KAFKA), "a")
    group._producer = SimpleNamespace(  # type: ignore[assignment]
        begin_transaction=lambda: None, send_offsets_to_transaction=lambda *_: is_back.wait(60)
    )
    claim = claims.Claim(owner="a", number=1)
    assert group.commit({("events", 0): (1, claim)}, None) is client.Outcome.UNKNOWN
    assert group.commit({("events", 0): (1, claim)}, None) is client.Outcome.UNKNOWN  # until it is connected again
    is_back.set()
    group.close()


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError.ILLEGAL_GENERATION])
def test_an_error_of_the_coordinator_is_the_commits(code: int) -> None:
    group = client.Group(model.Kafka.model_validate(KAFKA), "a")

    def refuse(*_: object) -> None:
        raise KafkaException(KafkaError(code, txn_requires_abort=True))

    group._producer = SimpleNamespace(  # type: ignore[assignment]
        begin_transaction=lambda: None, send_offsets_to_transaction=refuse, abort_transaction=lambda _: None
    )
    assert group.commit({("events", 0): (1, claims.Claim(owner="a", number=1))}, None) is client.Outcome.REFUSED
    group.close()


@pytest.mark.parametrize("text", [None, " \n"], ids=["no file", "an empty file"])
def test_a_password_that_is_not_there_is_said_with_its_file(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "password").write_text(text)
    sasl = {"mechanism": "PLAIN", "username": "midwatch", "password_file": "password"}
    kafka = model.Kafka.model_validate(KAFKA | {"sasl": sasl, "tls": {}})
    with pytest.raises(KafkaUnavailableError, match="password"):
        settings_of(kafka, tmp_path)


def test_a_claim_tells_whose_commit_was_taken_long_after_others_have_committed() -> None:
    claim = None
    for member, number in (("a", 7), ("b", 1), ("b", 2), ("c", 1)):
        claim = claims.following(claim, member, number, 1.0, "id")
    text = claims.encode(claim)  # type: ignore[arg-type]
    assert claims.decode(text) == claim
    assert [takeover.was_taken("a", number, [Committed(9, claim)]) for number in (7, 8)] == [True, False]
    assert takeover.was_taken("nobody", 1, [Committed(9, claim)]) is False
    assert takeover.was_taken("a", 7, []) is None
    assert takeover.was_taken("a", 7, [Committed(9, None)]) is None


def test_a_claim_is_never_larger_than_what_a_broker_keeps_and_says_what_it_has_forgotten() -> None:
    claim = None
    for number in range(200):
        claim = claims.following(claim, f"{number:012x}", 2**31 + number, 1_700_000_000.5, "sW/pZyLqRS+2K4ThOuv1gA")
    assert len(claims.encode(claim)) < 4096  # type: ignore[arg-type]
    assert claim is not None
    assert claim.has("0" * 12, 2**31) is None


@pytest.mark.parametrize("text", ["", "rubbish", "{}", '{"owner": 1}'])
def test_what_no_member_wrote_is_no_claim(text: str) -> None:
    assert claims.decode(text) is None


def test_the_judge_reads_in_a_group_of_its_own_and_keeps_nothing_waiting() -> None:
    told = fleet.of_judge(model.Exporter(kafka=KAFKA))
    assert told.kafka is not None
    assert (told.kafka.group, told.sample) == ("midwatch-exporter-judge", 0)
    assert fleet.of_judge(model.Exporter()) == model.Exporter()


def test_a_prepared_frame_is_no_group_of_events_by_itself() -> None:
    from exporters.events import journal, prepared

    frame = prepared.encode(1.0, prepared.Prepared(1, [], []), [])
    assert not decode_events(journal.Frame(journal.PREPARED, 1.0, frame[journal.HEADER.size :], journal.Position(1, 9)))


@pytest.mark.parametrize("code", [KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID])
def test_a_member_whose_name_another_process_has_ends(code: int) -> None:
    message = SimpleNamespace(error=lambda: KafkaError(code, "Static consumer fenced by other consumer"))
    with pytest.raises(FencedError, match="give each its own"):
        _polled([message])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"tls": {"certificate_file": "a.pem"}}, "certificate_file and key_file"),
        ({"session_timeout": "1ms"}, "from 1s to 30m"),
        ({"session_timeout": "10d"}, "from 1s to 30m"),
        ({"sasl": {"mechanism": "PLAIN", "username": "u", "password_file": "p"}}, "sends the password as it is"),
    ],
)
def test_what_no_broker_takes_or_everybody_reads_is_refused(keys: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        model.Kafka.model_validate({"brokers": ["b:9092"], "topics": ["events"], **keys})


def test_what_a_client_says_of_its_connections_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("exporters.kafka.client.time.monotonic", lambda: now[0])
    log = settings_of(model.Kafka.model_validate(KAFKA), Path())["logger"]
    for passed in (0.0, 0.5, 59.0, 61.0):
        now[0] = 1000.0 + passed
        log.error("FAIL: broker-a unreachable (after %dms in state CONNECT)", passed)
    log.error("FAIL: broker-b unreachable (after 0ms in state CONNECT)")
    assert [record.getMessage()[6:14] for record in caplog.records] == ["broker-a", "broker-a", "broker-b"]


def test_one_topic_is_not_named_twice(make_platform) -> None:
    with pytest.raises(ValueError, match="topics has events twice"):
        make_platform(exporter={"kafka": {"brokers": ["a:9092"], "topics": ["events", "events"]}})
