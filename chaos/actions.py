"""Actions of Chaos Toolkit: each makes one fault happen and sees it happen, or fails. `revert` ends all of the run's.

Every action takes `configuration`, which Chaos Toolkit passes: `where` (local or kubernetes), `state` (the state folder
of `midwatch up`, or any folder for a cluster) and `platform` (the platform file; not needed locally). An action returns
what it hit and of how many: `{"hit": [...], "of": [...], "what": [...]}`. It raises ActivityFailed when there is no
target, too many would be hit, or the fault was not seen to happen; then nothing stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaoslib.exceptions import ActivityFailed

from chaos import runs
from midwatch.errors import MidwatchError
from midwatch.spec.chaos import Kind
from midwatch.spec.values import parse_duration

Configuration = Mapping[str, Any] | None
Hit = dict[str, list[str]]


def kill_replica(
    model: str, target: str | None = None, replicas: int = 1, *, configuration: Configuration = None
) -> Hit:
    """Kill so many replicas of a model, `target` first, without notice."""
    return _inject(Kind.KILL_REPLICA, configuration, model=model, target=target, replicas=replicas)


def slow_model(
    model: str, delay: str = "300ms", target: str | None = None, *, configuration: Configuration = None
) -> Hit:
    """Let each request to one replica wait; in a cluster its processor time is cut instead."""
    return _inject(Kind.SLOW_MODEL, configuration, model=model, target=target, delay=parse_duration(delay))


def failing_model(
    model: str, errors: float = 0.5, target: str | None = None, *, configuration: Configuration = None
) -> Hit:
    """Answer a share of the requests to one replica with 503; in a cluster all of the model's fail."""
    return _inject(Kind.FAILING_MODEL, configuration, model=model, target=target, errors=errors)


def corrupt_features(
    model: str, scale: Mapping[str, float], target: str | None = None, *, configuration: Configuration = None
) -> Hit:
    """Multiply features by factors, as a feed does that changed its units."""
    return _inject(Kind.CORRUPT_FEATURES, configuration, model=model, target=target, scale=dict(scale))


def lose_exporter(*, configuration: Configuration = None) -> Hit:
    """Take the exporter away."""
    return _inject(Kind.LOSE_EXPORTER, configuration)


def lose_prometheus(*, configuration: Configuration = None) -> Hit:
    """Take Prometheus away."""
    return _inject(Kind.LOSE_PROMETHEUS, configuration)


def lose_alertmanager(*, configuration: Configuration = None) -> Hit:
    """Take Alertmanager away."""
    return _inject(Kind.LOSE_ALERTMANAGER, configuration)


def cut_network(model: str, target: str | None = None, *, configuration: Configuration = None) -> Hit:
    """Let no traffic reach one replica; in a cluster a NetworkPolicy keeps it from all pods of the model."""
    return _inject(Kind.CUT_NETWORK, configuration, model=model, target=target)


def fill_disk(seconds: float = 120.0, *, configuration: Configuration = None) -> Hit:
    """Let the exporter write to no file, as on a full disk."""
    return _inject(Kind.FILL_DISK, configuration, seconds=seconds)


def exhaust_cpu(model: str, cores: int = 1, seconds: float = 120.0, *, configuration: Configuration = None) -> Hit:
    """Keep cores busy where the model runs."""
    return _inject(Kind.EXHAUST_CPU, configuration, model=model, cores=cores, seconds=seconds)


def exhaust_memory(
    model: str, size: int = 256 * 2**20, seconds: float = 120.0, *, configuration: Configuration = None
) -> Hit:
    """Hold memory (bytes) where the model runs."""
    return _inject(Kind.EXHAUST_MEMORY, configuration, model=model, size=size, seconds=seconds)


def lose_node(
    model: str,
    target: str | None = None,
    replicas: int = 1,
    notice: str = "2s",
    *,
    configuration: Configuration = None,
) -> Hit:
    """Take a spot node away: SIGTERM, and SIGKILL after the notice; in a cluster the node is cordoned and drained."""
    seconds = parse_duration(notice)
    return _inject(Kind.LOSE_NODE, configuration, model=model, target=target, replicas=replicas, notice=seconds)


def skew_clock(shift: str = "10m", *, configuration: Configuration = None) -> Hit:
    """Let the model servers' clocks be fast, as the exporter sees them in their events."""
    return _inject(Kind.SKEW_CLOCK, configuration, shift=parse_duration(shift))


def deploy_bad_version(
    model: str, bad_version: str, target: str | None = None, *, configuration: Configuration = None
) -> Hit:
    """Send the traffic of one replica to a version that is known to be bad; in a cluster deploy its image."""
    return _inject(Kind.DEPLOY_BAD_VERSION, configuration, model=model, target=target, bad_version=bad_version)


def revert(*, configuration: Configuration = None) -> list[str]:
    """Revert every fault of this run and see them gone; ActivityFailed when one stays. Harmless without any."""
    run = runs.current(configuration)
    open_faults = [fault.target for fault in run.ledger.open_faults().values()]
    if problems := run.ledger.revert_all():
        raise ActivityFailed("; ".join(problems))
    return open_faults


class _Asked(dict[str, Any]):
    """Given instead of a configuration: the action tells its kind and settings, and does nothing."""


def asked(function: str, arguments: Mapping[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """Kind and settings of an action as it would inject it; ValueError or TypeError when there is no such action."""
    kind = Kind(function)
    answer = _Asked()
    globals()[kind.value](**arguments, configuration=answer)
    return kind, dict(answer)


def _inject(kind: Kind, configuration: Configuration, **settings: Any) -> Hit:
    if isinstance(configuration, _Asked):
        configuration.update(settings)
        return {}
    try:
        run = runs.current(configuration)
        prepared = run.place.target.prepare(kind, settings)
        run.set_mark()
        for fault in prepared.faults:
            run.ledger.inject(fault)
    except (MidwatchError, OSError) as error:
        raise ActivityFailed(str(error)) from error
    return {
        "hit": list(prepared.hit),
        "of": list(prepared.candidates),
        "what": [fault.describe() for fault in prepared.faults],
    }
