"""What is written is read back the same, by PyYAML."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from midwatch import yamlfile

ODD = [
    "yes",
    "No",
    "null",
    "~",
    "1",
    "1e3",
    "0x1",
    "12:30",
    "00:00",
    "- a",
    "a: b",
    "a #b",
    "a\nb\n",
    "a\n\n",
    " a",
    "'",
    '"',
    "@",
    "a\n b",
    ".",
]
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff")
texts = st.text(letters, max_size=30) | st.sampled_from(ODD)
values = st.recursive(
    texts | st.booleans() | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(texts, values, min_size=1, max_size=4))
def test_a_document_is_read_back_as_it_was(document: dict) -> None:
    assert yaml.safe_load(yamlfile.dump(document)) == document


@given(st.dictionaries(texts, values, min_size=1, max_size=4))
def test_a_document_of_blocks_is_read_back_as_it_was(document: dict) -> None:
    assert yaml.safe_load(yamlfile.dump_blocks(document)) == document


def test_a_document_of_blocks_stays_readable_whatever_is_written_in_it() -> None:
    text = "é €\n\U0001f600\n"
    assert yamlfile.dump_blocks({"a": text}) == "a: |\n  é €\n  \U0001f600\n"
