"""Settings of a system: what kinds there are, which values each takes, and what its placeholders are filled with."""

from __future__ import annotations

import json
import sys
from abc import abstractmethod
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

import promql_parser
import re2
from pydantic import Field, model_validator

from midwatch.spec.base import Strict
from midwatch.spec.placeholders import Value
from midwatch.spec.slo import Severity
from midwatch.spec.values import (
    Duration,
    Ratio,
    format_duration,
    format_percentage,
    parse_duration,
    parse_percentage,
)

Text = Annotated[str, Field(min_length=1)]


class SettingError(ValueError):
    """A value that a setting cannot have; `remedy` says what to write."""

    def __init__(self, message: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(message)


Quantity = TypeVar("Quantity", float, Decimal)


class Bound(Strict, Generic[Quantity]):
    """The least or the greatest value of a setting, and why an alert is of no use beyond it."""

    value: Quantity
    reason: Text


class _Setting(Strict):
    reason: Text


class BoundedSetting(_Setting, Generic[Quantity]):
    """A setting whose value is at least and at most something."""

    default: Quantity
    at_least: Bound[Quantity] | None = None
    at_most: Bound[Quantity] | None = None

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        self._ensure_inside(self.default)
        return self

    def _ensure_inside(self, value: Quantity) -> None:
        """Raise SettingError for what is beyond a bound."""
        if self.at_least is not None and value < self.at_least.value:
            least = self.shown(self.at_least.value)
            raise SettingError(f"{self.shown(value)} is too little: {self.at_least.reason}", f"write at least {least}")
        if self.at_most is not None and value > self.at_most.value:
            most = self.shown(self.at_most.value)
            raise SettingError(f"{self.shown(value)} is too much: {self.at_most.reason}", f"write at most {most}")

    def default_text(self) -> str:
        """The default as the platform file has it."""
        return self.shown(self.default)

    def bound_texts(self) -> tuple[str, str]:
        """The least and the greatest value, each with its reason; empty without one."""
        least, most = (f"{self.shown(one.value)}: {one.reason}" if one else "" for one in (self.at_least, self.at_most))
        return least, most

    @abstractmethod
    def shown(self, value: Quantity) -> str:
        """A value as the platform file has it."""


_SHORTEST, _LONGEST = 1.0, 365 * 86400.0
"""Seconds of every duration, whatever its own bounds are."""


class DurationSetting(BoundedSetting[Duration]):
    """A duration, such as 15m."""

    type: Literal["duration"]

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no duration, or beyond a bound."""
        seconds = parse_duration(given)
        self._ensure_inside(seconds)
        return timedelta(seconds=seconds)

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return timedelta(seconds=self.default)

    def _ensure_inside(self, value: float) -> None:
        super()._ensure_inside(value)
        if value < _SHORTEST:
            raise SettingError(f"{self.shown(value)} is no time to wait or to look back", "write at least 1s")
        if value > _LONGEST:
            raise SettingError(f"{value / 86400:.0f}d is longer than metrics are kept", "write at most 365d")

    def shown(self, value: float) -> str:
        """A duration as the platform file has it."""
        return format_duration(value)


class RatioSetting(BoundedSetting[Ratio]):
    """A share, such as 5%."""

    type: Literal["ratio"]

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no percentage, or beyond a bound."""
        ratio = parse_percentage(given)
        self._ensure_inside(ratio)
        return float(ratio)

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return float(self.default)

    def shown(self, value: Decimal) -> str:
        """A share as the platform file has it."""
        return format_percentage(value)


class NumberSetting(BoundedSetting[Annotated[float, Field(strict=False, allow_inf_nan=False)]]):
    """A number."""

    type: Literal["number"]

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no finite number, or beyond a bound."""
        if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) <= sys.float_info.max:
            raise SettingError(f"{given!r} is not a number", f"write one, such as {self.default:g}")
        self._ensure_inside(given)
        return float(given)

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return self.default

    def shown(self, value: float) -> str:
        """A number as the platform file has it: 1e+09 would be a text there.

        >>> NumberSetting(type="number", default=1e9, reason="Many.").default_text()
        '1000000000'
        """
        return f"{value:.15g}"


_QUIET = re2.Options()
_QUIET.log_errors = False


class PatternSetting(_Setting):
    """A regular expression (RE2) for the values of a label, anchored."""

    type: Literal["pattern"]
    default: str

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no pattern."""
        if not isinstance(given, str):
            raise SettingError(f"{given!r} is not text", "put it in quotes")
        if not given:
            raise SettingError("an empty pattern finds nothing", f"write {self.default}, or remove the key")
        _ensure_no_template(given)
        try:
            re2.compile(given, _QUIET)
            promql_parser.parse(f"up{{job=~{json.dumps(given)}}}")
        except re2.error as error:
            raise SettingError(f"{given!r} is not a regular expression: {_words(error)}", _ESCAPE) from error
        except ValueError as error:
            raise SettingError(f"{given!r} is not a regular expression of PromQL", _ESCAPE) from error
        return given

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return self.default


_ESCAPE = "correct it; put \\ before a character that stands for itself"


def _words(error: re2.error) -> str:
    said = error.args[0] if error.args else ""
    return said.decode() if isinstance(said, bytes) else str(said)


def _ensure_no_template(text: str) -> None:
    """Raise SettingError for what Prometheus would fill in: settings stand in texts of alerts, which are templates."""
    if "{{" in text:
        raise SettingError(f"{text!r} has {{{{, which begins a template in an alert's text", "write the value itself")


class SeveritySetting(_Setting):
    """Who is called: page or ticket."""

    type: Literal["severity"]
    default: Annotated[Severity, Field(strict=False)]

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no severity."""
        if given not in list(Severity):
            raise SettingError(f"{given!r} is not one of page, ticket", "write page or ticket")
        return str(given)

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return str(self.default)


class NamesSetting(_Setting):
    """Names of things that have to be there; an alert is made `per` each."""

    type: Literal["names"]
    default: list[Text]

    def value(self, given: Any) -> Value:
        """What placeholders are filled with; ValueError for what is no list of names."""
        if not isinstance(given, list) or not all(isinstance(one, str) and one.strip() for one in given):
            raise SettingError(f"{given!r} is not a list of names", "write one such as [first, second]")
        for one in given:
            _ensure_no_template(one)
            if given.count(one) > 1:
                raise SettingError(f"{one} twice", "write each once")
        return "|".join(re2.escape(one) for one in given)

    def default_value(self) -> Value:
        """What placeholders are filled with when the platform file says nothing."""
        return self.value(self.default)


Setting = Annotated[
    DurationSetting | RatioSetting | NumberSetting | PatternSetting | SeveritySetting | NamesSetting,
    Field(discriminator="type"),
]
