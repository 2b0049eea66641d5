"""A verdict for people on a terminal: a table with both distributions."""

from __future__ import annotations

from collections.abc import Mapping

from monitors.drift import joint, quality
from monitors.drift.counts import Counts
from monitors.drift.histograms import sparklines
from monitors.drift.reference import FeatureReference
from monitors.drift.verdict import Finding, Judgement

MOST_ROWS = 40


def show(
    judgement: Judgement,
    features: Mapping[str, FeatureReference],
    window: Mapping[str, Counts],
    not_compared: Mapping[str, str],
) -> None:
    """Print a line per feature, the one furthest beyond its floor first: both distributions, effects, who votes."""
    from rich.table import Table

    from midwatch import tables

    rows: dict[str, list[Finding]] = {}
    for finding in judgement.ranked:
        rows.setdefault(finding.feature, []).append(finding)
    together = rows.pop(joint.FEATURE, [])
    methods = list(dict.fromkeys(finding.method for finding in judgement.findings if finding not in together))
    view = Table(title=f"{judgement.verdict.value}: {judgement.reason}", title_justify="left", caption_justify="left")
    for name in ("feature", "reference", "window"):
        view.add_column(name, no_wrap=True)
    for method in methods:
        view.add_column(method, justify="right", no_wrap=True)
    view.add_column("drift")
    for name, findings in list(rows.items())[:MOST_ROWS]:
        bars = sparklines(features[name], window[name]) if name in features else ("", "")
        effects = {finding.method: _effect(finding) for finding in findings}
        said = [_said(finding) for finding in findings if finding.votes]
        view.add_row(name, *bars, *(effects.get(one, "") for one in methods), ", ".join(dict.fromkeys(said)))
    view.caption = "Effects; * votes for drift. " + _left_out(len(rows))
    if together:
        effects_together = (f"{finding.method} {_effect(finding).strip()}" for finding in together)
        view.caption = f"{joint.FEATURE}: {', '.join(effects_together)}\n{view.caption}"
    for name, why in not_compared.items():
        view.caption = f"{view.caption}\nnot compared: {name} ({why})"
    tables.show(view)


def _effect(finding: Finding) -> str:
    return f"{finding.result.effect:.3f}{'*' if finding.votes else ' '}"


def _said(finding: Finding) -> str:
    return (
        f"{finding.method.replace('_', ' ')}: {finding.direction}"
        if finding.method in quality.CHECKS
        else finding.direction
    )


def _left_out(rows: int) -> str:
    return f"{rows - MOST_ROWS} features more in --json." if rows > MOST_ROWS else "--json has p-values and floors."
