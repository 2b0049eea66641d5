"""The scrape jobs that rules name: an expression whose job is called otherwise finds nothing, and nobody is told."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alerts import expressions
from midwatch import jobs, metrics
from midwatch.errors import Problem
from midwatch.spec.model import Platform

ANNOTATION = "midwatch.dev/jobs"
"""Of a PrometheusRule: the jobs that its rules name."""

PUBLISHED_BY = {
    jobs.EXPORTER: metrics.EXPORTER_SERIES.name,
    jobs.GATE: metrics.CANARY_GATE_REFUSED.name,
    jobs.RECOVERY: metrics.DR_STORE_ANSWERS.name,
    jobs.LOOP: metrics.LOOP_LEADER.name,
    jobs.SYSTEMS: metrics.SOURCE_UP.name,
    jobs.INCIDENTS: metrics.INCIDENT_LAST_LOOK.name,
    jobs.EVALUATOR: metrics.EVALUATOR_LAST_SUCCESS.name,
    jobs.STREAM: metrics.STREAM_BATCHES.name,
    jobs.PROMETHEUS: "prometheus_build_info",
    jobs.ALERTMANAGER: "alertmanager_build_info",
}
"""A metric by which a job is known, whatever it is called."""

OWN = (jobs.EXPORTER, jobs.GATE, jobs.LOOP, jobs.INCIDENTS, jobs.EVALUATOR, jobs.STREAM, jobs.RECOVERY)
"""Jobs of Midwatch's own services: alerts miss a target by how many there are."""


@dataclass(frozen=True, order=True)
class Needed:
    """A job that a rule names: by `=`, or by a pattern."""

    name: str
    is_pattern: bool = False

    def is_among(self, names: Collection[str]) -> bool:
        """Whether one of the names is meant."""
        return any(re.fullmatch(self.name, name) for name in names) if self.is_pattern else self.name in names


def of_document(document: Mapping[str, Any]) -> list[Needed]:
    """The jobs that the rules of a file name."""
    found = {
        Needed(value, operator == "=~")
        for group in document["groups"]
        for rule in group["rules"]
        for selector in expressions.selectors(expressions.parse_or_none(rule["expr"]))
        for name, operator, value in selector.matchers
        if name == "job" and operator in ("=", "=~") and value
    }
    return sorted(found)


def heading(document: Mapping[str, Any]) -> str:
    """A comment that names them, for the top of a rule file; nothing where rules name none."""
    names = ", ".join(one.name for one in of_document(document))
    return f"# These rules name the scrape jobs {names}\n" if names else ""


def metadata_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of an object with these rules."""
    names = ",".join(one.name for one in of_document(document))
    return {"annotations": {ANNOTATION: names}} if names else {}


def find_problems(
    documents: Mapping[str, Mapping[str, Any]], scraped: Collection[str], known: Mapping[str, Collection[str]]
) -> Iterator[Problem]:
    """Jobs that rules name and Prometheus does not have.

    `scraped` are the jobs that it has; `known` are those where a metric of PUBLISHED_BY is, by the job it should be.
    """
    for file, document in documents.items():
        for needed in of_document(document):
            if not needed.is_among(scraped):
                yield Problem(
                    file=f"prometheus/rules/{file}",
                    message=f"its rules name the job {needed.name!r}, and Prometheus scrapes none of that name",
                    remedy=_remedy(needed, scraped, known.get(needed.name, ())),
                )


def find_strangers(platform: Platform, targets: Mapping[str, int]) -> Iterator[Problem]:
    """Jobs with more targets than the platform has: those of another hide that one of these is gone."""
    for job, count in targets.items():
        if count > (own := len(jobs.service_targets(platform, job))):
            yield Problem(
                file="prometheus",
                message=f"{count} targets of the job {job!r}, and the platform has {own}: while others are scraped, no "
                "alert tells that one of these is gone",
                remedy="write every target (targets, or kubernetes.exporter.replicas); give another platform a "
                "Prometheus of its own",
            )


def _remedy(needed: Needed, scraped: Collection[str], known: Collection[str]) -> str:
    close = sorted(known) or difflib.get_close_matches(needed.name, scraped, 1)
    if not close:
        return "scrape it, under that name"
    way = "by job_name, or by a relabeling of the label job"
    return f"call the job {close[0]!r} so {way}: {'it has its metrics' if known else 'it is the closest name'}"
