"""This release, as it is recorded: made from the spec, the catalogue of our metrics and the kinds of files."""

from __future__ import annotations

import midwatch
from midwatch import metrics, releases
from midwatch.app.upgrade import forms
from midwatch.releases import Release
from midwatch.spec import keys


def release() -> Release:
    """What this release has; what it replaces is written by people, and taken from its file."""
    name = midwatch.__version__
    known = releases.read(name) if name in releases.names() else None
    return Release(
        name=name,
        keys=keys.by_section(),
        metrics={metric.name: sorted(metric.labels) for metric in metrics.CATALOGUE.values()},
        forms={kind.name: kind.written for kind in forms.KINDS},
        replaced_keys=known.replaced_keys if known else {},
        replaced_metrics=known.replaced_metrics if known else {},
    )
