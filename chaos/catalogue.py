"""The kinds of experiments: what each does, how far it reaches, and which alert is expected to tell of it."""

from __future__ import annotations

from dataclasses import dataclass

from midwatch.spec.chaos import Kind

DEADMAN = "deadman"
"""Instead of an alert: the deadman's switch falls silent, which an outside watcher notices."""
NONE = "none"
"""Instead of an alert: the platform is expected to bear it, and nobody is paged."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One kind: what happens, the blast radius, whom it wakes, and whether the target's errors are the fault itself."""

    does: str
    blast_radius: str
    alert: str
    is_errors: bool = False
    blinds: bool = False


_REPLICA = "one replica of one model, and the requests that go to it"
_PLANE = "one part of the control plane; models keep answering"

ENTRIES: dict[Kind, Entry] = {
    Kind.KILL_REPLICA: Entry(
        does="kill a model replica", blast_radius=_REPLICA, alert="ModelErrorsHigh", is_errors=True
    ),
    Kind.SLOW_MODEL: Entry(does="slow a model down", blast_radius=_REPLICA, alert="ModelLatencyHigh"),
    Kind.FAILING_MODEL: Entry(
        does="let a model return errors", blast_radius=_REPLICA, alert="ModelErrorsHigh", is_errors=True
    ),
    Kind.CORRUPT_FEATURES: Entry(does="corrupt a feature feed", blast_radius=_REPLICA, alert="ModelInputDrift"),
    Kind.LOSE_EXPORTER: Entry(does="lose the exporter", blast_radius=_PLANE, alert="ExporterDown", blinds=True),
    Kind.LOSE_PROMETHEUS: Entry(does="lose Prometheus", blast_radius=_PLANE, alert=DEADMAN, blinds=True),
    Kind.LOSE_ALERTMANAGER: Entry(does="lose Alertmanager", blast_radius=_PLANE, alert=DEADMAN),
    Kind.CUT_NETWORK: Entry(
        does="cut the network between traffic and a model",
        blast_radius=_REPLICA,
        alert="ModelErrorsHigh",
        is_errors=True,
    ),
    Kind.FILL_DISK: Entry(
        does="fill the exporter's disk", blast_radius=_PLANE, alert="ExporterCannotKeepEvents", blinds=True
    ),
    Kind.EXHAUST_CPU: Entry(does="exhaust processor time", blast_radius="the machine or node of a model", alert=NONE),
    Kind.EXHAUST_MEMORY: Entry(does="exhaust memory", blast_radius="the machine or node of a model", alert=NONE),
    Kind.LOSE_NODE: Entry(
        does="take a spot node away",
        blast_radius="what runs on one node in the namespace",
        alert="ModelErrorsHigh",
        is_errors=True,
    ),
    Kind.SKEW_CLOCK: Entry(
        does="skew the model servers' clock",
        blast_radius="the events of the model servers; their answers stay right",
        alert="ModelNoData",
        blinds=True,
    ),
    Kind.DEPLOY_BAD_VERSION: Entry(does="deploy a bad version", blast_radius=_REPLICA, alert="ModelLatencyHigh"),
}
