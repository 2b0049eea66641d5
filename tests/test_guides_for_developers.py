"""What the architecture and CONTRIBUTING say of the code: the picture of the layers, the folders, the recipes."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH = 96
"""Columns of the picture, within its frame."""


def layers() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (one for one in contracts if one["type"] == "layers" and "containers" not in one)
    return contract["layers"]


def picture(rows: list[str]) -> str:
    """A box for each layer, the highest first; names side by side do not know each other."""

    def lines() -> Iterator[str]:
        for number, row in enumerate(rows):
            yield ("├" if number else "┌") + "─" * WIDTH + ("┤" if number else "┐")
            for line in textwrap.wrap("   ".join(re.findall(r"[\w.]+", row)), WIDTH - 2):
                yield f"│ {line:<{WIDTH - 2}} │"
        yield "└" + "─" * WIDTH + "┘"

    return "\n".join(lines())


def test_the_picture_of_the_layers_is_that_of_the_contract() -> None:
    guide = (ROOT / "docs/architecture.md").read_text()
    (shown,) = re.findall(r"^```\n(┌.*?)\n```$", guide, re.M | re.S)
    assert shown == picture(layers()), "put the picture that the contract gives into docs/architecture.md"


def test_every_package_has_a_line_in_the_architecture() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    guide = (ROOT / "docs/architecture.md").read_text()
    assert [name for name in packages if f"| `{name}/" not in guide] == []


def test_every_recipe_is_in_the_index_of_recipes() -> None:
    index = (ROOT / "CONTRIBUTING.md").read_text()
    recipes = [f"docs/contributing/{path.name}" for path in (ROOT / "docs/contributing").glob("*.md")]
    assert [recipe for recipe in recipes if f"]({recipe})" not in index] == []
