"""Run by the interpreter that has Feast, not by Midwatch's: writes what the registry and the sources say as JSON.

Its argument is a folder with a `feature_store.yaml`. Nothing of Midwatch is imported, and nothing is changed there.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any


def main(repository: str) -> None:
    """Write a document with every feature view that has a source of its own."""
    from feast import FeatureStore, version  # Midwatch's own interpreter does not have it

    store = FeatureStore(repo_path=repository)
    views = [view for view in store.list_all_feature_views() if getattr(view, "batch_source", None) is not None]
    json.dump({"version": version.get_version(), "views": [_view(store, view) for view in views]}, sys.stdout)


def _view(store: Any, view: Any) -> dict[str, Any]:
    ends = [_seconds(interval[1]) for interval in getattr(view, "materialization_intervals", ())]
    document = {
        "name": view.name,
        "ttl_seconds": view.ttl.total_seconds() if view.ttl else None,
        "materialized_until": max(ends, default=None),
    }
    try:
        return {**document, "newest_event": _newest_event(store, view.batch_source)}
    except Exception as error:
        return {**document, "problem": f"{type(error).__name__}: {error}"[:500]}


def _newest_event(store: Any, source: Any) -> float | None:
    """The greatest event timestamp of a source, computed where the data is; None while it has no row."""
    # Feast has no public way to its offline store; its monitoring_service.py takes this one.
    newest = store._get_provider().offline_store.get_monitoring_max_timestamp(
        config=store.config, data_source=source, timestamp_field=source.timestamp_field
    )
    return None if newest is None else _seconds(newest)


def _seconds(time: datetime) -> float:
    """Seconds since 1970; a time without a zone is UTC, as everywhere in Feast."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


if __name__ == "__main__":
    main(sys.argv[1])
