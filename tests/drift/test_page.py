"""The page of a verdict: whose it is, every feature, and words for what is in it."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.conftest import midwatch_here

PLATFORM = "examples/flights/platform.yaml"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference of three features, a window like it, and one in which two of them have changed."""
    folder, generator = tmp_path_factory.mktemp("tables"), np.random.default_rng(5)
    for name, shift, colours in (
        ("before", 0.0, ["red", "<b>blue</b>"]),
        ("calm", 0.0, ["red", "<b>blue</b>"]),
        ("now", 1.0, ["red", "gr'een"]),
    ):
        columns = {"x": generator.normal(shift, 1, 2000), "calm": generator.normal(size=2000)}
        parquet.write_table(pa.table(columns | {"colour": generator.choice(colours, 2000)}), folder / f"{name}.parquet")
    assert midwatch_here("drift", "fit", folder / "before.parquet", "-o", folder / "r.npz").returncode == 0
    return folder


def page(tables: Path, window: str, *options: object) -> tuple[int, str]:
    """Exit code of a comparison, and the text of its page."""
    file = tables / "page.html"
    given = ("--reference", tables / "r.npz", "--current", tables / f"{window}.parquet", "--html", file)
    done = midwatch_here("drift", "compare", *given, *options)
    return done.returncode, file.read_text() if done.returncode in (0, 1, 3) else done.stderr


def titles(text: str) -> list[str]:
    return [html.unescape(one) for one in re.findall("<h3>(.*?)</h3>", text)]


def test_every_feature_is_drawn_those_that_changed_first(tables: Path) -> None:
    code, text = page(tables, "now")
    assert code == 1
    assert titles(text) == ["colour: ▲ differs", "x: ▲ differs", "calm: ● as before"]
    assert "<b>" not in text
    assert "values are missing, new, out of range" in text


def test_a_calm_window_has_every_feature_too(tables: Path) -> None:
    code, text = page(tables, "calm")
    assert (code, len(titles(text))) == (0, 3)
    assert "look like its reference" in text
    assert '<p class="todo">Nothing.</p>' in text


def test_a_short_window_is_no_calm(tables: Path) -> None:
    code, text = page(tables, "calm", "--min-samples", "5000")
    assert code == 3
    assert "neither calm nor drift" in text


def test_the_page_says_whose_it_is_and_of_when(tables: Path) -> None:
    text = page(tables, "now", "-f", PLATFORM, "--model", "flight-delay")[1]
    facts = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert (facts["Model"], facts["Platform"], facts["Owner"]) == ("flight-delay", "flights", "ml-serving")
    assert re.fullmatch(r"now.parquet, written 20\d\d-.* UTC, 2,000 rows", facts["Window"])
    assert dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", page(tables, "now")[1]))["Owner"] == "not known"


def test_a_model_that_the_platform_does_not_have_is_an_error(tables: Path) -> None:
    code, said = page(tables, "now", "-f", PLATFORM, "--model", "flight-dalay")
    assert (code, "there is no model 'flight-dalay'" in said) == (2, True)


def test_the_words_of_the_page_are_explained(tables: Path) -> None:
    words = re.findall("<dt>(.*?)</dt><dd>", page(tables, "now")[1].partition("What the words mean")[2])
    assert words[:4] == ["vote", "effect", "floor", "p-value"]
    assert {"psi", "ks", "new category"} <= set(words)
