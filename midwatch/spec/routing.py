"""Owners, the time intervals in which they are called, and the Alertmanager that calls them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from midwatch.spec.addresses import PlainUrl
from midwatch.spec.alertmanager_fields import OLDEST, Version
from midwatch.spec.base import LabelName, Name, Strict
from midwatch.spec.slo import TimeZone
from midwatch.spec.values import Duration

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
"""As Alertmanager counts them: Sunday is 0."""
MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)


def _time(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|24:00", text):
        raise ValueError(f"{text!r} is not a time of day, such as 08:00; the end of the day is 24:00")
    return text


TimeOfDay = Annotated[str, AfterValidator(_time)]


class TimeRange(Strict):
    """From a time of day to another; one that ends before it begins goes on into the next day."""

    from_: TimeOfDay = Field(alias="from")
    """Time of day at which it begins."""
    to: TimeOfDay
    """Time of day at which it ends."""

    @model_validator(mode="after")
    def _not_empty(self) -> TimeRange:
        if self.from_ == self.to:
            raise ValueError(f"is empty: from {self.from_} to {self.to}; the whole day is 00:00 to 24:00")
        return self


def _range_of(names: tuple[str, ...]) -> AfterValidator:
    def check(text: str) -> str:
        for part in text.split(":"):
            if part not in names:
                raise ValueError(f"{part!r} is not one of {', '.join(names)}")
        if text.count(":") > 1:
            raise ValueError(f"{text!r} is not a range such as {names[1]}:{names[5]}")
        return text

    return AfterValidator(check)


class TimeInterval(Strict):
    """Times in a time zone: all that is given has to hold. Ranges are written `monday:friday`, `1:7`, `-3:-1`."""

    time_zone: TimeZone = "UTC"
    """The time zone of its times and days."""
    times: list[TimeRange] = []
    """Ranges of the time of day."""
    weekdays: list[Annotated[str, _range_of(WEEKDAYS)]] = []
    """Days of the week, or ranges such as `monday:friday`."""
    days_of_month: list[Annotated[str, Field(pattern=r"^-?[1-9]\d?(:-?[1-9]\d?)?$")]] = []
    """Days of the month, or ranges; `-1` is the last."""
    months: list[Annotated[str, _range_of(MONTHS)]] = []
    """Months, or ranges such as `january:march`."""
    years: list[Annotated[str, Field(pattern=r"^\d{4}(:\d{4})?$")]] = []
    """Years, or ranges."""

    @model_validator(mode="after")
    def _says_something(self) -> TimeInterval:
        if not any((self.times, self.weekdays, self.days_of_month, self.months, self.years)):
            raise ValueError("is always: give times, weekdays, days_of_month, months or years")
        crosses = any(one.to < one.from_ for one in self.times)
        if crosses and (self.days_of_month or self.months or self.years):
            raise ValueError("a time range over midnight cannot be kept to days of the month, months or years")
        return self


def _instant(value: object) -> object:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is not a time such as 2026-12-01T22:00:00+01:00") from error
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no time zone; write Z or an offset such as +01:00")
    return value


Instant = Annotated[datetime, BeforeValidator(_instant)]


class Maintenance(Strict):
    """A time when alerts are muted: once, or whenever a time interval is; of everything, or of alerts with labels."""

    name: Name
    """Its name."""
    from_: Instant | None = Field(default=None, alias="from")
    """When it begins."""
    to: Instant | None = None
    """When it ends."""
    interval: Name | None = None
    """The time interval in which it recurs, instead of from and to."""
    labels: Annotated[dict[LabelName, str], Field(min_length=1)]
    """Labels of the alerts that are muted."""

    @model_validator(mode="after")
    def _one_time(self) -> Maintenance:
        once = self.from_ is not None and self.to is not None
        if once == (self.interval is not None) or (self.from_ is None) != (self.to is None):
            raise ValueError("needs either from and to, or interval")
        if self.from_ is not None and self.to is not None and not self.from_ < self.to:
            raise ValueError("ends before it begins")
        if any(one is not None and (one.second or one.microsecond) for one in (self.from_, self.to)):
            raise ValueError("Alertmanager's times are of whole minutes")
        return self


class Owner(Strict):
    """A team, and the channels that reach it by severity; what it does not say is as in the owner it `extends`.

    `page_hours` and `ticket_hours` name time intervals outside of which nothing of that severity is sent.
    """

    extends: Name | None = None
    """The owner whose values stand for what is not said here."""
    page: Annotated[list[Name], Field(min_length=1)] | None = None
    """Channels of pages."""
    ticket: Annotated[list[Name], Field(min_length=1)] | None = None
    """Channels of tickets."""
    page_hours: Name | None = None
    """Time interval outside of which no page is sent."""
    ticket_hours: Name | None = None
    """Time interval outside of which no ticket is sent."""


def parse_version(text: object) -> Version:
    """Version of a text such as `0.27`; ValueError if it is none, or too old."""
    if isinstance(text, tuple):
        return text
    match = re.fullmatch(r"v?0\.(\d+)(\.\d+)?", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a version of Alertmanager; write it in quotes, such as '0.27'")
    version: Version = (0, int(match[1]))
    if version < OLDEST:
        raise ValueError(f"Alertmanager {text} is too old; 0.25 is the oldest that is written for")
    return version


class Alertmanager(Strict):
    """The Alertmanager that notifies, how it groups, and its version: without one, `amtool` is asked."""

    url: PlainUrl = "http://127.0.0.1:9093"
    """Where it answers."""
    version: Annotated[Version, BeforeValidator(parse_version, json_schema_input_type=str)] | None = None
    """Its version; `amtool` is asked without one."""
    base: str | None = None
    """An existing `alertmanager.yml` that our routes are [written into](alerts.md#beside-what-exists): its path, or its
    text."""
    group_wait: Duration = 10.0
    """How long the first alert of a group waits for others."""
    group_interval: Duration = 60.0
    """How long a group's later alerts wait."""
    repeat_interval: Duration = 14400.0
    """How long until an alert that still fires is sent again."""
    deadman: Name | None = None
    """The channel of the deadman's switch, a heartbeat a minute: somebody behind it misses it when it stops."""
    kubernetes: Literal["secret", "alertmanagerconfig"] = "secret"
    """The object that its configuration becomes in a cluster."""

    @model_validator(mode="after")
    def _repeats_after_groups(self) -> Alertmanager:
        if self.repeat_interval < self.group_interval:
            raise ValueError("repeat_interval is below group_interval, which it is rounded up to")
        return self
