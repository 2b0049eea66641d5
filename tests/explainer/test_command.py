from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from midwatch import modules
from monitors.explainer import background
from tests.conftest import midwatch_here

MODEL = ("--model", "credit", "--version", "v7")


def test_the_command_serves_whoever_has_the_token_until_it_is_told_to_end(
    tmp_path: Path, background_file: Path
) -> None:
    (tmp_path / "usual_model.py").write_text("def answer(rows):\n    return rows[:, 0] * 2\n")
    (tmp_path / "token").write_text("secret")
    words = ("explain", "serve", *MODEL, "--from", "callable:usual_model:answer", "--background", str(background_file))
    command = modules.command("midwatch", *words, "--listen", "127.0.0.1:0", "--deadline", "60s")
    command += ["--token-file", f"{tmp_path}/token"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        url = next(line["url"] for line in map(json.loads, process.stderr) if "url" in line)
        body = json.dumps({"instances": [[3.0, 0.0, 0.0]]}).encode()
        request = urllib.request.Request(f"{url}/v1/models/credit:explain", body)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request)
        request.add_header("authorization", "Bearer secret")
        answer = json.load(urllib.request.urlopen(request))
        assert answer["explanations"][0]["prediction"] == 6
    finally:
        process.terminate()
        rest = process.communicate(timeout=60)[1]
    assert (process.returncode, rest) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--listen", "0.0.0.0:0"), "give --token-file, or --insecure"),
        (("--precision", "0"), "--precision 0: write a share"),
        (("--budget", "soon"), "--budget 'soon' is not a duration"),
        (("--deadline", "0s"), "--deadline 0s: write a time"),
        (("--cache", "much"), "--cache 'much' is not a size"),
        (("--model", "a/b"), "--model 'a/b' cannot stand in a path"),
        (("--background", "missing.csv"), "missing.csv: cannot be read: "),
        (("--from", "magic:m"), "--from 'magic:m' is not KIND:WHERE"),
        (("--output", "7"), "the model has one output: leave --output out"),
        (("--model-ca-file", "missing.pem", "--from", "v1:http://127.0.0.1:1/"), "missing.pem: no certificates"),
    ],
)
def test_what_cannot_be_served_ends_with_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path, background_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other_model.py").write_text("def answer(rows):\n    return rows[:, 0]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    usual = (*MODEL, "--from", "callable:other_model:answer", "--background", background_file)
    ended = midwatch_here("explain", "serve", *usual, *words)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "a\n1\n2\n", "is no background; name a file that ends in .parquet, .csv"),
        ("a.csv", "a,a\n1,2\n1,2\n", "has two columns of one name"),
        ("a.csv", "a\n1\n", "has 1 rows; a background has 2 to 10000"),
        ("a.csv", "a,b\n1,2026-11-02\n1,2026-11-03\n", "column b has date32[day], which is neither numbers nor text"),
        ("a.csv", "a\n1,2\n", "cannot be read: "),
        ("a.json", '[{"a": [1]}, {"a": [2]}]', "column a has list<item: int64>"),
        ("a.json", "[1, 2]", "its rows are no objects of features"),
        ("a.jsonl", '{"a": 1}\n{"a":', "cannot be read: "),
        ("a.jsonl", '{"a": 1}\n{"a": 2, "b": 3}', "rows 1 and 2: one lacks b; write null where a value is missing"),
        ("a.json", '[{"a": 1, "b": 2}, {"a": 2}]', "rows 1 and 2: one lacks b; write null where a value is missing"),
        ("a.json", '[{"a": 1, "b": "x"}, {"a": 2, "b": 1}]', "column b has values of several kinds"),
        ("a.parquet", "none", "cannot be read: "),
    ],
)
def test_a_background_that_is_none_is_named_with_its_file(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    ended = midwatch_here("explain", "serve", *MODEL, "--from", "callable:json:dumps", "--background", tmp_path / name)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"{tmp_path / name}: ")
    assert said in ended.stderr


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.jsonl"])
def test_a_background_is_the_same_in_every_format(name: str, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"a": 1.5, "b": "x", "c": None}, {"a": 2.0, "b": "y", "c": None}]
    lines = "\n".join(json.dumps(row) for row in rows)
    texts = {"rows.csv": "a,b,c\n1.5,x,\n2.0,y,\n", "rows.json": json.dumps(rows), "rows.jsonl": lines}
    (tmp_path / name).write_text(texts[name])
    sample = background.read(tmp_path / name)
    assert (sample.columns, sample.is_text) == (("a", "b", "c"), (False, True, False))
    assert sample.row({"a": True, "b": None, "c": 4}).tolist() == [1.0, None, 4.0]
    (tmp_path / "other.json").write_text(json.dumps(rows))
    assert sample.identity == background.read(tmp_path / "other.json").identity
