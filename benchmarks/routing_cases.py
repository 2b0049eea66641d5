"""Alertmanager configurations and label sets to route, made from a seed; amtool's answer to them is the truth."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import yaml

NAMES = ("alertname", "owner", "severity", "model", "team")
VALUES = ("a", "b", "ab", "page", "ticket", "x y", 'q"q', "back\\slash", "ünï", "")
PATTERNS = ("a|b", "a.*", "", ".*", "p[a-z]+e", "(?i)TICKET", "[^a]+", "x\\sy", ".+")
RECEIVERS = tuple(f"r{index}" for index in range(12))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _matchers(draw: random.Random) -> list[str]:
    found = []
    for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3))):
        operator = draw.choice(("=", "=", "=", "!=", "=~", "!~"))
        value = draw.choice(PATTERNS if "~" in operator else VALUES)
        found.append(f"{draw.choice(NAMES)}{operator}{_quoted(value)}")
    return found


def _route(draw: random.Random, depth: int) -> dict:
    route: dict = {"matchers": _matchers(draw)}
    if draw.random() < 0.8:
        route["receiver"] = draw.choice(RECEIVERS)
    if draw.random() < 0.3:
        route["continue"] = True
    if depth < 3 and draw.random() < 0.5:
        route["routes"] = [_route(draw, depth + 1) for _ in range(draw.randint(1, 4))]
    return route


def config(seed: int) -> str:
    """A configuration that Alertmanager loads."""
    draw = random.Random(seed)
    root = {"receiver": "r0", "routes": [_route(draw, 0) for _ in range(draw.randint(1, 8))]}
    return yaml.safe_dump({"route": root, "receivers": [{"name": name} for name in RECEIVERS]}, allow_unicode=True)


def labels(seed: int, number: int) -> list[dict[str, str]]:
    """Label sets of alerts; none is empty, as amtool takes none that is."""
    draw = random.Random(-1 - seed)
    return [
        {"alertname": "A"} | {name: draw.choice(VALUES) for name in NAMES if draw.random() < 0.6} for _ in range(number)
    ]


def amtool_receivers(file: Path, found: dict[str, str]) -> list[str]:
    """What amtool answers."""
    words = [f"{name}={_quoted(value)}" for name, value in found.items()]
    command = ["amtool", "config", "routes", "test", f"--config.file={file}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip().split(",")
