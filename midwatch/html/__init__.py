"""Pages: one frame of head, header, style and footer that every report and every page of the console extends.

A page that stands alone is one file that fetches nothing; its policy admits only the style and the scripts inside it,
by their digests. A page that is served has the same frame, and loads them from `ASSETS`. Values are escaped, and a name
that a template lacks is an error.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from midwatch import files
from midwatch.html import numbers

if TYPE_CHECKING:
    import jinja2

FRAME = Path(__file__).parent
"""The folder with `frame.html`, which a template extends, and `macros.html`, which it imports what it draws from."""
ASSETS = {
    "midwatch.css": FRAME / "midwatch.css",
    "console.css": FRAME / "console.css",
    "charts.js": FRAME / "charts.js",
    "uPlot.min.css": FRAME / "vendor" / "uPlot.min.css",
    "uPlot.min.js": FRAME / "vendor" / "uPlot.min.js",
    "htmx.min.js": FRAME / "vendor" / "htmx.min.js",
    "hx-sse.min.js": FRAME / "vendor" / "hx-sse.min.js",
}
"""Files that pages load, by name; those of others are described in `vendor/README.md`."""

_POLICY_MARK = "policy-of-this-page"
_INSIDE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class About:
    """What a page is about, as its heading says it.

    `meaning` says in one sentence what was found, `todo` what the reader should do. `verdict` is a class of the style
    sheet, such as pass or BREACHED. `more` are further facts, by name; an empty value is left out.
    """

    title: str
    verdict: str = ""
    meaning: str = ""
    todo: str = ""
    model: str = ""
    platform: str = ""
    owner: str = ""
    dates: str = ""
    more: Sequence[tuple[str, str]] = ()

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Model, platform, owner, dates and more, as far as they are known."""
        known = [("Model", self.model), ("Platform", self.platform), ("Owner", self.owner), ("Dates", self.dates)]
        return [(name, value) for name, value in [*known, *self.more] if value]


@cache
def text_of(name: str) -> str:
    """Text of an asset."""
    return ASSETS[name].read_text(encoding="utf-8")


def environment(*folders: Path) -> jinja2.Environment:
    """Templates of the folders and of the frame; filters write numbers and moments."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, FRAME]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
    )
    made.filters |= {"number": numbers.number, "span": numbers.span, "moment": numbers.moment, "iso": numbers.iso}
    return made


def render(template: Path, *, with_scripts: bool = False, **values: object) -> str:
    """Text of the page that a template makes of values; it stands alone. With scripts, its charts answer a pointer."""
    import markupsafe

    found = environment(template.parent).get_template(template.name)
    text = found.render(
        **values,
        assets=None,
        with_scripts=with_scripts,
        policy_mark=_POLICY_MARK,
        text_of=lambda name: markupsafe.Markup(text_of(name)),  # noqa: S704 - files of ours
    )
    return text.replace(_POLICY_MARK, _policy(text), 1)


def write(path: Path, template: Path, *, with_scripts: bool = False, **values: object) -> None:
    """Write the page; MidwatchError when it cannot be written."""
    files.replace(path, render(template, with_scripts=with_scripts, **values).encode())


def _policy(page: str) -> str:
    """Content-Security-Policy of a page that stands alone: what is inside it and nothing else."""
    digests: dict[str, list[str]] = {"style": [], "script": []}
    for tag, text in _INSIDE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        digests[tag].append(f"'sha256-{digest}'")
    admitted = [f"{tag}-src {' '.join(found)}" for tag, found in digests.items() if found]
    return "; ".join(["default-src 'none'", *admitted, "img-src data:", "base-uri 'none'", "form-action 'none'"])


@cache
def digests() -> Mapping[str, str]:
    """The beginning of each asset's digest: part of its address, so that a browser may keep it for ever."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for name, path in ASSETS.items()}
