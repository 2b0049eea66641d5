"""The pictures of the README: they are there, small enough, and can be taken again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts import screenshots
from tests.browser.console.conftest import Running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PNG = b"\x89PNG\r\n\x1a\n"


def test_every_picture_is_there_and_small_enough_for_a_readme() -> None:
    for name in screenshots.pages("http://console", Path("/preview")):
        content = (screenshots.IMAGES / f"{name}.png").read_bytes()
        assert content.startswith(PNG), name
        assert len(content) <= screenshots.MOST_BYTES, name


def test_pictures_of_a_console_can_be_taken(browser: Browser, running: Running, tmp_path: Path) -> None:
    wanted = {name: url for name, url in screenshots.pages(running.url, tmp_path).items() if name == "console"}
    wanted["incident"] = f"{running.url}/alerts/ModelErrorBudgetBurn"
    taken = screenshots.take(browser, wanted, tmp_path / "images")
    assert [file.name for file in taken] == ["console.png", "incident.png"]
    assert all(file.read_bytes().startswith(PNG) for file in taken)


def test_a_picture_that_is_too_large_is_named(
    browser: Browser, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screenshots, "MOST_BYTES", 100)
    with pytest.raises(RuntimeError, match=r"larger than 100 bytes: console.png"):
        screenshots.take(browser, {"console": running.url}, tmp_path)
