"""The systems that are shipped, and platforms that have one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.spec import load, system_rules
from midwatch.spec.model import Platform
from midwatch.spec.system_settings import NamesSetting
from tests.conftest import platform_document

FOLDERS = Path("midwatch/systems")
NAMES = sorted(path.parent.name for path in FOLDERS.glob("*/system.yaml"))


def section(name: str, **changes: Any) -> dict[str, Any]:
    """A system's section of the platform file, with every objective it has and names for every list."""
    described = system_rules.system(name)
    names = {key: ["one", "two"] for key, one in described.settings.items() if isinstance(one, NamesSetting)}
    whole: dict[str, Any] = {
        "owner": "ml",
        "targets": ["first.example:9000", "second.example:9000"],
        "settings": names,
        "slos": [{"name": slo.name} for slo in described.slos if slo.is_in(described.versions.read)],
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not None}


@pytest.fixture
def write_platform(tmp_path: Path) -> Any:
    """Write a platform file with systems; the path."""

    def written(**systems: Any) -> Path:
        file = tmp_path / "platform.yaml"
        file.write_text(yaml.safe_dump(platform_document(systems=systems), sort_keys=False))
        return file

    return written


@pytest.fixture
def platform_with(write_platform: Any) -> Any:
    """A platform that has systems, as it is loaded."""

    def loaded(**systems: Any) -> Platform:
        return load.load_platform(write_platform(**systems))

    return loaded
