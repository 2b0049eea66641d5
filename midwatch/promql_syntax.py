"""The syntax tree of PromQL, as promql-parser gives it: the nodes below a node."""

from __future__ import annotations

from typing import Any

from promql_parser import BinaryExpr, Call, MatrixSelector


def children(node: Any) -> list[Any]:
    """Nodes directly below."""
    if isinstance(node, BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, Call):
        return list(node.args)
    if isinstance(node, MatrixSelector):
        return [node.vector_selector]
    inner = [getattr(node, name, None) for name in ("param", "expr")]
    return [one for one in inner if one is not None]
