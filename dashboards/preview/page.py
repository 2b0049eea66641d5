"""The pages of a preview: one for each dashboard, and one that lists them with what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards import reader
from dashboards.preview import compare
from dashboards.preview.compare import Change, ChangeKind
from dashboards.preview.shown import Previewer, Shown, ShownDashboard, Status
from dashboards.reader import Document
from dashboards.verify import TimeRange
from midwatch import html
from midwatch.errors import MidwatchError
from midwatch.html import About, numbers
from midwatch.spec.model import Platform

FOLDER = Path(__file__).parent
SIGNS = {Status.DRAWN: "●", Status.EMPTY: "○", Status.FAILED: "▼", Status.NOT_DRAWN: "-"}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What stands together on a page: the panels of one section, with one choice of variables."""

    section: str
    values: str
    panels: Sequence[Entry]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A panel on a page: as it is, how it was where it changed, and what that was."""

    id: str
    now: Shown | None
    before: Shown | None = None
    change: Change | None = None


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A dashboard as it is drawn, and its changes with the panels as they were."""

    shown: ShownDashboard
    changes: Sequence[Change] = ()
    earlier: Mapping[int, Sequence[Shown]] | None = None
    """Panels as they were, by the id that they had; None when nothing is compared."""

    @property
    def uid(self) -> str:
        """The dashboard's uid, which its file is called by."""
        return str(self.shown.document["uid"])

    @property
    def counts(self) -> Counter[Status]:
        """How many panels have which status."""
        return Counter(one.status for one in self.shown.panels)

    @property
    def changed(self) -> Counter[ChangeKind]:
        """How many panels were added, removed and changed."""
        return Counter(one.kind for one in self.changes)


def compared(
    previewer: Previewer,
    documents: Sequence[Document],
    earlier: Sequence[Document] | None,
    done: Callable[[], None],
) -> Iterator[Compared]:
    """Each dashboard as it is drawn, beside what it was where that is given; those that are no more come last."""
    found = [] if earlier is None else compare.changes(earlier, documents)
    before = {document["uid"]: document for document in earlier or ()}
    for document in documents:
        mine = [change for change in found if change.dashboard["uid"] == document["uid"]]
        shown = previewer.show(document)
        yield Compared(
            shown=shown, changes=mine, earlier=_earlier(previewer, before.get(document["uid"]), mine, earlier)
        )
        done()
    for document in before.values():
        mine = [change for change in found if change.dashboard is document and change.kind is ChangeKind.REMOVED]
        if mine and document["uid"] not in {one["uid"] for one in documents}:
            nothing = ShownDashboard(document=document, panels=())
            yield Compared(shown=nothing, changes=mine, earlier=_earlier(previewer, document, mine, earlier))


def _earlier(
    previewer: Previewer, before: Document | None, changes: Sequence[Change], given: Sequence[Document] | None
) -> dict[int, list[Shown]] | None:
    """Panels as they were, by the id they had; only those that are not as they were are asked for."""
    if given is None:
        return None
    panels = [change.before for change in changes if change.before is not None]
    return {panel.id: previewer.only(before, panel) for panel in panels} if before is not None else {}


def write(folder: Path, platform: Platform, dashboards: Sequence[Compared], time: TimeRange, against: str) -> None:
    """Write `index.html` and a page for each dashboard; MidwatchError when one cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MidwatchError(f"{folder}: no folder can be made there: {error.strerror}") from error
    for one in dashboards:
        _write(
            folder / f"{one.uid}.html",
            "dashboard.html",
            about=_about(str(one.shown.document["title"]), platform, [one], time, against),
            dashboard=one,
            parts=_parts(one),
            removed=_removed(one),
        )
    _write(
        folder / "index.html",
        "index.html",
        about=_about(f"Dashboards of {platform.platform}", platform, dashboards, time, against),
        dashboards=dashboards,
        is_compared=any(one.earlier is not None for one in dashboards),
    )


def _write(path: Path, template: str, **values: object) -> None:
    html.write(path, FOLDER / template, with_scripts=True, Status=Status, ChangeKind=ChangeKind, signs=SIGNS, **values)


def _about(title: str, platform: Platform, dashboards: Sequence[Compared], time: TimeRange, against: str) -> About:
    counts = sum((one.counts for one in dashboards), Counter[Status]())
    changed = sum((one.changed for one in dashboards), Counter[ChangeKind]())
    said = ", ".join(f"{counts[status]} {status.value}" for status in Status if counts[status])
    meaning = f"{counts.total()} panels: {said}." if counts else "No panel."
    if against:
        told = ", ".join(f"{changed[kind]} {kind.value}" for kind in ChangeKind if changed[kind])
        meaning += f" Against {against}: {told or 'no panel is another'}."
    todo = "Look at the panels that failed first." if counts[Status.FAILED] else ""
    if not todo and changed:
        todo = "Look at the panels that changed: each stands beside what it was."
    begin, end = numbers.moment(time.end - time.since), numbers.moment(time.end)
    return About(
        title=title,
        meaning=meaning,
        todo=todo,
        platform=platform.platform,
        owner=platform.operator,
        dates=f"{begin} to {end}",
    )


def _parts(one: Compared) -> list[Part]:
    """Panels by what was chosen of the single variables, then by section, in the order of the dashboard."""
    by_panel = {change.after.id: change for change in one.changes if change.after is not None}
    several = {variable.name for variable in reader.variables(one.shown.document) if variable.multi}
    parts: dict[str, dict[str, list[Entry]]] = {}
    for number, shown in enumerate(one.shown.panels):
        change = by_panel.get(shown.panel.id)
        entry = Entry(id=f"panel-{number}", now=shown, before=_as_it_was(one, change, shown.values), change=change)
        chosen = {name: value for name, value in shown.values.items() if name not in several and name != "window"}
        section = reader.filled(shown.panel.section, {**_names(shown.panel.section), **shown.values})
        parts.setdefault(_words(chosen), {}).setdefault(section, []).append(entry)
    return [
        Part(section=section, values=values, panels=panels)
        for values, sections in parts.items()
        for section, panels in sections.items()
    ]


def _names(text: str) -> dict[str, str]:
    """The variables of a text, each standing for itself."""
    return {name: f"${name}" for name in reader.named(text)}


def _as_it_was(one: Compared, change: Change | None, values: Mapping[str, str]) -> Shown | None:
    """The panel as it was, with the same values; else with those it was drawn with first."""
    if change is None or change.before is None or one.earlier is None:
        return None
    earlier = one.earlier.get(change.before.id, ())
    return next((shown for shown in earlier if shown.values == values), next(iter(earlier), None))


def _removed(one: Compared) -> list[Entry]:
    """Panels that are no more, as they were."""
    return [
        Entry(id=f"removed-{number}-{place}", now=None, before=shown, change=change)
        for number, change in enumerate(one.changes)
        if change.kind is ChangeKind.REMOVED and change.before is not None and one.earlier is not None
        for place, shown in enumerate(one.earlier.get(change.before.id, ()))
    ]


def _words(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def document(dashboards: Sequence[Compared], folder: Path, code: int, asked: int) -> dict[str, Any]:
    """Everything that `--json` says."""
    listed = [
        {
            "uid": one.uid,
            "title": one.shown.document["title"],
            "file": str(folder / f"{one.uid}.html"),
            "values_left_out": one.shown.left_out,
            "panels": [_panel(shown) for shown in one.shown.panels],
            "changes": [_change(change) for change in one.changes],
        }
        for one in dashboards
    ]
    counts = sum((one.counts for one in dashboards), Counter[Status]())
    return {
        "dashboards": listed,
        "counts": {status.value: counts[status] for status in Status},
        "queries": asked,
        "exit": code,
    }


def _panel(shown: Shown) -> dict[str, Any]:
    return {
        "id": shown.panel.id,
        "title": shown.panel.title,
        "section": shown.panel.section,
        "type": shown.panel.type,
        "values": dict(shown.values),
        "status": shown.status.value,
        "reason": shown.reason,
        "queries": dict(shown.queries),
        "empty": dict(shown.empty),
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind.value,
        "id": change.panel.id,
        "title": change.panel.title,
        "differences": [{"what": one.what, "before": one.before, "after": one.after} for one in change.differences],
    }
