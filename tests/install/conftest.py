"""What is rendered once for all tests of the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.install.programs import Object, objects, render, whole_document


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a platform whose every part runs in the cluster: below it `kubernetes` and `helm/helm/values.yaml`."""
    folder = tmp_path_factory.mktemp("whole")
    for target in ("kubernetes", "helm"):
        render(whole_document(), folder, target)
    return folder


@pytest.fixture(scope="session")
def values(whole: Path) -> Path:
    return whole / "helm/helm/values.yaml"


@pytest.fixture(scope="session")
def expected(whole: Path) -> dict[tuple[str, str, str], Object]:
    """The objects as `midwatch render --target kubernetes` writes them."""
    return objects(*(path.read_text() for path in sorted((whole / "kubernetes").rglob("*.yaml"))))


@pytest.fixture(scope="session")
def pods(expected: dict[Any, Object]) -> dict[str, Object]:
    """Pod templates of everything that runs, by kind and name."""
    found = {}
    for (kind, _, name), one in expected.items():
        if kind in ("StatefulSet", "Deployment"):
            found[f"{kind}/{name}"] = one["spec"]["template"]
        elif kind == "CronJob":
            found[f"{kind}/{name}"] = one["spec"]["jobTemplate"]["spec"]["template"]
    return found
