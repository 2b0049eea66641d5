"""A broker that tests and the demo start."""

from __future__ import annotations

from pathlib import Path

import pytest

from midwatch import kafka_broker
from midwatch.errors import MissingProgramError


def test_without_jars_the_message_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(MissingProgramError, match="KAFKA_HOME"):
        kafka_broker.prepare(tmp_path / "broker", 1, 2)


def test_a_folder_without_a_broker_is_no_folder_of_jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kafka_broker.jars() is None
    fetched = tmp_path / "midwatch" / "jars" / "kafka-4.3.0-1"
    fetched.mkdir(parents=True)
    assert kafka_broker.jars() is None
    (fetched / "kafka_2.13-4.3.0.jar").touch()
    assert kafka_broker.jars() == fetched
