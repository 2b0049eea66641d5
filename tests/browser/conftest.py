"""One browser for all tests of pages: starting it takes longer than looking at a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import pages
from tests.dashboards.conftest import past

__all__ = ["past"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The installed chromium."""
    with pages.started() as browser:
        yield browser
