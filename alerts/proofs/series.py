"""Makes series that a selector finds: their labels fulfil its matchers, and not those of another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from re import _constants as constants  # type: ignore[attr-defined] # how Python takes a pattern apart
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from alerts.expressions import Selector
from alerts.routing.matchers import Matcher

GROUP = "g"
"""Value of labels that only have to be there."""


class NoInstanceError(ValueError):
    """No series could be made for a selector."""


def instance(selector: Selector, *, more: Sequence[str] = (), unlike: Selector | None = None) -> str:
    """Text of a series that the selector finds, with the labels in `more` too, and that `unlike` does not find.

    Raises NoInstanceError when none is found by trying.
    """
    labels = labels_of(selector, more)
    if unlike is not None and _finds(unlike, labels):
        labels = _escaped(selector, unlike, labels)
    return text(selector.metric, labels)


def labels_of(selector: Selector, more: Sequence[str] = ()) -> dict[str, str]:
    """Labels of a series that the selector finds, those in `more` among them. Raises as `instance` does."""
    labels = dict.fromkeys(more, GROUP)
    for name in {name for name, _, _ in selector.matchers if name != "__name__"}:
        labels[name] = _value([Matcher(*one) for one in selector.matchers if one[0] == name])
    return labels


def variants(selector: Selector, label: str, more: Sequence[str] = ()) -> list[str]:
    """Two series that the selector finds and that differ only in a label; fewer when none are found by trying."""
    labels = labels_of(selector, more)
    conditions = [Matcher(*one) for one in selector.matchers if one[0] == label]
    said = _said(selector, label)
    tried = [*said, *(one.replace("0", "1") for one in said), "one", "two"]
    values = [value for value in dict.fromkeys(tried) if all(one.matches(value) for one in conditions)]
    return [text(selector.metric, {**labels, label: value}) for value in values[:2]]


def _said(selector: Selector, label: str) -> list[str]:
    """Values that the matchers of a label name: each alternative, as it is written and as a text that it finds."""
    patterns = [part for name, _, value in selector.matchers if name == label for part in value.split("|")]
    return [*patterns, *map(_sample, patterns)]


def text(metric: str, labels: Mapping[str, str]) -> str:
    """A series as promtool reads it: names of letters, digits and _ as they are, others in quotes (Prometheus 3)."""
    inner = [f'{_name(name)}="{_quoted(value)}"' for name, value in sorted(labels.items()) if value]
    if not _METRIC.fullmatch(metric):
        return f"{{{','.join([_name(metric), *inner])}}}"
    return f"{metric}{{{','.join(inner)}}}" if inner else metric


def is_of(series: str, metric: str) -> bool:
    """Whether the text of a series is one of a metric."""
    return series.partition("{")[0] == metric or series.startswith(f"{{{_name(metric)}")


_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def _name(name: str) -> str:
    """A label's name, or a metric's in braces: in quotes where letters, digits and _ do not do."""
    return name if _LABEL.fullmatch(name) else f'"{_quoted(name)}"'


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _finds(selector: Selector, labels: Mapping[str, str]) -> bool:
    return all(Matcher(*one).matches(labels.get(one[0], "")) for one in selector.matchers if one[0] != "__name__")


def _escaped(selector: Selector, unlike: Selector, labels: dict[str, str]) -> dict[str, str]:
    """Labels with one value changed so that only the first selector finds them."""
    for name, _, _ in unlike.matchers:
        for value in ("ok", "200", "stop", "no", GROUP, "", *_said(selector, name), *_said(unlike, name)):
            changed = labels | {name: value}
            if _finds(selector, changed) and not _finds(unlike, changed):
                return changed
    raise NoInstanceError(f"every series of {selector.metric} is one of {unlike.metric} too")


def _value(matchers: Sequence[Matcher]) -> str:
    """A value that fulfils every matcher of one label."""
    tried = [one.value for one in matchers if one.operator == "="]
    tried += [_sample(one.value) for one in matchers if one.operator == "=~"]
    for value in (*tried, GROUP, "ok", "1", "x", ""):
        if all(one.matches(value) for one in matchers):
            return value
    raise NoInstanceError(f"no value was found for {', '.join(map(str, matchers))}")


def _sample(pattern: str) -> str:
    """A text that a pattern probably matches: the first of every choice, repeated as seldom as it may be."""
    try:
        return "".join(_of_token(*token) for token in parser.parse(pattern))
    except (re.error, KeyError, TypeError):
        return pattern


def _of_token(kind: Any, detail: Any) -> str:
    if kind is constants.LITERAL:
        return chr(detail)
    if kind is constants.IN:
        first_kind, first = detail[0]
        return _first_of(first_kind, first)
    if kind is constants.BRANCH:
        return "".join(_of_token(*token) for token in detail[1][0])
    if kind is constants.SUBPATTERN:
        return "".join(_of_token(*token) for token in detail[3])
    if kind in (constants.MAX_REPEAT, constants.MIN_REPEAT):
        return "".join(_of_token(*token) for token in detail[2]) * max(1, int(detail[0]))
    return "0" if kind is constants.ANY else ""


def _first_of(kind: Any, detail: Any) -> str:
    """First letter of a class of letters; of one that excludes, a digit."""
    if kind is constants.LITERAL:
        return chr(detail)
    return chr(detail[0]) if kind is constants.RANGE else "0"
