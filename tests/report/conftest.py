"""A real Prometheus with a month of known incidents, written as blocks by promtool."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests import conftest as shared

TILE = 300
HOUR, DAY = 3600, 86_400


def at(day: int, hour: float = 0, *, month: int = 10) -> int:
    """A moment of October 2026."""
    return int(datetime(2026, month, day, tzinfo=UTC).timestamp() + hour * HOUR)


def alert(name: str, severity: str, model: str, **more: str) -> str:
    labels = {"alertname": name, "alertstate": "firing", "severity": severity, "owner": "ml", "model": model, **more}
    return ",".join(f'{key}="{value}"' for key, value in labels.items())


FIRINGS = [
    # At night, with harm: a page, and the ticket that it inhibits.
    (alert("ErrorBudgetBurn", "page", "fraud", slo="availability"), at(10, 2.25), at(10, 5.5)),
    (alert("ErrorBudgetBurn", "ticket", "fraud", slo="availability"), at(10, 2.25), at(10, 5.5)),
    # By day, without harm, short and again and again.
    *((alert("ModelNoData", "ticket", "fraud"), at(12, hour), at(12, hour) + 120) for hour in (9, 11, 13, 15)),
    # An experiment's.
    (alert("ModelFailing", "page", "fraud"), at(15, 10.1), at(15, 10.5)),
    # It fired already when the month began.
    (alert("ModelAccuracyLow", "ticket", "churn"), at(29, 0, month=9), at(1, 3)),
]


def events(when: int) -> tuple[float, float] | None:
    """Events and bad events of fraud's five minutes."""
    if at(25) <= when < at(25, 6):
        return None  # nobody counted
    if at(10, 2) <= when < at(10, 5):
        return 1000, 500
    if at(20, 12) <= when < at(20, 13):
        return 1000, 1000  # and nobody was told
    if at(15, 10) <= when < at(15, 11):
        return 1000, 200
    return 1000, 1


def series(name: str, labels: str, points: list[tuple[float, float]], kind: str = "gauge") -> Iterator[str]:
    for moment, value in points:
        yield f"{name}{{{labels}}} {value} {moment:.3f}"


def exposition() -> Iterator[str]:
    """OpenMetrics of September's last days and of October, each family's series together."""
    fraud, churn = 'model="fraud",slo="availability"', 'model="churn",slo="availability"'
    tiles = range(at(21, month=9), at(1, month=11), TILE)
    counted = [(one + 7, seen) for one in tiles if (seen := events(one)) is not None]
    few = [(one + 7, (1.0, float(number % 48 == 0))) for number, one in enumerate(range(at(1), at(11), TILE))]
    for name, place in (("slo:events:counted", 0), ("slo:bad_events:counted", 1)):
        yield f"# TYPE {name} gauge"
        yield from series(name, fraud, [(when, seen[place]) for when, seen in counted])
        yield from series(name, churn, [(when, seen[place]) for when, seen in few])
    yield "# TYPE slo:objective:ratio gauge"
    for labels, objectives in ((fraud, (0.99, 0.99)), (churn, (0.98, 0.99))):
        points = [(one + 7.0, objectives[one >= at(6)]) for one in tiles]
        yield from series("slo:objective:ratio", f'{labels},owner="ml"', points)
    yield "# TYPE up gauge"
    yield from series("up", 'job="e",instance="x:1"', [(float(one), 1.0) for one in tiles])
    yield "# TYPE ALERTS gauge"
    for labels, start, end in sorted(FIRINGS):
        yield from series("ALERTS", labels, [*((one, 1) for one in range(start, end, 60)), (end, float("nan"))])
    hours = range(at(1), at(1, month=11), HOUR)
    yield "# TYPE chaos_experiment_last_run_timestamp_seconds gauge"
    runs = [(float(one), float(at(15, 10.6))) for one in hours if one >= at(15, 10.6)]
    yield from series("chaos_experiment_last_run_timestamp_seconds", 'experiment="kill-replica"', runs)
    yield "# TYPE chaos_experiment_verdict gauge"
    verdicts = [(when, 1.0) for when, _ in runs]
    yield from series("chaos_experiment_verdict", 'experiment="kill-replica",verdict="held"', verdicts)
    yield "# TYPE ml_drift_episode gauge"
    drift = [(float(one), float(at(8) <= one < at(11))) for one in range(at(1), at(1, month=11), TILE)]
    yield from series("ml_drift_episode", 'model="fraud",version="v1"', drift)
    yield "# TYPE ml_fairness_verdict gauge"
    promise = 'model="fraud",attribute="country",measure="demographic_parity"'
    for ratio, version, course in ((80, 1, lambda when: when < at(12)), (70, 1, lambda _: True), (60, 2, lambda _: 0)):
        verdicts = [(float(one), 1.0 if course(one) else -1.0 * (ratio == 80)) for one in hours]
        minutes = [(when + more, value) for when, value in verdicts for more in range(0, HOUR, TILE)]
        labels = f'{promise},limit="ratio {ratio}%",rate="selected",version="v{version}"'
        yield from series("ml_fairness_verdict", labels, minutes)
    yield "# TYPE ml_fairness_became_unfair gauge"
    for ratio in (80, 70, 60):
        labels = f'{promise},limit="ratio {ratio}%",rate="selected",version="v1"'
        yield from series("ml_fairness_became_unfair", labels, [(float(one), 0.0) for one in hours])
    yield "# TYPE dr_newest_restorable_age_seconds gauge"
    for region, age in (("a", 7200.0), ("b", 9000.0)):
        yield from series("dr_newest_restorable_age_seconds", f'store="s",region="{region}"', [(at(31, 23.99), age)])
    yield "# EOF"


@pytest.fixture(scope="session")
def month_of_incidents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the Prometheus."""
    program, promtool = shared.need_program("prometheus"), shared.need_program("promtool")
    folder = tmp_path_factory.mktemp("month")
    (folder / "month.om").write_text("\n".join([*exposition(), ""]))
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=1000h"]
    subprocess.run([*command, str(folder / "month.om"), str(folder / "data")], check=True, capture_output=True)
    (folder / "prometheus.yml").write_text("{}")
    port = shared.free_port()
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        shared.wait_for(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def file_of_month(month_of_incidents: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A platform file of two models that were counted and one that was not."""
    slos = [{"name": "availability", "sli": "availability", "objective": "99%"}]
    models = [
        {"name": name, "owner": "ml", "task": "classification", "slos": slos} for name in ("fraud", "churn", "new")
    ]
    document = shared.platform_document(models=models, prometheus={"url": month_of_incidents})
    file = tmp_path_factory.mktemp("platform") / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file
