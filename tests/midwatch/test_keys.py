"""The tables of keys in the guide are those of the spec. MIDWATCH_REFRESH=1 writes them anew; review the difference."""

from __future__ import annotations

import os
import re
from pathlib import Path

from midwatch.spec import keys, schema

GUIDE = Path(__file__).parents[2] / "docs/platform-file.md"
BEGIN, END = "<!-- made by tests/midwatch/test_keys.py -->\n", "<!-- end of what is made -->\n"


def test_the_tables_of_the_guide_are_those_of_the_spec() -> None:
    before, _, rest = GUIDE.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    if os.environ.get("MIDWATCH_REFRESH"):
        GUIDE.write_text(f"{before}{BEGIN}{keys.tables()}{END}{after}")
        return
    assert written == keys.tables(), "MIDWATCH_REFRESH=1 pytest tests/midwatch/test_keys.py writes them anew"


def test_every_section_has_a_table_with_every_key_and_a_sentence() -> None:
    tables = re.split(r"^### .*\n", keys.tables(), flags=re.M)[1:]
    document = schema.document()
    sections = [document, *(node for node in document["$defs"].values() if "properties" in node)]
    assert len(tables) == len(sections)
    assert all(table.strip().partition("\n")[0].endswith((".", ":")) for table in tables)
    rows = sorted(tuple(re.findall(r"^\| `(\w+)` \|", table, re.M)) for table in tables)
    assert rows == sorted(tuple(section["properties"]) for section in sections)


def test_no_key_is_without_a_sentence() -> None:
    empty = [
        f"{title}: {key}"
        for title, table in re.findall(r"^### (.*)\n([^#]*)", keys.tables(), flags=re.M)
        for key in re.findall(r"^\| `(\w+)` .*\|  \|$", table, re.M)
    ]
    assert empty == []


def test_what_is_written_in_the_schema_is_said_in_words() -> None:
    tables = keys.tables()
    for row in (
        "| `label_retention` | duration | `1d` | How long a prediction waits for its label. |",
        "| `sample` | share | `100%` | Share of predictions that are kept for labels. |",
        "| `max_body` | size | `16MiB` | Largest request. |",
        "| `owners` | `NAME:` section | required | Who is called. |",
        "| `severity` | `page`, `ticket` | `ticket` | Who acts, and when:",
    ):
        assert row in tables
