"""Services of systemd, and timers of what is scheduled: systemd.service(5), systemd.timer(5), systemd.time(7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from midwatch.spec import cron

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
"""In the order of ranges, which begin with Monday."""


def service(description: str, command: str, *, grace_seconds: float) -> str:
    """Text of a service that runs a command to its end; stopped, it has `grace_seconds` to put away what it did."""
    return (
        f"[Unit]\nDescription={description}\n\n"
        f"[Service]\nType=oneshot\nUser=midwatch\nExecStart=/usr/bin/env {command}\n"
        f"TimeoutStopSec={grace_seconds:g}\n"
    )


def lasting_service(description: str, command: str, *, environment_file: str, state_folder: str = "") -> str:
    """Text of a service that runs until it is stopped, and is started again whenever it ends otherwise.

    Variables are read from `environment_file` if it is there; `state_folder`, below /var/lib, is made for it.
    """
    state = f"StateDirectory={state_folder}\n" if state_folder else ""
    return (
        f"[Unit]\nDescription={description}\nWants=network-online.target\nAfter=network-online.target\n"
        "StartLimitIntervalSec=0\n\n"  # however often it has failed, the next start may well succeed
        f"[Service]\nUser=midwatch\nEnvironmentFile=-{environment_file}\n{state}"
        f"ExecStart=/usr/bin/env {command}\nRestart=always\nRestartSec=5\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def word(text: str) -> str:
    """One word of a command as a unit has it: quoted, without specifiers and variables (systemd.service(5)).

    >>> word("/run/secrets/token"), word("/run/50% of/$x")
    ('"/run/secrets/token"', '"/run/50%% of/$$x"')
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def timer(description: str, schedule: str, *, spread_seconds: float = 0.0, catches_up: bool) -> str:
    """Text of the timer of the service of the same name; `catches_up`: a start that was missed is made up for."""
    lines = [f"OnCalendar={one}" for one in calendars(schedule)]
    lines += [f"RandomizedDelaySec={spread_seconds:g}"] if spread_seconds else []
    lines += [f"Persistent={'true' if catches_up else 'false'}"]
    timed = "\n".join(lines)
    return f"[Unit]\nDescription={description}\n\n[Timer]\n{timed}\n\n[Install]\nWantedBy=timers.target\n"


def calendars(schedule: str) -> list[str]:
    """Calendar events of a cron schedule, in UTC; any of them is a time of it.

    Cron runs when day of month *or* day of week fits where both are given. An event of systemd wants both, so that is
    two events.

    >>> calendars("0 4 * * 1"), calendars("*/15 0-6 1,15 * *")
    (['Mon *-*-* 04:00:00 UTC'], ['*-*-01,15 00..06:00,15,30,45:00 UTC'])
    >>> calendars("30 10 1 jan-mar 5-7")
    ['Fri..Sun *-01..03-* 10:30:00 UTC', '*-01..03-01 10:30:00 UTC']
    """
    told = cron.parse(schedule)
    named = frozenset((day - 1) % len(_DAYS) for day in told.weekdays)
    weekdays = "" if len(named) == len(_DAYS) else ",".join(_spans(named, _DAYS)) + " "
    days = _field(told.days, 1, 31)
    month = _field(told.months, 1, 12)
    time = f"{_field(told.hours, 0, 23)}:{_field(told.minutes, 0, 59)}:00 UTC"
    if told.either_day:
        return [f"{weekdays}*-{month}-* {time}", f"*-{month}-{days} {time}"]
    return [f"{weekdays}*-{month}-{days} {time}"]


def _field(values: frozenset[int], first: int, last: int) -> str:
    if values == frozenset(range(first, last + 1)):
        return "*"
    return ",".join(_spans(values, [f"{value:02}" for value in range(last + 1)]))


def _spans(values: frozenset[int], names: Sequence[str]) -> Iterator[str]:
    """Runs of three values and more as a range, others by themselves."""
    run: list[int] = []
    for value, following in pairwise([*sorted(values), -1]):
        run.append(value)
        if following == value + 1:
            continue
        named = [names[one] for one in run]
        yield from [f"{named[0]}..{named[-1]}"] if len(run) > 2 else named
        run = []
