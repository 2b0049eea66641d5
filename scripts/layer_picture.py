"""Put the picture of the layers into the architecture guide: `python -m scripts.layer_picture`."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs/architecture.md"
WIDTH = 96
"""Columns of the picture, within its frame."""
PICTURE = re.compile(r"^```\n(┌.*?)\n```$", re.M | re.S)


def layers() -> list[str]:
    """Rows of the contract, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (one for one in contracts if one["name"].startswith("Arrows go down"))
    rows: list[str] = contract["layers"]
    return rows


def picture(rows: list[str]) -> str:
    """A box for each layer, the highest first; names side by side do not know each other."""

    def lines() -> Iterator[str]:
        for number, row in enumerate(rows):
            yield ("├" if number else "┌") + "─" * WIDTH + ("┤" if number else "┐")
            for line in textwrap.wrap("   ".join(re.findall(r"[\w.]+", row)), WIDTH - 2):
                yield f"│ {line:<{WIDTH - 2}} │"
        yield "└" + "─" * WIDTH + "┘"

    return "\n".join(lines())


if __name__ == "__main__":
    GUIDE.write_text(PICTURE.sub(lambda _: f"```\n{picture(layers())}\n```", GUIDE.read_text()))
