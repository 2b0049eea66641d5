"""What changed between two sets of dashboards, panel by panel. Where a panel stands on its page is no change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dashboards import reader
from dashboards.reader import Document, Panel


class ChangeKind(StrEnum):
    """What happened to a panel."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing of a panel that is not as it was; None where there was nothing, or is nothing now."""

    what: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """A panel that is not as it was, with the dashboard that it stands on."""

    kind: ChangeKind
    dashboard: Document
    before: Panel | None = None
    after: Panel | None = None
    differences: Sequence[Difference] = ()

    @property
    def panel(self) -> Panel:
        """The panel as it is, else as it was."""
        panel = self.after or self.before
        if panel is None:
            raise ValueError("a change of no panel")
        return panel


def changes(before: Sequence[Document], after: Sequence[Document]) -> list[Change]:
    """Every change; dashboards are the same by their uid, panels by their id, title, or queries, in this order."""
    earlier = {document["uid"]: document for document in before}
    now = {document["uid"]: document for document in after}
    found: list[Change] = []
    for uid, document in now.items():
        found += _of_dashboard(earlier.get(uid), document)
    for uid, document in earlier.items():
        if uid not in now:
            found += [
                Change(kind=ChangeKind.REMOVED, dashboard=document, before=one) for one in reader.panels(document)
            ]
    return found


def _of_dashboard(before: Document | None, after: Document) -> Iterator[Change]:
    left = [] if before is None else list(reader.panels(before))
    pairs: dict[int, Panel] = {}
    for same in (_by_id, _by_title, _by_queries):
        for place, panel in enumerate(reader.panels(after)):
            if place not in pairs and (found := next((one for one in left if same(one, panel)), None)) is not None:
                pairs[place] = found
                left.remove(found)
    for place, panel in enumerate(reader.panels(after)):
        earlier = pairs.get(place)
        if earlier is None:
            yield Change(kind=ChangeKind.ADDED, dashboard=after, after=panel)
        elif differences := list(_differences(earlier, panel)):
            yield Change(kind=ChangeKind.CHANGED, dashboard=after, before=earlier, after=panel, differences=differences)
    for panel in left:
        yield Change(kind=ChangeKind.REMOVED, dashboard=before or after, before=panel)


def _by_id(one: Panel, other: Panel) -> bool:
    return one.id == other.id


def _by_title(one: Panel, other: Panel) -> bool:
    return one.title == other.title


def _by_queries(one: Panel, other: Panel) -> bool:
    """Whether both ask the same, whatever they are called."""
    expressions = [[query.expr for query in panel.queries] for panel in (one, other)]
    return bool(expressions[0]) and expressions[0] == expressions[1]


def _differences(before: Panel, after: Panel) -> Iterator[Difference]:
    pairs = [
        ("title", before.title, after.title),
        ("section", before.section, after.section),
        ("type", before.type, after.type),
        ("repeated for", before.repeat, after.repeat),
        *_queries(before, after),
        *_settings(before, after),
    ]
    for what, old, new in pairs:
        if old != new:
            yield Difference(what=what, before=old, after=new)


def _queries(before: Panel, after: Panel) -> Iterator[tuple[str, str | None, str | None]]:
    old, new = ({target["refId"]: target for target in panel.document["targets"]} for panel in (before, after))
    for ref in sorted({*old, *new}):
        one, other = old.get(ref, {}), new.get(ref, {})
        yield f"query {ref}", one.get("expr") or one.get("query"), other.get("expr") or other.get("query")
        yield f"legend of query {ref}", one.get("legendFormat"), other.get("legendFormat")


def _settings(before: Panel, after: Panel) -> Iterator[tuple[str, str | None, str | None]]:
    """Unit, thresholds and whatever else is set of the panel, each as JSON."""
    configs = [(panel.document.get("fieldConfig") or {}) for panel in (before, after)]
    defaults = [config.get("defaults") or {} for config in configs]
    for name in sorted({*defaults[0], *defaults[1]}):
        yield name, _text(defaults[0].get(name)), _text(defaults[1].get(name))
    yield "overrides", _text(configs[0].get("overrides")), _text(configs[1].get("overrides"))
    for name in ("description", "options", "transformations", "links"):
        yield name, _text(before.document.get(name)), _text(after.document.get(name))


def _text(value: Any) -> str | None:
    """A setting as people read it: texts as they are, all else as JSON."""
    if value in (None, [], {}):
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def by_panel(found: Sequence[Change]) -> Mapping[tuple[str, int], Change]:
    """Changes of panels that are there now, by the dashboard's uid and the panel's id."""
    return {(one.dashboard["uid"], one.after.id): one for one in found if one.after is not None}
