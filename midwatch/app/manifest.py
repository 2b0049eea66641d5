"""What earlier renders wrote into a folder, by target: digests of files by their paths below it.

The file has no ending that `kubectl apply -R` takes for an object's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midwatch import files
from midwatch.platform_files import RENDERED, RENDERED_BEFORE

Digests = dict[str, str]

IN_THE_CLUSTER = "kubernetes/"
"""How paths of objects begin: releases before this one did not note the target, of which a folder had one."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Digests of the files of one target, and of each other target by its name."""

    own: Digests
    others: Mapping[str, Digests]

    def is_of_others(self, name: str) -> bool:
        """Whether another target has the file."""
        return any(name in digests for digests in self.others.values())

    def known(self, name: str) -> set[str]:
        """Digests that a file of this name had when it was rendered."""
        return {digests[name] for digests in (self.own, *self.others.values()) if name in digests}


def read(folder: Path, target: str) -> Manifest:
    """The manifest of a folder as a target sees it; an empty one where there is none that can be read."""
    by_target = _by_target(folder)
    others = {name: digests for name, digests in by_target.items() if name != target}
    return Manifest(own=by_target.get(target, {}), others=others)


def write(folder: Path, target: str, digests: Digests, others: Mapping[str, Digests]) -> None:
    """Note the files of a target, and leave those of others as they are."""
    text = json.dumps({**others, target: digests}, indent=1, sort_keys=True) + "\n"
    files.replace(folder / RENDERED, text.encode())
    (folder / RENDERED_BEFORE).unlink(missing_ok=True)


def _by_target(folder: Path) -> dict[str, Digests]:
    found = _document(folder / RENDERED)
    if found:
        return {name: digests for name, digests in found.items() if isinstance(digests, dict)}
    before: Digests = _document(folder / RENDERED_BEFORE)
    is_of_cluster = any(name.startswith(IN_THE_CLUSTER) for name in before)
    return {"kubernetes" if is_of_cluster else "files": before} if before else {}


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
