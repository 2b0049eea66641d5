"""What the architecture and CONTRIBUTING say of the code: the picture of the layers, the folders, the recipes."""

from __future__ import annotations

import tomllib
from pathlib import Path

from scripts import layer_picture

ROOT = Path(__file__).parents[1]


def test_the_picture_of_the_layers_is_that_of_the_contract() -> None:
    (shown,) = layer_picture.PICTURE.findall(layer_picture.GUIDE.read_text())
    assert shown == layer_picture.picture(layer_picture.layers()), "run python -m scripts.layer_picture"


def test_every_package_has_a_line_in_the_architecture() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    guide = (ROOT / "docs/architecture.md").read_text()
    assert [name for name in packages if f"| `{name}/" not in guide] == []


def test_every_recipe_is_in_the_index_of_recipes() -> None:
    index = (ROOT / "CONTRIBUTING.md").read_text()
    recipes = [f"docs/contributing/{path.name}" for path in (ROOT / "docs/contributing").glob("*.md")]
    assert [recipe for recipe in recipes if f"]({recipe})" not in index] == []
