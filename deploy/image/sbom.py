"""A software bill of materials of the image: its Python distributions and Debian packages, as CycloneDX 1.6 JSON.

The same image gives the same bytes: components are sorted, and there is neither a time nor a serial number. It needs
nothing but the standard library: what it lists is what the image has. https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

DEBIAN = Path("/var/lib/dpkg/status")
LEFT_OUT = ("pip", "setuptools")
"""Distributions that `slim.py` removes."""

Component = dict[str, Any]


def python_components() -> Iterator[Component]:
    """Distributions of the environment that this interpreter runs in."""
    for found in metadata.distributions():
        name = found.metadata["Name"].lower().replace("_", "-")
        if name not in LEFT_OUT:
            licence = found.metadata.get("License-Expression") or found.metadata.get("License") or ""
            yield _component(name, found.version, f"pkg:pypi/{name}@{found.version}", licence)


def debian_components(status: Path) -> Iterator[Component]:
    """Installed packages of dpkg's status file; none where there is no such file."""
    text = status.read_text(encoding="utf-8") if status.exists() else ""
    for paragraph in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status") == "install ok installed":
            name, version, machine = fields["Package"], fields["Version"], fields["Architecture"]
            yield _component(name, version, f"pkg:deb/debian/{name}@{version}?arch={machine}", "")


def document(components: list[Component]) -> dict[str, Any]:
    """The bill: what the image is, and what it has."""
    ours = next(one for one in components if one["name"] == "midwatch")
    others = sorted((one for one in components if one is not ours), key=lambda one: str(one["bom-ref"]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": ours | {"type": "application"}},
        "components": others,
    }


def _component(name: str, version: str, purl: str, licence: str) -> Component:
    found: Component = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    # A licence field may hold the whole text; a name fits a line.
    if licence and "\n" not in licence and len(licence) <= 100:
        found["licenses"] = [{"license": {"name": licence}}]
    return found


def main() -> None:
    """Write the bill of this environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dpkg-status", type=Path, default=DEBIAN)
    options = parser.parse_args()
    components = [*python_components(), *debian_components(options.dpkg_status)]
    options.output.write_text(json.dumps(document(components), indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
