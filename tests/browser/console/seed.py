"""A Prometheus and an Alertmanager that know what a console shows: written at once, without a platform that runs.

Values go from an hour before a moment to half an hour after it, so that a test that takes long still finds them.
"""

from __future__ import annotations

import json
import math
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from midwatch import programs
from midwatch.ports import free_ports
from tests.conftest import need_program, wait_for

STEP = 15.0
BEFORE, AFTER = 3600.0, 1800.0
ALERTMANAGER = """\
route:
  receiver: nobody
  group_by: [alertname]
  group_wait: 0s
  routes: [{matchers: ['severity="page"'], receiver: oncall}]
receivers:
  - {name: nobody}
  - {name: oncall, webhook_configs: [{url: "http://127.0.0.1:9/"}]}
"""

Labels = Mapping[str, str]


def _value(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@dataclass
class Seed:
    """Series to write, by metric: labels, and the value at each second since the beginning."""

    now: float
    step: float = STEP
    before: float = BEFORE
    after: float = AFTER
    lines: dict[str, list[str]] = field(default_factory=dict)

    @property
    def times(self) -> list[float]:
        start = self.now - self.before
        return [start + self.step * index for index in range(int((self.before + self.after) / self.step))]

    def gauge(self, name: str, value: Any = 1.0, /, **labels: str) -> None:
        """A gauge: a number, or a function of the seconds since the beginning."""
        said = ",".join(f'{label}="{_value(text)}"' for label, text in labels.items())
        rows = self.lines.setdefault(name, [])
        for at in self.times:
            told = value(at - self.times[0]) if callable(value) else value
            if told is not None:
                digits = 12 if told > 1e8 else 6  # a time is whole seconds; all others are rounded
                rows.append(f"{name}{{{said}}} {told:.{digits}g} {at:.3f}\n")

    def counter(self, name: str, per_second: float, /, **labels: str) -> None:
        """A counter that grows evenly."""
        self.gauge(name, lambda seconds: 1000 + per_second * seconds, **labels)

    def text(self) -> Iterator[str]:
        """In the OpenMetrics format; a name's type does not matter to who only fills a database with it."""
        for name, rows in sorted(self.lines.items()):
            yield f"# TYPE {name} unknown\n"
            yield from rows
        yield "# EOF\n"


@contextmanager
def running_prometheus(folder: Path, seed: Seed) -> Iterator[str]:
    """A Prometheus with these series; it scrapes nothing."""
    data = folder / "data"
    text = folder / "seed.txt"
    with text.open("w") as file:
        file.writelines(seed.text())
    command = [need_program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(data)]
    subprocess.run(command, check=True, capture_output=True)
    text.unlink()
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    port = free_ports()[0]
    words = [
        need_program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=10y",
    ]
    with _program(words, folder / "prometheus.log"):
        wait_for(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running_alertmanager(folder: Path, alerts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """An Alertmanager to which these alerts were sent."""
    (folder / "alertmanager.yml").write_text(ALERTMANAGER)
    port = free_ports()[0]
    words = [
        programs.path_of("alertmanager"),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with _program(words, folder / "alertmanager.log"):
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/-/ready")
        now = datetime.now(UTC)
        body = [
            {
                "startsAt": (now - timedelta(minutes=7)).isoformat(),
                "endsAt": (now + timedelta(hours=1)).isoformat(),
                **one,
            }
            for one in alerts
        ]
        request = urllib.request.Request(
            f"{url}/api/v2/alerts", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()
        yield url


@contextmanager
def _program(words: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(words, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()


# What a platform publishes --------------------------------------------------------------------------------------------


def a_model(
    seed: Seed, name: str, versions: Sequence[str], *, owner: str, features: Sequence[str], groups: Sequence[str]
) -> None:
    """Everything of a model: traffic, objectives, labels, drift and groups of each version."""
    for number, version in enumerate(versions):
        by = {"model": name, "version": version}
        rate = 40.0 / (number + 1)
        for outcome, share in (("ok", 0.99), ("error", 0.01)):
            seed.counter("ml_requests_total", rate * share, **by, outcome=outcome)
            seed.gauge("model:ml_requests:rate", rate * share, **by, serving="midwatch", outcome=outcome)
        for bound, share in (("0.05", 0.6), ("0.1", 0.9), ("0.25", 0.99), ("+Inf", 1.0)):
            seed.counter("ml_request_duration_seconds_bucket", rate * share, **by, le=bound)
        seed.counter("ml_request_duration_seconds_sum", rate * 0.06, **by)
        for predicted, actual, share in (("a", "a", 0.5), ("b", "b", 0.35), ("a", "b", 0.1), ("b", "a", 0.05)):
            seed.counter("ml_settled_outcomes_total", rate * share / 10, **by, predicted=predicted, actual=actual)
            for group in groups:
                seed.counter(
                    "ml_settled_group_outcomes_total",
                    rate * share / 20,
                    **by,
                    attribute="region",
                    group=group,
                    predicted=predicted,
                    actual=actual,
                )
        seed.gauge("ml_drift_votes", lambda seconds: 1 + 2 * (seconds > 1800), **by)
        seed.gauge("ml_drift_detected", lambda seconds: float(seconds > 1800), **by)
        seed.gauge("ml_drift_episode", lambda seconds: float(seconds > 1800), **by)
        for place, feature in enumerate(features):
            for method in ("ks", "psi"):
                one = {**by, "feature": feature, "method": method}
                seed.gauge("ml_drift_effect", lambda seconds, place=place: 0.02 + 0.1 * place * (seconds > 1800), **one)
                seed.gauge("ml_drift_p_value", 0.001, **one)
                seed.gauge("ml_drift_vote", float(place > 1), **one)
        for feature in features[-1:]:
            for place, (bin_name, before, now) in enumerate(
                (("≤ 1", 0.5, 0.2), ("1 to 2", 0.4, 0.2), ("> 2", 0.1, 0.6))
            ):
                one = {**by, "feature": feature, "place": f"{place:02}", "bin": bin_name if place else feature}
                seed.gauge("ml_drift_share", before, **one, side="reference")
                seed.gauge("ml_drift_share", now, **one, side="window")
    seed.gauge("ml_drift_quorum", 2.0, model=name)
    for slo, left in (("availability", 0.42), ("latency", -0.1)):
        by = {"model": name, "slo": slo, "owner": owner}
        seed.gauge("slo:objective:ratio", 0.99, **by)
        seed.gauge(
            "slo:error_budget_remaining:ratio", lambda seconds, left=left: left + 0.2 * (1 - seconds / 5400), **by
        )
        seed.gauge("slo:period_error:ratio", 0.01 * (1 - left), **by)
        seed.gauge("slo:events:period", 1e6, **by)
        for window in ("1h", "6h"):
            seed.gauge(f"slo:burn_rate:ratio{window}", lambda seconds: 2 + math.sin(seconds / 600), **by)
        seed.gauge("slo:time_to_exhaustion:seconds", 86_400.0, **by)


def a_loop(seed: Seed, model: str, names: Mapping[str, str]) -> None:
    """An episode of the loop that is open: the newest of its model."""
    begun = seed.now - 3000
    info = {"model": model, "episode": names["episode"], "version": "v1", "new_version": names["version"]}
    seed.gauge("ml_loop_episode_info", **info, outcome="open", cause="")
    seed.gauge("ml_loop_episode_open", model=model)
    seed.gauge("ml_loop_episodes_total", 3.0, model=model, outcome="better", cause="labels")
    seed.gauge("ml_loop_last_recovery_seconds", 5400.0, model=model)
    for number, seconds in enumerate((0, 600, 660, 720, 1500)):
        seed.gauge("ml_loop_time_timestamp_seconds", begun + seconds, model=model, time=f"T{number}")
    for step, state, seconds in (
        ("drift", "done", 600),
        ("asked", "done", 660),
        ("run_started", "done", 720),
        ("trained", "done", 1500),
        ("registered", "waiting", None),
        ("deployed", "not_observed", None),
        ("well", "ahead", None),
    ):
        seed.gauge("ml_loop_step_state", model=model, step=step, state=state)
        if seconds is not None:
            seed.gauge("ml_loop_step_timestamp_seconds", begun + seconds, model=model, step=step)
    seed.gauge("ml_loop_waiting_since_timestamp_seconds", begun + 1500, model=model, step="registered")
    seed.gauge("midwatch_loop_source_up", 0.0, source=names["source"])
    seed.gauge("midwatch_loop_last_look_timestamp_seconds", seed.now + AFTER)


def a_platform(seed: Seed, names: Mapping[str, str]) -> None:
    """What is not of one model: canaries, drills, experiments, targets. `names` are used where text is free."""
    compared = {"model": "fraud", "baseline": "v1", "canary": names["version"]}
    for verdict in ("pass", "fail", "inconclusive"):
        seed.gauge("canary_verdict", float(verdict == "fail"), **compared, verdict=verdict)
    for arm in ("baseline", "canary"):
        seed.gauge("canary_requests", 5000.0, **compared, arm=arm)
    for verdict in ("MET", "BREACHED", "INCONCLUSIVE"):
        seed.gauge("dr_drill_verdict", float(verdict == "MET"), drill="failover", store="orders", verdict=verdict)
    seed.gauge("dr_drill_last_run_timestamp_seconds", seed.now - 86_400, drill="failover", store="orders")
    seed.gauge("dr_drill_last_met_timestamp_seconds", seed.now - 86_400, drill="failover", store="orders")
    seed.gauge("dr_drill_recovery_seconds", 42.0, drill="failover", store="orders")
    seed.gauge("dr_replication_lag_seconds", lambda seconds: 1 + math.sin(seconds / 300), store="orders", region="b")
    seed.gauge("chaos_experiment_verdict", 1.0, experiment="lose-exporter", verdict="deviated")
    seed.gauge("chaos_experiment_last_run_timestamp_seconds", seed.now - 3600, experiment="lose-exporter")
    burning = {"alertname": "ModelErrorBudgetBurn", "severity": "page", "owner": "ml", "model": "fraud"}
    burning |= {"slo": "availability", "version": names["version"]}
    since = seed.now - 420
    seed.gauge("ALERTS_FOR_STATE", lambda seconds: since if seconds > BEFORE - 420 else None, **burning)
    seed.gauge("ALERTS", lambda seconds: 1.0 if seconds > BEFORE - 420 else None, **burning, alertstate="firing")
    for job, up in (("midwatch-exporter", 1.0), (names["job"], 0.0)):
        seed.gauge("up", up, job=job, instance="10.0.0.1:1")


def fairness(seed: Seed, model: str, versions: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
    """What the evaluator says of three promises: one broken over all and kept within, one open, one lately broken."""
    for version in versions:
        region = {"model": model, "version": version, "attribute": "region", "measure": "demographic_parity"}
        age = {"model": model, "version": version, "attribute": "age", "measure": "accuracy_parity", "rate": "accuracy"}
        _rate(seed, {**region, "rate": "selected", "limit": "ratio 80%"}, -1.0, 0.8, groups["region"])
        _rate(seed, {**region, "rate": "selected within age", "limit": "ratio 80%"}, 1.0, 0.8, groups["region"])
        _rate(seed, {**age, "limit": "difference 10%"}, 0.0, 0.1, groups["age"])
        seed.gauge("ml_fairness_rows_needed", 1234.0, **age, limit="difference 10%")
        seed.gauge("ml_fairness_unlabelled_ratio", 0.25, **age, limit="difference 10%")


def _rate(seed: Seed, of: Mapping[str, str], verdict: float, limit: float, groups: Sequence[str]) -> None:
    seed.gauge("ml_fairness_verdict", verdict, **of)
    seed.gauge("ml_fairness_became_unfair", float(verdict < 0), **of)
    seed.gauge("ml_fairness_limit", limit, **of)
    seed.gauge("ml_fairness_smallest_group_events", 4321.0, **of)
    stratum = groups[1] if "within" in of["rate"] else ""
    seed.gauge("ml_fairness_worst_pair_info", 1.0, **of, above=groups[0], below=groups[1], stratum=stratum)
    for bound, by in (("low", -0.05), ("estimate", 0.0), ("high", 0.05)):
        course = lambda seconds, by=by: 0.1 + by + 0.02 * math.sin(seconds / 600)  # noqa: E731 - of one name
        seed.gauge("ml_fairness_difference", course, **of, bound=bound)
        seed.gauge(
            "ml_fairness_ratio", lambda seconds, by=by: 0.7 + by + 0.02 * math.sin(seconds / 600), **of, bound=bound
        )
        for place, group in enumerate(groups):
            seed.gauge("ml_fairness_group_rate", 0.6 - 0.2 * place + by, **of, group=group, bound=bound)


def attributions(seed: Seed, model: str, versions: Sequence[str], features: Sequence[str]) -> None:
    """What the evaluator says of attributions: inputs that moved, and a version that is not known."""
    for number, version in enumerate(versions):
        of = {"model": model, "version": version, "question": "use" if number else "inputs"}
        seed.gauge("ml_attribution_verdict", -1.0 if not number else 0.0, **of)
        seed.gauge("ml_attribution_reference_windows", 40.0 - 30 * number, **of)
        seed.gauge("ml_attribution_window_explained", 400.0 - 390 * number, model=model, version=version)
        for place, feature in enumerate(features if not number else ()):
            one = {**of, "feature": feature}
            moved = place == len(features) - 1
            seed.gauge("ml_attribution_moved_spreads", 7.5 if moved else 0.0, **one)
            for side, share in (("before", 0.3), ("now", 0.45 if moved else 0.25)):
                seed.gauge("ml_attribution_share_ratio", share, **one, side=side)
                seed.gauge("ml_attribution_mean", share / 2, **one, side=side)
            for bound, change in (("low", 0.05), ("estimate", 0.15), ("high", 0.25)):
                seed.gauge("ml_attribution_share_change_ratio", change if moved else change - 0.15, **one, bound=bound)


def group_attributions(seed: Seed, model: str, version: str, groups: Sequence[str], features: Sequence[str]) -> None:
    """Sums of attributions by group of region: the last feature adds more in the first group, the others the same."""
    for place, group in enumerate(groups):
        of = {"model": model, "version": version, "attribute": "region", "group": group}
        seed.counter("ml_group_explained_predictions_total", 1.0, **of)
        for number, feature in enumerate(features):
            mean = 0.5 if number == len(features) - 1 and not place else 0.2
            seed.counter("ml_group_attribution_added_total", mean + 0.1, **of, feature=feature)
            seed.counter("ml_group_attribution_taken_total", 0.1, **of, feature=feature)
            seed.counter("ml_group_attribution_squares_total", mean * mean + 0.04, **of, feature=feature)
