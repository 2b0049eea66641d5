"""Tables of the guide on systems, as text: what is shipped, and each system's settings, objectives and alerts.

`python -m midwatch.system_tables docs/systems.md` puts them between the marks of the guide.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from midwatch import files, system_recordings
from midwatch.spec import system_rules
from midwatch.spec.system_settings import BoundedSetting, Setting
from midwatch.spec.systems import SystemAlert, SystemFile, Versioned

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


def tables() -> str:
    """Every table, under its heading."""
    systems = {name: system_rules.system(name) for name in system_rules.shipped()}
    parts = [_table("system", "title", "question", "from version", "recorded", rows=list(_overview(systems)))]
    for name, described in systems.items():
        parts.append(f"### {described.title} (`{name}`)")
        parts.append(_table("setting", "default", "why", "at least", "at most", rows=list(_settings(described))))
        if described.slos:
            parts.append(_table("objective", "of", "default", rows=list(_objectives(described))))
        parts.append(_table("alert", "severity", "for", "summary", rows=list(_alerts(described.alerts, name))))
        if asked := system_rules.observed_of(name).alerts:
            parts.append(_table("alert with `observe`", "severity", "for", "summary", rows=list(_alerts(asked, name))))
    return "\n\n".join(parts)


def _overview(systems: dict[str, SystemFile]) -> Iterator[tuple[str, ...]]:
    for name, described in systems.items():
        oldest = system_rules.version_text(described.versions.oldest)
        recorded = _recorded(name)
        yield f"[`{name}`](../midwatch/systems/{name})", described.title, described.question, oldest, recorded


def _recorded(name: str) -> str:
    """Versions of the real program whose exposition is kept, or that there is none."""
    found = system_recordings.load(system_rules.folder(name))
    versions = sorted({recording.version for recording in found})
    return ", ".join(map(system_rules.version_text, versions)) or "read, not run"


def _settings(described: SystemFile) -> Iterator[tuple[str, ...]]:
    for name, setting in described.settings.items():
        bounds = setting.bound_texts() if isinstance(setting, BoundedSetting) else ("", "")
        yield f"`{name}`", _default(setting), setting.reason, *bounds


def _default(setting: Setting) -> str:
    if isinstance(setting, BoundedSetting):
        return setting.default_text()
    if isinstance(setting.default, list):
        return ", ".join(setting.default) or "none"
    return f"`{setting.default_value()}`"


def _objectives(described: SystemFile) -> Iterator[tuple[str, ...]]:
    for slo in described.slos:
        yield f"`{slo.name}`", slo.description, f"{(slo.objective * 100).normalize():f}%"


def _alerts(alerts: Iterable[SystemAlert], name: str) -> Iterator[tuple[str, ...]]:
    for alert in alerts:
        link = f"[`{alert.alert}`](../midwatch/systems/{name}/runbooks/{alert.alert}.md)"
        yield f"{link}{_range(alert)}", _plain(alert.severity), _plain(alert.for_), _plain(alert.summary)


def _range(part: Versioned) -> str:
    """Versions that have it, where not all have."""
    since = f" from {system_rules.version_text(part.since)}" if part.since else ""
    return f"{since} until {system_rules.version_text(part.until)}" if part.until else since


def _plain(text: str) -> str:
    """A text in which a setting's or a label's name stands for it; `<` would begin HTML."""
    text = re.sub(r"\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}", r"*\1*", text)
    return re.sub(r"<([^<>]+)>", r"*\1*", text).replace("|", "\\|")


def _table(*titles: str, rows: list[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- ", "|---").replace("|--- |", "|---|")


def refreshed(text: str) -> str:
    """The guide with today's tables between its marks."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    guide = Path(sys.argv[1])
    files.replace(guide, refreshed(guide.read_text(encoding="utf-8")).encode())
