"""YAML as it is written to files: one document, keys in the order given, no aliases, long expressions on one line."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.CSafeDumper):
    """Writes no aliases: the files are read by people."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Never."""
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dump(document: object) -> str:
    """Text of a document."""
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=2**20, allow_unicode=True))
