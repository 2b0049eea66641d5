"""How a panel's values look: unit, decimals, texts of states, and colours, of all its fields or of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dashboards.preview import units

Settings = Mapping[str, Any]

_OF_DEFAULTS = ("unit", "decimals", "mappings", "thresholds", "color", "noValue", "min", "max")


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the values of one field look; `settings` are Grafana's, with overrides applied."""

    settings: Settings = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """Grafana's id of the unit."""
        return str(self.settings.get("unit") or "short")

    @property
    def is_dashed(self) -> bool:
        """Whether its line is dashed: a promise."""
        return "custom.lineStyle" in self.settings

    @property
    def fixed_colour(self) -> str:
        """The one colour of a field that has one; else empty."""
        colour = self.settings.get("color") or {}
        return str(colour.get("fixedColor") or "") if colour.get("mode") == "fixed" else ""

    @property
    def steps(self) -> Sequence[Mapping[str, Any]]:
        """Steps of the thresholds, ascending."""
        return (self.settings.get("thresholds") or {}).get("steps") or ()

    def text(self, value: float | None) -> str:
        """A value as it is shown: its state's text, else the number with its unit."""
        if value is None or value != value:  # noqa: PLR0124 - NaN alone differs from itself
            return str(self.settings.get("noValue") or "-")
        found = self._state(value)
        return str(found["text"]) if found else units.said(value, self.unit, self.settings.get("decimals"))

    def colour(self, value: float | None) -> str:
        """A value's colour as #rrggbb: its state's, else its threshold's; empty where it has none of its own."""
        if value is None or value != value:  # noqa: PLR0124 - NaN alone differs from itself
            return ""
        if found := self._state(value):
            return str(found.get("color") or "")
        passed = [step["color"] for step in self.steps if step["value"] is None or value >= step["value"]]
        return str(passed[-1]) if len(self.steps) > 1 and passed else ""

    def states(self) -> list[tuple[str, str]]:
        """Text and colour of each state, in their order."""
        results = [result for mapping in self.settings.get("mappings") or () for result in _results(mapping)]
        return [
            (str(one["text"]), str(one.get("color") or "")) for one in sorted(results, key=lambda one: one["index"])
        ]

    def _state(self, value: float) -> Mapping[str, Any] | None:
        for mapping in self.settings.get("mappings") or ():
            options = mapping["options"]
            if mapping["type"] == "value" and f"{value:g}" in options:
                return options[f"{value:g}"]  # type: ignore[no-any-return]
            if mapping["type"] == "range" and _is_within(value, options):
                return options["result"]  # type: ignore[no-any-return]
        return None


def _results(mapping: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    options = mapping["options"]
    return list(options.values()) if mapping["type"] == "value" else [options["result"]]


def _is_within(value: float, options: Mapping[str, Any]) -> bool:
    """Whether a value is between the bounds, both included; a bound that is absent holds nothing off."""
    low, high = options.get("from"), options.get("to")
    return (low is None or value >= low) and (high is None or value <= high)


def look_of(panel: Settings, *, ref: str = "", name: str = "") -> Look:
    """The look of the field of that name, or of those of the query `ref`."""
    config = panel.get("fieldConfig") or {}
    defaults = config.get("defaults") or {}
    look = Look(settings={key: defaults[key] for key in _OF_DEFAULTS if key in defaults})
    for override in config.get("overrides") or ():
        matcher = override["matcher"]
        is_meant = matcher["options"] == {"byName": name, "byFrameRefID": ref}.get(matcher["id"])
        if is_meant:
            own = {one["id"]: one["value"] for one in override["properties"]}
            look = replace(look, settings={**look.settings, **own})
    return look
