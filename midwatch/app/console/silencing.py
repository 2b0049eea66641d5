"""Silences and acknowledgements: forms of the pages, checked, and sent to Alertmanager.

Alertmanager knows no acknowledgement: it is a short silence whose comment begins with `ack: `. A silence hides the
page, not the harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from midwatch import alertmanager
from midwatch.app.console.pages.alert import ACKNOWLEDGED, LASTS
from midwatch.errors import MidwatchError

ACKNOWLEDGED_FOR = "30m"
LONGEST_TEXT = 500
MOST_MATCHERS = 40


class FormError(MidwatchError):
    """The form cannot be used as it was sent; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a person asked for: matchers as label and value, how long in seconds, who they are and why."""

    matchers: Mapping[str, str]
    seconds: float
    who: str
    comment: str


def read(fields: Mapping[str, Sequence[str]]) -> Form:
    """The form of a silence; FormError when something is missing."""
    is_ack = _one(fields, "acknowledge") == "yes"
    who, why, lasts = _one(fields, "who"), _one(fields, "why"), _one(fields, "for")
    if not who:
        raise FormError("say who you are: whoever comes next asks you")
    if not why and not is_ack:
        raise FormError("say why: whoever comes next reads it")
    if is_ack:
        lasts = ACKNOWLEDGED_FOR
    if lasts not in LASTS:
        raise FormError(f"choose how long: one of {', '.join(LASTS)}")
    given = fields.get("matcher", ())
    matchers = dict(_matcher(text) for text in given)
    if len(given) > MOST_MATCHERS or len(matchers) < len(given):
        # with some of them left out it would hold back more than the person was shown
        raise FormError(f"a silence from here has at most {MOST_MATCHERS} labels, each once: use midwatch silence")
    if not matchers.get("alertname"):
        raise FormError("a silence names its alert")
    comment = f"{ACKNOWLEDGED}{why or 'somebody works on it'}" if is_ack else why
    return Form(matchers=matchers, seconds=LASTS[lasts], who=who, comment=comment)


def make(client: alertmanager.Client, form: Form, page: str) -> str:
    """Make the silence; its id. The comment ends with the address of the page, where it has one."""
    now = datetime.now(UTC)
    return client.silence(
        [alertmanager.Matcher(name=name, value=value) for name, value in form.matchers.items()],
        starts_at=now,
        ends_at=now + timedelta(seconds=form.seconds),
        created_by=form.who,
        comment=f"{form.comment} ({page})" if page else form.comment,
    )


def local_path(text: str) -> str:
    """A path of ours to go back to; the page of alerts for anything that leads elsewhere.

    >>> local_path("/alerts/X?model=a"), local_path("//evil.example/"), local_path("https://evil.example")
    ('/alerts/X?model=a', '/alerts', '/alerts')
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/alerts"
    is_local = not parts.scheme and not parts.netloc and text.startswith("/") and not text.startswith(("//", "/\\"))
    return text if is_local and text.isprintable() else "/alerts"


def _one(fields: Mapping[str, Sequence[str]], name: str) -> str:
    return (fields.get(name) or [""])[0].strip()[:LONGEST_TEXT]


def _matcher(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
