"""Reports as pages: one frame of head, style and footer that the template of each report extends.

A page is one file that fetches nothing. Values are escaped, and a name that a template lacks is an error.
"""

from __future__ import annotations

from pathlib import Path

from midwatch import files

FRAME = Path(__file__).parent
"""The folder with `frame.html`, which a template extends, and `macros.html`, which it imports what it draws from."""


def render(template: Path, **values: object) -> str:
    """Text of the page that a template makes of values."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, FRAME]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template.name).render(values)


def write(path: Path, template: Path, **values: object) -> None:
    """Write the page; MidwatchError when it cannot be written."""
    files.replace(path, render(template, **values).encode())
