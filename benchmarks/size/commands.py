"""Processor seconds of commands by the number of models: none costs more for each model the more there are."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.size import models

COMMANDS: dict[str, tuple[str, ...]] = {
    "check": ("check",),
    "render": ("render", "-o", "{folder}/out"),
    "render, for a cluster": ("render", "--target", "kubernetes", "-o", "{folder}/cluster"),
    "alerts check": ("alerts", "check"),
}
SIZES = (10, 100, 300, 1000)
SMOKE_SIZES = (2, 3, 4)
LINEAR = 1.3
"""How much more a model may cost among the most models than among fewer: two runs differ by as much."""


def run(*, smoke: bool) -> Sequence[Figure]:
    """Figures of each command: how its cost for a model grows from the middle sizes to the largest."""
    sizes = SMOKE_SIZES if smoke else SIZES
    seconds: dict[str, list[float]] = {command: [] for command in COMMANDS}
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            file = models.write(Path(name), size)
            for command, words in COMMANDS.items():
                seconds[command].append(_seconds([word.format(folder=name) for word in words], file))
    return [_figure(command, sizes, spent) for command, spent in seconds.items()]


def _seconds(words: list[str], file: Path) -> float:
    """Processor seconds of a command with the programs that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-P", "-m", "midwatch", *words, "-f", str(file)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _figure(command: str, sizes: Sequence[int], spent: Sequence[float]) -> Figure:
    """Cost of one model more among the most, to that among fewer; beside it the seconds of each size."""
    each = [(spent[place] - spent[0]) / (sizes[place] - sizes[0]) for place in (len(sizes) // 2, -1)]
    return Figure(
        name=f"{command}: cost of a model among {sizes[-1]:,}, to that among {sizes[len(sizes) // 2]:,}",
        target=LINEAR,
        measured=each[1] / each[0] if each[0] > 0 else 1.0,
        unit="times",
        better="less",
        peer="CPU " + ", ".join(f"{size:,}: {one:.2f} s" for size, one in zip(sizes, spent, strict=True)),
    )
