"""The observer and its clients when what they look at goes while they look: said, and never silence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dr.drill import facts, ledger
from dr.drill.client import ClientConfig, NotSentError
from dr.runner.observer import Config, Observer
from dr.stores.commands.client import CommandsClient
from dr.stores.files import published
from dr.stores.files.client import FilesClient


def test_a_folder_that_goes_while_it_is_read_is_a_request_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "model.bin").write_bytes(b"1")
    digest = published.digest

    def lost_first(path: Path) -> str:
        models.rename(tmp_path / "lost")
        return digest(path)

    monkeypatch.setattr(published, "digest", lost_first)
    with pytest.raises(NotSentError, match="models: No such file"):
        FilesClient(run="r", folder=str(models)).newest()


@pytest.mark.parametrize("line", ['{"run": "r", "seq": 1', '{"run": "r", "seq": "x", "checksum": ""}', '{"run": "r"}'])
def test_a_line_of_the_read_command_that_is_no_row_is_a_request_that_failed(line: str) -> None:
    read = [sys.executable, "-c", f"print({line!r})"]
    client = CommandsClient(run="r", observe=["true"], read=read, timeout=1.0)
    with pytest.raises(NotSentError, match="wrote a line that is no row"):
        client.newest()


def test_an_observer_whose_reader_breaks_ends_with_its_error_and_does_not_say_that_it_saw_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()

    def broken(_: FilesClient) -> tuple[int, str]:
        raise ZeroDivisionError("of a client")

    monkeypatch.setattr(FilesClient, "newest", broken)
    monkeypatch.setattr("dr.runner.observer.signal.signal", lambda *_: None)  # not those of the tests
    client = ClientConfig(kind="files", arguments={"folder": str(tmp_path / "models")})
    with pytest.raises(ZeroDivisionError, match="of a client"):
        Observer(Config(run="r", client=client, ledger=str(tmp_path / "ledger"))).run()
    seen = ledger.read_observed(tmp_path / "ledger")
    assert isinstance(seen[0], facts.Started)
    assert not any(isinstance(fact, facts.Ended) for fact in seen)
