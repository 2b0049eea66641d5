"""Renders the files of rules and routes from the platform file: the same input gives the same bytes."""

from __future__ import annotations

from alerts import needed_jobs
from alerts.routing import existing, gossip
from alerts.rules import files as rule_files
from midwatch import yamlfile
from midwatch.spec.model import Platform


def render_files(platform: Platform, *, sink_url: str | None = None) -> dict[str, str]:
    """Text of each file by its path below the output folder.

    With `sink_url` every receiver delivers there instead: nobody is paged from a demonstration.
    """
    files = {}
    if not platform.is_view:  # it sends its alerts to those of the regions
        files["alertmanager/alertmanager.yml"] = existing.text(platform, sink_url)
    if platform.regions is not None and not platform.is_view:
        files["alertmanager/cluster.args"] = gossip.arguments(platform.regions)
    for name, document in rule_files.documents(platform).items():
        files[f"prometheus/rules/{name}"] = needed_jobs.heading(document) + yamlfile.dump(document)
    return dict(sorted(files.items()))
