"""What can be wrong with rendered dashboards without asking anybody: form, expressions, names, places, sizes."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from promql_parser import VectorSelector

from dashboards import reader, schema
from dashboards.reader import Document
from midwatch import catalogue, grafana, programs, yamlfile
from midwatch.errors import Problem

MAX_BYTES = 200_000
"""Of one dashboard: a ConfigMap holds a megabyte, and a browser loads it on every visit."""

EXAMPLES = {"__interval": "15s", "__rate_interval": "1m", "__range": "1h"}
"""What Grafana's own variables may be, so that an expression parses."""

_PROMTOOL_SECONDS = 60


def check_files(files: Mapping[str, str]) -> list[Problem]:
    """Problems of every dashboard among rendered files, by path; promtool has the last word on expressions.

    Raises MissingProgramError when promtool is not there, since unchecked is not right.
    """
    documents = {
        path: json.loads(text) for path, text in files.items() if "/dashboards/" in path and path.endswith(".json")
    }
    problems = [problem for path, text in files.items() if path in documents for problem in _size(path, text)]
    uids = Counter(document.get("uid") for document in documents.values())
    for path, document in documents.items():
        violations = list(schema.violations(document))
        problems += [Problem(file=path, path=one.place, message=one.message) for one in violations]
        if not violations:
            problems += _names(path, document, uids)
    return problems or _promtool(documents)


def _size(path: str, text: str) -> Iterator[Problem]:
    size = len(text.encode())
    if size > MAX_BYTES:
        yield Problem(
            file=path, message=f"{size} bytes; at most {MAX_BYTES}", remedy="repeat by a variable, not by copies"
        )


def _names(path: str, document: Document, uids: Counter[str | None]) -> Iterator[Problem]:
    if uids[document["uid"]] > 1:
        yield Problem(file=path, path="uid", message=f"another dashboard is {document['uid']} too")
    panels = list(_flat(document))
    ids = Counter(panel["id"] for panel in panels)
    for panel in panels:
        if ids[panel["id"]] > 1:
            yield Problem(
                file=path, path=panel["title"], message="another panel has its id; give it a title of its own"
            )
    yield from _overlaps(path, panels)
    unknown = reader.unknown_variables(document)
    for name, text in unknown.items():
        yield Problem(file=path, path=f"${name}", message=f"the dashboard has no such variable: {text}")
    if unknown:
        return
    names = {one["name"] for one in document["templating"]["list"]}
    added = frozenset({grafana.REGION_VARIABLE}) & names  # at a view every series has its plane's labels
    for place, expr in expressions(document):
        yield from _expression(path, place, expr, added)


def _flat(document: Document) -> Iterator[Document]:
    for panel in document["panels"]:
        yield panel
        yield from panel.get("panels", ())


def _overlaps(path: str, panels: list[Document]) -> Iterator[Problem]:
    """Panels that stand on one another, or beyond the grid; those of a folded section are compared among themselves."""
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place, title = panel["gridPos"], panel["title"]
        if place["x"] + place["w"] > 24:
            yield Problem(file=path, path=title, message="stands beyond the grid of 24 columns")
        for cell in (
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ):
            if taken.setdefault(cell, title) != title:
                yield Problem(file=path, path=title, message=f"overlaps {taken[cell]}")
                break


def expressions(document: Document) -> Iterator[tuple[str, str]]:
    """Place and PromQL of everything a dashboard asks, with examples for its variables."""
    values = EXAMPLES | reader.fixed_values(document)
    values |= {variable.name: variable.all_value or "x" for variable in reader.variables(document)}
    for variable in reader.variables(document):
        if variable.series:
            yield f"${variable.name}", reader.filled(variable.series, values)
    for name, expr in reader.annotation_queries(document).items():
        yield name, reader.filled(expr, values)
    for panel in reader.panels(document):
        for query in panel.queries:
            yield f"{panel.title} {query.ref}", reader.filled(query.expr, values)


def _expression(path: str, place: str, expr: str, added: frozenset[str]) -> Iterator[Problem]:
    try:
        selectors = reader.selectors(expr)
    except ValueError as error:
        yield Problem(file=path, path=place, message=f"does not parse: {error}: {expr}")
        return
    for name, labels in ((name, _labels(one)) for one in selectors for name in _metrics(one)):
        exposed = catalogue.find(name)
        if exposed is None:
            yield Problem(file=path, path=place, message=f"{name} is in no catalogue of metrics")
        elif unknown := labels - exposed.labels - added:
            yield Problem(file=path, path=place, message=f"{name} has no label {', '.join(sorted(unknown))}")


def _metrics(selector: VectorSelector) -> list[str]:
    """The metric that a selector asks for, or each of several spellings."""
    spelled = [matcher.value for matcher in selector.matchers.matchers if matcher.name == "__name__"]
    return [selector.name] if selector.name else spelled[0].split("|") if spelled else [""]


def _labels(selector: VectorSelector) -> set[str]:
    """Labels that a selector asks for, each as its program says it: a scrape may have put `exported_` before it."""
    return {matcher.name.removeprefix("exported_") for matcher in selector.matchers.matchers} - {"__name__"}


def _promtool(documents: Mapping[str, Document]) -> list[Problem]:
    """What promtool says of every expression: our parser takes functions that a given Prometheus does not have."""
    program = programs.path_of("promtool")
    problems = []
    for path, document in documents.items():
        asked = dict(enumerate(expressions(document)))
        rules = [{"record": f"dashboard:query:number{number}", "expr": expr} for number, (_, expr) in asked.items()]
        complaint = _said(program, {"groups": [{"name": "dashboard", "rules": rules}]})
        if complaint:
            problems.append(Problem(file=path, message=f"promtool: {complaint}"))
    return problems


def _said(program: str, rules: object) -> str:
    """What promtool finds wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix="midwatch-check-") as folder:
        file = Path(folder) / "rules.yml"
        file.write_text(yamlfile.dump_blocks(rules), encoding="utf-8")
        done = subprocess.run(
            [program, "check", "rules", "--lint=none", str(file)],
            capture_output=True,
            text=True,
            timeout=_PROMTOOL_SECONDS,
            check=False,
        )
    return "" if not done.returncode else " ".join((done.stderr + done.stdout).replace(str(file), "").split())
