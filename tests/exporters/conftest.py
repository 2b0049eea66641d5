"""A folder that a user could start things from."""

from __future__ import annotations

from pathlib import Path

import pytest

OURS = ("midwatch", "monitors", "dashboards", "alerts", "chaos", "dr", "exporters")
"""Our top-level names."""


@pytest.fixture
def crowded_folder(tmp_path: Path) -> Path:
    """A folder with a file and a folder of each of our names but the first, and of modules that the first has."""
    folder = tmp_path / "server"
    folder.mkdir()
    for name in (*OURS[1:], "client", "instrument", "metrics", "benchmarks", "tests"):
        (folder / f"{name}.py").write_text("raise SystemExit('the server\\'s own file')")
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('the server\\'s own folder')")
    return folder
