"""Silences of alerts that fire: what they match, whose they are, why, and for how long.

A silence of one person with the same matchers is changed in place, so that it keeps its id and Alertmanager's
store does not fill. Another's is left alone. The id to go on with is always the one in Alertmanager's answer.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from midwatch import alertmanager
from midwatch.alertmanager import Alert, Client, Matcher
from midwatch.errors import Exit, MidwatchError

ACKNOWLEDGED = "acknowledged: "
"""Begins the comment of a silence that says: somebody looks after it. Alertmanager has no acknowledgement."""


class NothingFiresError(MidwatchError):
    """No alert fires that the silence would hold back."""

    exit = Exit.FAIL


@dataclass(frozen=True, kw_only=True)
class Made:
    """A silence as it is in Alertmanager now, and the alerts that it holds back."""

    id: str
    url: str
    matchers: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str
    extended: bool
    holds_back: tuple[Mapping[str, str], ...]


def matchers_of(alert: str, labels: Mapping[str, str]) -> tuple[Matcher, ...]:
    """Matchers of an alert's name and of labels, all equal."""
    return tuple(Matcher(name=name, value=value) for name, value in {"alertname": alert, **labels}.items())


def make(
    client: Client,
    matchers: Sequence[Matcher],
    *,
    now: datetime,
    seconds: float,
    created_by: str,
    comment: str,
    ahead: bool = False,
) -> Made:
    """Hold back what the matchers find from now on, for so long; a silence of the same person is changed.

    NothingFiresError when nothing of it fires, unless it is made ahead; AlertmanagerError without an answer.
    """
    firing = client.alerts()
    held = [one for one in firing if alertmanager.fits(matchers, one.labels)]
    if not held and not ahead:
        raise NothingFiresError(_nothing(matchers, firing))
    ends_at = now + timedelta(seconds=seconds)
    own = _own(client.silences(), matchers, created_by, now)
    starts_at = own.starts_at if own else now
    made = client.silence(
        matchers,
        starts_at=starts_at,
        ends_at=ends_at,
        created_by=created_by,
        comment=comment,
        replaces=own.id if own else None,
    )
    return Made(
        id=made,
        url=f"{client.url}/#/silences/{made}",
        matchers=tuple(map(str, matchers)),
        starts_at=starts_at,
        ends_at=ends_at,
        created_by=created_by,
        comment=comment,
        extended=own is not None,
        holds_back=tuple(one.labels for one in held),
    )


def _own(
    silences: Iterable[alertmanager.Silence], matchers: Sequence[Matcher], created_by: str, now: datetime
) -> alertmanager.Silence | None:
    """The active silence of a person that has just these matchers, the last to end."""
    wanted = set(matchers)
    own = [
        one
        for one in silences
        if one.state == "active" and one.created_by == created_by and set(one.matchers) == wanted and one.ends_at > now
    ]
    return max(own, key=lambda one: one.ends_at, default=None)


def _nothing(matchers: Sequence[Matcher], firing: Sequence[Alert]) -> str:
    """Why nothing is held back, and what is close to it."""
    text = ", ".join(map(str, matchers))
    by_name = {one.value for one in matchers if one.name == "alertname"}
    same = [one for one in firing if one.labels.get("alertname") in by_name]
    if same:
        shown = "; ".join(_in_words(one.labels) for one in same[:3])
        return f"no alert fires with {text}; of that name fires: {shown}. Correct --label, or give --ahead"
    names = sorted({one.labels.get("alertname", "") for one in firing})
    close = difflib.get_close_matches(next(iter(by_name), ""), names, 1)
    hint = f"did you mean {close[0]}?" if close else f"{len(names)} others fire." if names else "nothing fires."
    return f"no alert fires with {text}; {hint} To silence it before it fires, give --ahead"


def _in_words(labels: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "alertname")


def with_link(why: str, alerts: Sequence[Mapping[str, str]]) -> str:
    """A reason, and the page of the first alert that has one: who finds the silence later can look."""
    link = next((one["dashboard_url"] for one in alerts if one.get("dashboard_url")), "")
    return f"{why} {link}" if link else why
