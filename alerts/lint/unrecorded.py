"""Puts the expressions of recording rules in the place of their names, so that an alert is judged by what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from midwatch.spec.system_dialect import Token, tokens

_DEPTH = 5
"""Records of records that are followed; more are a circle, or nobody's."""


def put_in(expr: str, records: Mapping[str, str], depth: int = _DEPTH) -> str:
    """The expression with records put in; one that is narrowed by matchers or moved in time stays a name.

    >>> put_in("max_over_time(a:b[30m]) > a:b and a:b{c='d'}", {"a:b": "sum(x)"})
    "max_over_time((sum(x))[30m:]) > (sum(x)) and a:b{c='d'}"
    """
    pieces = tokens(expr)
    if not depth or not any(piece.text in records for piece in pieces):
        return expr
    return put_in("".join(_written(pieces, records)), records, depth - 1)


def _written(pieces: list[Token], records: Mapping[str, str]) -> Iterator[str]:
    in_braces, is_range = False, False
    for place, piece in enumerate(pieces):
        in_braces = piece.text == "{" or (in_braces and piece.text != "}")
        following = next((one.text for one in pieces[place + 1 :] if not one.text.isspace()), "")
        if piece.is_word and not in_braces and piece.text in records and following not in ("{", "offset", "@"):
            is_range = following == "["
            yield f"({records[piece.text]})"
        elif piece.text == "]" and is_range:
            is_range = False
            yield ":]"
        else:
            yield piece.text
