"""Parts of a YAML text that stay as they are written while others are added: quotes, numbers and anchors are kept.

What somebody else's program reads is never decoded here: YAML 1.1 would take `0123` for 83.
"""

from __future__ import annotations

import yaml

Mapping = yaml.MappingNode
Node = yaml.Node


def parsed(text: str) -> yaml.MappingNode:
    """The mapping of a text; yaml.YAMLError when it is none. An empty text is an empty mapping."""
    node = yaml.compose(text, Loader=yaml.CSafeLoader)
    if node is None:
        return yaml.MappingNode("tag:yaml.org,2002:map", [])
    if not isinstance(node, yaml.MappingNode):
        raise yaml.YAMLError("not a mapping of keys to values")
    return node


def text_of(node: yaml.Node) -> str:
    """The text of a node, in blocks."""
    return str(yaml.serialize(node, Dumper=yaml.SafeDumper, width=2**20, allow_unicode=True))


def value(mapping: yaml.Node | None, key: str) -> yaml.Node | None:
    """What stands under a key; None where nothing does, or where there is no mapping."""
    if not isinstance(mapping, yaml.MappingNode):
        return None
    return next((node for name, node in mapping.value if name.value == key), None)


def entries(mapping: yaml.Node | None, key: str) -> list[yaml.Node]:
    """Entries of the list under a key."""
    node = value(mapping, key)
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def texts(nodes: list[yaml.Node], key: str) -> list[str]:
    """What the mappings among some nodes have under a key, as it is written."""
    return [found.value for node in nodes if isinstance(found := value(node, key), yaml.ScalarNode)]


def put(mapping: yaml.MappingNode, key: str, node: yaml.Node) -> None:
    """Write a node under a key, in place of what stands there."""
    name = yaml.ScalarNode("tag:yaml.org,2002:str", key)
    kept = [(there, inner) for there, inner in mapping.value if there.value != key]
    index = next((at for at, (there, _) in enumerate(mapping.value) if there.value == key), len(kept))
    mapping.value = [*kept[:index], (name, node), *kept[index:]]


def extend(mapping: yaml.MappingNode, key: str, nodes: list[yaml.Node], *, first: bool = False) -> None:
    """Add entries to the list under a key, behind or before those that are there."""
    there = entries(mapping, key)
    joined = [*nodes, *there] if first else [*there, *nodes]
    put(mapping, key, yaml.SequenceNode("tag:yaml.org,2002:seq", joined, flow_style=False))
