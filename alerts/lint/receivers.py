"""Checks of receivers, secrets and templates, and of what the Alertmanager's version lacks or has deprecated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alerts.lint.problem import Check, Context
from alerts.routing import configuration, shapes, versions
from alerts.routing.versions import text as version_text
from midwatch.spec.alertmanager_fields import STRUCTS, Version, secrets_of
from midwatch.spec.base import Finding, Place
from midwatch.spec.channels import INTEGRATIONS, Integration

SECRETS_ANYWHERE = frozenset({"credentials", "password", "bearer_token", "client_secret", "secret_key"})
"""Secrets of HTTP clients and of AWS (Prometheus' common/config and sigv4), wherever one is set up."""

SECRETS_OF_GLOBAL = secrets_of("global")
"""Secrets in `global`, which hold for every receiver that has none of its own."""

DEPRECATED = ("match", "match_re", "source_match", "source_match_re", "target_match", "target_match_re")

GO_FUNCTIONS = frozenset(
    {
        "and",
        "or",
        "not",
        "len",
        "index",
        "slice",
        "print",
        "printf",
        "println",
        "html",
        "js",
        "urlquery",
        "call",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "if",
        "else",
        "end",
        "range",
        "with",
        "define",
        "template",
        "block",
        "break",
        "continue",
        "nil",
        "true",
        "false",
    }
)
_ACTION = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|/\*.*?\*/', re.DOTALL)
_WORD = re.compile(r"(?<![.$\w])[a-zA-Z_]\w*")


def _walk(value: Any, place: Place = ()) -> Iterator[tuple[Place, str, Any]]:
    """Every key and value of a document, with its place."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield (*place, key), str(key), inner
            yield from _walk(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*place, index))


def unused(context: Context) -> Iterator[Finding]:
    """A receiver that no route names."""
    used = {route.receiver for route in context.config.route.walk()}
    for index, name in enumerate(context.config.receivers):
        if name not in used:
            yield ("receivers", index), f"no route uses the receiver {name!r}", "use it, or remove it"


def secret_in_clear(context: Context) -> Iterator[Finding]:
    """A secret that is written where everybody reads it."""
    for place, key, value in _walk(context.config.document.values):
        if isinstance(value, str) and value and _is_secret(place, key):
            yield place, "a secret in clear", _instead(place, key, context.version)


def _instead(place: Place, key: str, version: Version) -> str:
    """Where a secret belongs: in a file, if this Alertmanager reads one there."""
    integration = _integration_of(place)
    named = "global" if place[0] == "global" else integration.name() if integration else ""
    structs = (STRUCTS[name] for name in (named, *STRUCTS) if name and key in STRUCTS[name])
    field = next(structs, {}).get(f"{key}_file")
    if field is None or field.since > version:
        has = f"Alertmanager {version_text(field.since)} reads a file; until then " if field else ""
        return f"{has}let nobody but Alertmanager read the configuration"
    return f"write it to a file, and name that in {key}_file"


def _is_secret(place: Place, key: str) -> bool:
    integration = _integration_of(place)
    return (
        (key in SECRETS_ANYWHERE and place[0] != "route")
        or (key in SECRETS_OF_GLOBAL and place[0] == "global")
        or (integration is not None and key in integration.secrets)
    )


def _integration_of(place: Place) -> type[Integration] | None:
    """The integration inside whose settings a place is."""
    names = (str(part).removesuffix("_configs") for part in place if str(part).endswith("_configs"))
    return INTEGRATIONS.get(next(names, ""))


def _files(context: Context) -> Iterator[tuple[Place, Path]]:
    for place, key, value in _walk(context.config.document.values):
        if key.endswith("_file") and isinstance(value, str) and value:
            yield place, context.folder / value


def secret_missing(context: Context) -> Iterator[Finding]:
    """A secret's file that is not there, or not readable, or empty."""
    for place, file in _files(context) if context.look_at_files else ():
        try:
            empty = not file.read_bytes().strip()
        except OSError as error:
            yield place, f"{file}: {error.strerror}", "put the secret there"
        else:
            if empty:
                yield place, f"{file} is empty", "put the secret there"


def _templates(context: Context) -> Iterator[tuple[Place, str, list[Path]]]:
    patterns = context.config.document.values.get("templates")
    for index, pattern in enumerate(patterns if isinstance(patterns, list) else ()):
        full = Path(pattern) if Path(pattern).is_absolute() else context.folder / pattern
        yield ("templates", index), str(pattern), sorted(full.parent.glob(full.name))


def template_missing(context: Context) -> Iterator[Finding]:
    """A pattern of templates that no file matches: Alertmanager says nothing. Absolute ones may live elsewhere."""
    for place, pattern, files in _templates(context):
        if not files and (context.look_at_files or (context.is_file and not Path(pattern).is_absolute())):
            yield place, f"no file matches {pattern!r}", "add the template, or remove the line"


def template_function(context: Context) -> Iterator[Finding]:
    """A template that calls a function this Alertmanager does not have: it fails when the first alert is sent."""
    texts = [(place, value) for place, _, value in _walk(context.config.document.values) if isinstance(value, str)]
    for place, _, files in _templates(context):
        texts += [(place, file.read_text(encoding="utf-8", errors="replace")) for file in files]
    for place, text in texts:
        for name in sorted(_called(text)):
            since = versions.TEMPLATE_FUNCTIONS.get(name)
            if since is None:
                yield place, f"calls {name}, which is no function of Alertmanager's templates", "correct its name"
            elif since > context.version:
                has = version_text(since)
                yield place, f"calls {name}, which Alertmanager {version_text(context.version)} lacks", f"{has} has it"


def _called(text: str) -> set[str]:
    """Names that a template calls; fields, variables and literals are none."""
    names: set[str] = set()
    for action in _ACTION.findall(text):
        words = _WORD.findall(_LITERAL.sub(" ", action))
        names |= {word for word in words if word not in GO_FUNCTIONS}
    return names


def deprecated(context: Context) -> Iterator[Finding]:
    """Keys that will be removed."""
    for place, key, _ in _walk({name: context.config.document.values.get(name) for name in ("route", "inhibit_rules")}):
        if key in DEPRECATED and not any(str(part) in DEPRECATED for part in place[:-1]):
            better = {"match": "matchers", "match_re": "matchers"}.get(key, key.removesuffix("_re") + "ers")
            yield place, f"{key} is deprecated", f"write {better}"
    if "mute_time_intervals" in context.config.document.values:
        yield ("mute_time_intervals",), "mute_time_intervals at the top is deprecated", "write time_intervals"


def too_new(context: Context) -> Iterator[Finding]:
    """Something that this Alertmanager does not have yet."""
    version = version_text(context.version)
    for place, key, since in shapes.newer(context.config.document.values, context.version):
        yield place, f"Alertmanager {version} has no {key} here", f"{version_text(since)} has it"
    if context.version < configuration.UTF8_LABELS:
        yield from _utf8(context)


def _utf8(context: Context) -> Iterator[Finding]:
    has = version_text(configuration.UTF8_LABELS)
    sides = [(route.place, route.matchers) for route in context.config.route.walk()]
    sides += [(rule.place, (*rule.source, *rule.target)) for rule in context.config.inhibitions]
    for place, matchers in sides:
        for matcher in matchers:
            if matcher.is_name_quoted:
                yield place, f"a label name in quotes: {matcher.name!r}", f"{has} has it"


CHECKS: dict[str, Check] = {
    "receiver-unused": unused,
    "secret-in-clear": secret_in_clear,
    "secret-missing": secret_missing,
    "template-missing": template_missing,
    "template-unknown-function": template_function,
    "deprecated-key": deprecated,
    "feature-too-new": too_new,
}
