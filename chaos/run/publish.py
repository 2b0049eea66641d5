"""What others see of a run: metrics for Prometheus, an annotation in Grafana. Failing to tell is no failed experiment.

The metrics of all experiments are one file of Prometheus text, `chaos.prom`: in the results folder of `midwatch up`,
else in the state folder (node_exporter's textfile collector can read it there), and at a Pushgateway if there is one.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import urllib3

from chaos import kept
from chaos.places import place as place_of
from chaos.places.known import open_place
from chaos.places.place import Place
from chaos.run import verdict
from midwatch import anchors, evidence, exposition, files, metrics
from midwatch.errors import MidwatchError
from midwatch.metrics import Metric
from midwatch.spec import load

TIMEOUT = 5.0


class Told(TypedDict, total=False):
    """What is told of an experiment. Times are seconds since 1970, `duration` is seconds."""

    running: bool
    verdict: str
    clean: bool
    duration: float
    last_run: float
    last_held: float


Known = dict[str, Told]


def running(place: Place, experiment: str) -> list[str]:
    """Tell that an experiment runs; what could not be told, in words."""
    known = _at_rest(_known(place))
    known.setdefault(experiment, {})["running"] = True
    return _publish(place, known)


def idle(place: Place) -> list[str]:
    """Tell that nothing runs, if anything is said to; what could not be told, in words."""
    known = _known(place)
    return _publish(place, _at_rest(known)) if any(entry.get("running") for entry in known.values()) else []


def _at_rest(known: Known) -> Known:
    return {name: {**entry, "running": False} for name, entry in known.items()}


def ended(place: Place, result: Mapping[str, Any]) -> list[str]:
    """Tell a run's result; what could not be told, in words. A run that was refused has shown nothing."""
    known, now = _at_rest(_known(place)), time.time()
    entry = known.setdefault(result["experiment"], {"running": False})
    if not result["refused"]:
        entry |= {"verdict": result["verdict"], "clean": result["clean"]}
        entry |= {"last_run": now, "duration": result["seconds"]}
    if result["verdict"] == verdict.Verdict.HELD.value:
        entry["last_held"] = now
    try:
        unpublished = _publish(place, known)
    except MidwatchError as error:
        unpublished = [str(error)]
    return unpublished + _annotate(place, result, now)


def text(known: Known, log: Path | None = None) -> bytes:
    """Prometheus text of what is known of each experiment, and of the head of the evidence log."""
    single: dict[str, Metric] = {
        "running": metrics.CHAOS_RUNNING,
        "last_run": metrics.CHAOS_LAST_RUN,
        "duration": metrics.CHAOS_DURATION,
        "last_held": metrics.CHAOS_LAST_HELD,
        "clean": metrics.CHAOS_CLEAN,
    }
    samples: list[exposition.Sample] = [
        (metric, {"experiment": name}, float(cast(Mapping[str, float], entry)[key]))
        for key, metric in single.items()
        for name, entry in sorted(known.items())
        if key in entry
    ]
    samples += [
        (metrics.CHAOS_VERDICT, {"experiment": name, "verdict": value.value}, float(entry["verdict"] == value.value))
        for name, entry in sorted(known.items())
        if "verdict" in entry
        for value in verdict.Verdict
    ]
    if log is not None:
        samples += anchors.samples(kept.log_name(log), evidence.head(log))
    families = exposition.families(samples, empty=[*single.values(), metrics.CHAOS_VERDICT])
    return exposition.render(families.values())


def _file(place: Place) -> Path:
    return place.home.folder / "results.json"


def _known(place: Place) -> Known:
    try:
        known: Known = json.loads(_file(place).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return known


def _publish(place: Place, known: Known) -> list[str]:
    files.replace(_file(place), json.dumps(known, indent=1).encode())
    files.replace(place.results / "chaos.prom", text(known, place.home.evidence))
    gateway = place.platform.chaos.pushgateway if place.platform.chaos else None
    if gateway is None:
        return []
    url = f"{gateway.rstrip('/')}/metrics/job/midwatch-chaos/platform/{place.platform.platform}"
    return _sent("PUT", url, text(known, place.home.evidence), {"Content-Type": exposition.CONTENT_TYPE})


def _annotate(place: Place, result: Mapping[str, Any], now: float) -> list[str]:
    grafana = place.platform.chaos.grafana if place.platform.chaos else None
    if grafana is None:
        return []
    try:
        token = (load.base_folder(place.platform_file) / grafana.token_file).read_text().strip()
    except OSError as error:
        return [f"{grafana.token_file}: {error.strerror}"]
    body = {
        "time": int((now - result["seconds"]) * 1000),
        "timeEnd": int(now * 1000),
        "tags": ["chaos", result["experiment"], result["verdict"]],
        "text": f"chaos experiment {result['experiment']}: {result['verdict']}. {'; '.join(result['reasons'])}".strip(),
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    return _sent("POST", f"{grafana.url.rstrip('/')}/api/annotations", json.dumps(body).encode(), headers)


def main() -> None:
    """Tell that nothing runs at the place that the environment names; for a watchdog whose command is gone."""
    names = (place_of.WHERE_VARIABLE, place_of.STATE_VARIABLE, place_of.PLATFORM_VARIABLE)
    where, state, platform = (os.environ[name] for name in names)
    place = open_place(where, Path(state), Path(platform))
    with contextlib.suppress(MidwatchError):
        idle(place)


def _sent(method: str, url: str, body: bytes, headers: dict[str, str]) -> list[str]:
    try:
        answer = urllib3.PoolManager().request(method, url, body=body, headers=headers, timeout=TIMEOUT, retries=1)
    except urllib3.exceptions.HTTPError as error:
        return [f"{url}: no answer: {type(error).__name__}"]
    return [] if 200 <= answer.status < 300 else [f"{url}: {answer.status}"]


if __name__ == "__main__":
    main()
