"""Scheduled drills: a CronJob each in a cluster, a systemd service and timer each on a machine.

A drill that always comes at the same minute finds the archive always in the same phase: the begin is spread at random
over `spread`. Whether it ran at all is the alert DrillOverdue.
"""

from __future__ import annotations

from typing import Any

import yaml

from dr import cron
from midwatch.spec import chaos as cluster
from midwatch.spec import dr as spec
from midwatch.spec import model as platforms
from midwatch.spec.values import format_duration

FILE = "kubernetes/recovery-drills.yaml"
LABELS = {"app.kubernetes.io/name": "midwatch", "app.kubernetes.io/component": "recovery"}
GRACE_SECONDS = 120
"""A drill that is told to stop reverts its fault and stops what it started; that must not be cut short."""
SPARE_SECONDS = 600.0

Object = dict[str, Any]


def render_files(platform: platforms.Platform) -> dict[str, str]:
    """A service and a timer for every scheduled drill, for `systemctl enable --now`."""
    recovery = platform.disaster_recovery
    files: dict[str, str] = {}
    for drill in recovery.drills if recovery else []:
        if drill.schedule:
            files[f"systemd/midwatch-drill-{drill.name}.service"] = _service(drill)
            files[f"systemd/midwatch-drill-{drill.name}.timer"] = _timer(drill, drill.schedule)
    return files


def _service(drill: spec.Drill) -> str:
    return (
        "[Unit]\n"
        f"Description=Recovery drill {drill.name} of {drill.store}\n\n"
        "[Service]\nType=oneshot\nUser=midwatch\n"
        f"ExecStart=/usr/bin/env midwatch dr run {drill.name} -f /etc/midwatch/platform.yaml "
        "--evidence /var/lib/midwatch/recovery --json\n"
        f"TimeoutStopSec={GRACE_SECONDS}\n"
    )


def _timer(drill: spec.Drill, schedule: str) -> str:
    return (
        "[Unit]\n"
        f"Description=Schedule of the recovery drill {drill.name}\n\n"
        f"[Timer]\nOnCalendar={cron.calendar(schedule)}\nRandomizedDelaySec={drill.spread:g}\nPersistent=true\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )


def render_kubernetes(platform: platforms.Platform) -> dict[str, str]:
    """The manifest of the CronJobs, where the platform says in which namespace."""
    recovery = platform.disaster_recovery
    if recovery is None or recovery.kubernetes is None:
        return {}
    settings = recovery.kubernetes
    objects = [_account(settings), *(_cron_job(recovery, settings, one) for one in recovery.drills if one.schedule)]
    return {FILE: yaml.safe_dump_all(objects, sort_keys=False, width=2**20)}


def _metadata(name: str, settings: cluster.Kubernetes) -> Object:
    return {"metadata": {"name": name, "namespace": settings.namespace, "labels": dict(LABELS)}}


def _account(settings: cluster.Kubernetes) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", **_metadata(settings.service_account, settings)}


def _cron_job(recovery: spec.DisasterRecovery, settings: cluster.Kubernetes, drill: spec.Drill) -> Object:
    longest = drill.spread + 2 * recovery.rto + SPARE_SECONDS
    claim = settings.evidence_claim
    volume = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
    pod = {
        "serviceAccountName": settings.service_account,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(settings, drill)],
        "volumes": [{"name": "platform", "configMap": {"name": settings.config_map}},
                    {"name": "evidence", **volume}, {"name": "tmp", "emptyDir": {}}],
    }  # fmt: skip
    job = {
        "backoffLimit": 0, "activeDeadlineSeconds": round(longest), "ttlSecondsAfterFinished": 86400,
        "template": {"metadata": {"labels": dict(LABELS)}, "spec": pod},
    }  # fmt: skip
    return {
        "apiVersion": "batch/v1", "kind": "CronJob", **_metadata(f"drill-{drill.name}"[:52].rstrip("-"), settings),
        "spec": {
            "schedule": drill.schedule, "timeZone": "Etc/UTC", "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": job},
        },
    }  # fmt: skip


def _container(settings: cluster.Kubernetes, drill: spec.Drill) -> Object:
    words = ["midwatch", "dr", "run", drill.name, "-f", "/etc/midwatch/platform.yaml"]
    words += ["--evidence", "/var/lib/midwatch", "--spread", format_duration(drill.spread), "--json"]
    return {
        "name": "drill", "image": settings.image, "command": words,
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "platform", "mountPath": "/etc/midwatch", "readOnly": True},
                         {"name": "evidence", "mountPath": "/var/lib/midwatch"},
                         {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - an empty volume of the pod's own
    }  # fmt: skip
