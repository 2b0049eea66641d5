"""The page of a verdict, in a real browser."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from midwatch.app import cli
from tests.conftest import need_program

PROBE = """<script>document.title = JSON.stringify(Object.fromEntries(
  [...document.querySelectorAll("figure")].map(one => [one.querySelector("h2").innerText,
    [...one.querySelectorAll("rect")].filter(bar => bar.getBBox().height > 1).length])))</script></body>"""
"""Drawn bars of each chart, where `--dump-dom` shows them."""


def midwatch(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(one) for one in arguments])
    return int(ended.value.code or 0)


def test_the_page_shows_both_distributions_of_each_drifted_feature_in_a_browser(tmp_path: Path) -> None:
    folder, generator = tmp_path, np.random.default_rng(5)
    for name, shift, colours in (("before", 0.0, ["red", "<b>blue</b>"]), ("now", 1.0, ["red", "gr'een"])):
        columns = {"x": generator.normal(shift, 1, 5000), "calm": generator.normal(size=5000)}
        parquet.write_table(pa.table(columns | {"colour": generator.choice(colours, 5000)}), folder / f"{name}.parquet")
    assert midwatch("drift", "fit", folder / "before.parquet", "-o", folder / "r.npz") == 0
    options = ("--reference", folder / "r.npz", "--current", folder / "now.parquet", "--html", folder / "page.html")
    assert midwatch("drift", "compare", *options) == 1
    page = (folder / "page.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    browser = [
        need_program("chromium"),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}/browser",
    ]
    (folder / "probed.html").write_text(page.replace("</body>", PROBE))
    done = subprocess.run(
        [*browser, "--dump-dom", f"file://{folder}/probed.html"],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    title = re.search("<title>(.*)</title>", done.stdout).group(1)
    drawn = json.loads(html.unescape(title))
    assert set(drawn) == {"x", "colour"}
    assert drawn["x"] > 15
    assert drawn["colour"] == 4
    assert 'id="verdict" class="drift">drift<' in done.stdout
