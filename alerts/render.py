"""The files of rules and routes, from the platform file: the same input gives the same bytes."""

from __future__ import annotations

from alerts import routes, ruleset
from midwatch import yamlfile
from midwatch.spec import model as spec


def render_files(platform: spec.Platform, *, sink_url: str | None = None) -> dict[str, str]:
    """Text of each file by its path below the output folder.

    With `sink_url` every receiver delivers there instead: nobody is paged from a demonstration.
    """
    files = {"alertmanager/alertmanager.yml": yamlfile.dump(routes.alertmanager(platform, sink_url))}
    for name, document in ruleset.rule_files(platform).items():
        files[f"prometheus/rules/{name}"] = yamlfile.dump(document)
    return dict(sorted(files.items()))
