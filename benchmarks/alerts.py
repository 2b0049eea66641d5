"""Objectives, rules and routes: budgets against the truth, detection, cost, rendering and routing.

Rules are those that are rendered; promtool, Prometheus, Alertmanager and amtool are the real programs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from alerts import render
from alerts.objectives import objective as objectives
from alerts.objectives.groups import rule_group, rule_groups
from alerts.routing import configuration, delivery
from benchmarks import promtool, routing_cases
from benchmarks.figure import Figure
from benchmarks.prepared_prometheus import backfill, prometheus, wait_for
from midwatch.ports import free_ports
from midwatch.spec.model import Platform

OK = 'ml_requests_total{model="m",version="v1",outcome="ok"}'
BAD = 'ml_requests_total{model="m",version="v1",outcome="error"}'
EVALUATION, TILE = 15, 300
"""Seconds between evaluations of the rules, and of those that count."""
NIGHT, NOON = 100, 1000
"""Requests a minute for half of each day."""


def _platform(**changes: object) -> Platform:
    return Platform.model_validate(_document(1, 1) | changes)


def _document(models: int, slos: int) -> dict:
    kinds: list[dict] = [
        {"sli": "availability", "objective": "99.9%"},
        {"sli": {"latency": {"threshold": "250ms"}}, "objective": "99%"},
        {"sli": {"outcome": "correct"}, "objective": "80%"},
        {"sli": "availability", "objective": "99.5%", "by": ["version"], "window": "7d"},
    ]
    names = ["m", *(f"model-{number}" for number in range(1, models))]
    return {
        "apiVersion": "midwatch/v1",
        "platform": "bench",
        "owners": {"ml": {"page": ["hook"], "ticket": ["hook"]}},
        "channels": {"hook": {"webhook": {"url": "http://127.0.0.1:1/x"}}},
        "models": [
            {
                "name": name,
                "owner": "ml",
                "task": "classification",
                "slos": [{"name": f"slo-{index}", **kinds[index % len(kinds)]} for index in range(slos)],
            }
            for name in names
        ],
    }


def run(*, smoke: bool) -> list[Figure]:
    """Every figure; the smoke form leaves out what lasts minutes."""
    figures = [*_budgets(days=2 if smoke else 30), *_detection(1 if smoke else 6), *_rendering(5 if smoke else 250)]
    figures += _routing(20 if smoke else 2000)
    figures += _proving(1 if smoke else 5)
    return figures if smoke else [*figures, *_cost(), _end_to_end()]


# Budgets -----------------------------------------------------------------------------------------------------------


def _budgets(days: int) -> Iterator[Figure]:
    """Relative error of the period's error ratio, in four scenarios, at the end of so many days."""
    day = [(720, NIGHT), (720, NOON)]
    outage = 42
    quiet = [(one, 0.0) for one in day]
    scenarios: dict[str, list[tuple[tuple[int, float], float]]] = {
        "night outage": [*quiet * (days - 1), ((300, NIGHT), 0), ((outage, NIGHT), 1), ((378, NIGHT), 0), (day[1], 0)],
        "midday outage": [*quiet * (days - 1), (day[0], 0), ((300, NOON), 0), ((outage, NOON), 1), ((378, NOON), 0)],
        "an hour without traffic": [
            *[(one, 0.000106) for one in day] * (days - 1),
            (day[0], 0.000106),
            ((300, NOON), 0.000106),
            ((60, -1), 0),
            ((360, NOON), 0.000106),
        ],
    }
    late = [((600, NOON), -1.0), ((150, NOON), 0.00695)]  # -1: the series of errors is not there yet
    worst = max(abs(found / truth - 1) for found, truth in map(_measured, [*scenarios.values(), late]))
    yield Figure(name="budget against truth, worst of 4", target=3, measured=100 * worst, unit="%", better="less")
    yield Figure(name="NaN or Inf in records", target=0, measured=_senseless(), unit="series", better="less")


def _measured(pieces: list[tuple[tuple[int, float], float]]) -> tuple[float, float]:
    """Error ratio by the rules, and by the truth, at the end of the pieces.

    A piece is minutes, requests a minute (-1 without samples) and the share of errors (-1 without their series).
    """
    flat = [(minutes, speed, share) for (minutes, speed), share in pieces]
    ok = _values([(minutes, speed if speed < 0 else speed * (1 - max(share, 0))) for minutes, speed, share in flat])
    bad = _values([(minutes, -1 if speed < 0 or share < 0 else speed * share) for minutes, speed, share in flat])
    total = sum(minutes * max(speed, 0) for minutes, speed, _ in flat)
    wrong = sum(minutes * max(speed, 0) * max(share, 0) for minutes, speed, share in flat)
    at = float(sum(minutes for minutes, _, _ in flat))
    group = promtool.counting(rule_group(objectives.of_platform(_platform())[0]))
    ((_, found),) = promtool.values([group], {OK: ok, BAD: bad}, [("slo:period_error:ratio", at)], "5m")
    return found, wrong / total


def _senseless() -> int:
    """Records that are no number in an hour without traffic, and after it."""
    group = rule_group(objectives.of_platform(_platform())[0])
    names = {rule["record"] for rule in group["rules"] if "record" in rule}
    series = {OK: _values([(180, 100), (60, -1), (120, 100)]), BAD: _values([(180, 1), (60, -1), (120, 1)])}
    asked = [(f"{name} != {name} or abs({name}) == Inf", at) for name in sorted(names) for at in (239.0, 241.0, 359.0)]
    return len(promtool.values([group], series, asked, "1m"))


def _values(pieces: list[tuple[int, float]]) -> str:
    """promtool's values of a counter that grows by so much a minute; below 0 there are no samples."""
    parts, value = [], 0.0
    for minutes, speed in pieces:
        if speed < 0:
            parts.append(f"_x{minutes}")
            continue
        parts.append(f"{value + speed:.12g}+{speed:.12g}x{minutes - 1}")
        value += speed * minutes
    return " ".join(parts)


# Detection ---------------------------------------------------------------------------------------------------------


def _detection(hours: int) -> Iterator[Figure]:
    """Seconds until the page fires after hours of health, at a sample and an evaluation each 15 s."""
    group = rule_group(objectives.of_platform(_platform())[0])
    group["rules"] = [rule for rule in group["rules"] if "period" not in str(rule) and "remaining" not in str(rule)]
    steps = hours * 240
    for name, share, target in (("total outage", 1.0, 120.0), ("10% errors", 0.1, 600.0)):
        good, bad = 250 * (1 - share), 250 * share
        series = {
            OK: f"0+250x{steps} {250 * steps + good:.12g}+{good:.12g}x50",
            BAD: f"0x{steps} {bad:.12g}+{bad:.12g}x50",
        }
        firing = 'ALERTS{alertname="ErrorBudgetBurn",severity="page",alertstate="firing"}'
        times = [steps * 15 + 15 * step for step in range(1, 48)]
        asked = [(f"vector({at}) and on () {firing}", at / 60) for at in times]
        said = promtool.values([group], series, asked, "15s", "15s")
        first = min((value for _, value in said), default=float("inf"))
        yield Figure(
            name=f"{name}: page (promtool)", target=target, measured=first - steps * 15, unit="s", better="less"
        )


# Cost --------------------------------------------------------------------------------------------------------------


def _cost() -> Iterator[Figure]:
    """Samples that one evaluation of an objective reads, by Prometheus' own statistics, on 50 raw series."""
    groups = rule_groups(objectives.of_platform(_platform())[0])
    for seconds, target in ((60, 25_000), (15, 50_000)):
        end = int(time.time()) // 60 * 60 - 60
        with prometheus(lambda folder, step=seconds, at=end: _history(folder, at, step)) as url:
            total = sum(
                _samples(url, rule["expr"], end) * (EVALUATION / TILE if "interval" in group else 1)
                for group in groups
                for rule in group["rules"]
            )
        yield Figure(
            name=f"samples an evaluation, scraped each {seconds} s",
            target=target,
            measured=total,
            unit="samples",
            better="less",
        )


def _history(folder: Path, end: int, step: int) -> None:
    """Two hours of 50 raw series, a week of what is remembered of them, and 30 days of what is summed."""
    lines = ["# TYPE ml_requests_total counter\n"]
    remembered = ["# TYPE slo:counter:value gauge\n"]
    for number in range(50):
        outcome = "error" if number < 5 else "ok"
        labels = f'model="m",version="v{number}",outcome="{outcome}",instance="i{number}"'
        lines += [f"ml_requests_total{{{labels}}} {at - end + 7200} {at}\n" for at in range(end - 7200, end + 1, step)]
        own = f'{labels},slo_objective="m/slo-0",slo_counter="ml_requests_total"'
        every = range(end - 7 * 86400, end + 1, TILE)
        remembered += [f"slo:counter:value{{{own}}} {at - end + 7 * 86400} {at}\n" for at in every]
    lines += remembered
    for name, value in (("slo:events:counted", 500), ("slo:bad_events:counted", 1)):
        lines.append(f"# TYPE {name} gauge\n")
        labels = '{model="m",slo="slo-0"}'
        lines += [f"{name}{labels} {value} {at}\n" for at in range(end - 30 * 86400, end + 1, TILE)]
    for name in ("slo:events:increase5m", "slo:bad_events:increase5m"):
        lines.append(f"# TYPE {name} gauge\n")
        lines += [f'{name}{{model="m",slo="slo-0"}} 500 {at}\n' for at in range(end - 7200, end + 1, 60)]
    backfill(folder, lines)


def _samples(url: str, expr: str, at: int) -> int:
    query = urllib.parse.urlencode({"query": expr, "time": at, "stats": "all"})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=60) as answer:
        document = json.load(answer)
    return int(document["data"]["stats"]["samples"]["totalQueryableSamples"])


# Rendering ---------------------------------------------------------------------------------------------------------


def _rendering(models: int) -> Iterator[Figure]:
    """Rendering and checking (promtool, amtool) four objectives of each model, as processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "platform.yaml").write_text(yaml.safe_dump(_document(models, 4)))
        begun = time.perf_counter()
        contents = [_rendered(folder, "a")]
        subprocess.run(_midwatch("check", folder), check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        contents.append(_rendered(folder, "b"))
    differing = sum(contents[0][one] != contents[1].get(one) for one in contents[0])
    several = sum(b"\n---" in text for text in contents[0].values())
    yield Figure(
        name=f"{4 * models} objectives rendered and checked", target=4, measured=seconds, unit="s", better="less"
    )
    yield Figure(name="rendered again: files that differ", target=0, measured=differing, unit="files", better="less")
    yield Figure(name="files of several documents", target=0, measured=several, unit="files", better="less")


def _proving(models: int) -> Iterator[Figure]:
    """Seconds to prove what a platform of a few models has, and a rule file with alerts that wait for up to a week."""
    waits = ["0s", "5m", "1h", "1d", "1w"]
    own = [
        {"alert": f"Idle{number}", "expr": f"rate(idle_{number}_total[1h]) > 0.8", "for": waits[number % len(waits)]}
        for number in range(5 * models)
    ]
    rules = {"owner": "ml", "alerts": [{**alert, "severity": "ticket", "summary": "s"} for alert in own]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "r.yaml").write_text(yaml.safe_dump(rules))
        (folder / "platform.yaml").write_text(yaml.safe_dump(_document(models, 2) | {"rule_files": ["r.yaml"]}))
        command = [
            sys.executable,
            "-P",
            "-m",
            "midwatch",
            "alerts",
            "prove",
            "--json",
            "-f",
            str(folder / "platform.yaml"),
        ]
        begun = time.perf_counter()
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        seconds = time.perf_counter() - begun
    proved = json.loads(done.stdout)["alerts"]
    unproven = sum(one["outcome"] != "proven" for one in proved)
    yield Figure(
        name="time per 100 alerts proven", target=60, measured=100 * seconds / len(proved), unit="s", better="less"
    )
    yield Figure(name=f"of {len(proved)} alerts not proven", target=0, measured=unproven, unit="alerts", better="less")


def _midwatch(command: str, folder: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "midwatch", command, "-f", str(folder / "platform.yaml")]


def _rendered(folder: Path, output: str) -> dict[str, bytes]:
    subprocess.run([*_midwatch("render", folder), "-o", str(folder / output)], check=True, capture_output=True)
    files = [path for path in (folder / output).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder / output)): path.read_bytes() for path in files}


# Routing -----------------------------------------------------------------------------------------------------------


def _routing(cases: int) -> Iterator[Figure]:
    """Label sets routed in a second by the routes of 50 owners, and how many of the cases amtool answers otherwise."""
    owners = {f"team-{number}": {"page": ["hook"], "ticket": ["hook"]} for number in range(50)}
    platform = _platform(owners=owners, models=[{**_document(1, 1)["models"][0], "owner": "team-0"}])
    config = configuration.parse(render.render_files(platform)["alertmanager/alertmanager.yml"], "alertmanager.yml")
    wanted = [
        {"alertname": "ErrorBudgetBurn", "owner": f"team-{number % 50}", "severity": "ticket", "model": "m", "slo": "a"}
        for number in range(20_000)
    ]
    begun = time.perf_counter()
    for labels in wanted:
        delivery.deliveries(config, labels)
    yield Figure(
        name="label sets routed in process",
        target=10_000,
        measured=len(wanted) / (time.perf_counter() - begun),
        unit="1/s",
        better="more",
    )
    yield Figure(
        name=f"receivers other than amtool's, of {cases}",
        target=0,
        measured=_disagreements(cases),
        unit="cases",
        better="less",
    )


def _disagreements(cases: int) -> int:
    each = 20
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "alertmanager.yml"
        for seed in range(1000, 1000 + cases // each):
            file.write_text(routing_cases.config(seed))
            config = configuration.load(file)
            for labels in routing_cases.labels(seed, each):
                wrong += delivery.receivers(config, labels) != routing_cases.amtool_receivers(file, labels)
    return wrong


# End to end --------------------------------------------------------------------------------------------------------


def _end_to_end() -> Figure:
    """Seconds from the first failed request until the page is delivered: an hour of health is in Prometheus before."""
    pages: list[float] = []
    counts = {"ok": 0.0, "error": 0.0}
    failing = threading.Event()
    with _service(_exposition(counts), lambda _: None) as exporter, _service(lambda: b"", pages.append) as hook:
        stop = threading.Event()
        thread = threading.Thread(target=_traffic, args=(counts, failing, stop), daemon=True)
        end = int(time.time())
        counts["ok"] = 3700 * 20.0
        thread.start()
        try:
            with _alertmanager(hook) as alertmanager:
                config = {
                    "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
                    "rule_files": ["rules.yml"],
                    "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
                    "scrape_configs": [{"job_name": "e", "static_configs": [{"targets": [exporter]}]}],
                }
                with prometheus(lambda folder: _healthy_hour(folder, end, exporter), config):
                    time.sleep(45)
                    begun = time.time()
                    failing.set()
                    deadline = begun + 240
                    while not pages and time.time() < deadline:
                        time.sleep(0.2)
        finally:
            stop.set()
            thread.join()
    measured = pages[0] - begun if pages else float("inf")
    return Figure(name="total outage: page delivered", target=120, measured=measured, unit="s", better="less")


def _healthy_hour(folder: Path, end: int, exporter: str) -> None:
    group = rule_group(objectives.of_platform(_platform())[0])
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}))
    labels = f'{{model="m",version="v1",outcome="ok",job="e",instance="{exporter}"}}'
    lines = ["# TYPE ml_requests_total counter\n"]
    lines += [f"ml_requests_total{labels} {(at - end + 3700) * 20} {at}\n" for at in range(end - 3700, end, 15)]
    backfill(folder, lines)


def _traffic(counts: dict[str, float], failing: threading.Event, stop: threading.Event) -> None:
    """Twenty requests a second."""
    while not stop.wait(0.1):
        counts["error" if failing.is_set() else "ok"] += 2


def _exposition(counts: dict[str, float]) -> Callable[[], bytes]:
    def text() -> bytes:
        lines = [
            f'ml_requests_total{{model="m",version="v1",outcome="{name}"}} {count}' for name, count in counts.items()
        ]
        return ("\n".join(["# TYPE ml_requests_total counter", *lines]) + "\n").encode()

    return text


@contextmanager
def _service(get: Callable[[], bytes], posted: Callable[[float], None]) -> Iterator[str]:
    """A server that answers GET with a text, and says when something was posted; its HOST:PORT."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(get())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if any(alert["labels"].get("severity") == "page" for alert in body["alerts"]):
                posted(time.time())
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _alertmanager(hook: str) -> Iterator[str]:
    """A real Alertmanager with the rendered routes, delivering to the hook; its HOST:PORT."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.yml").write_text(
            render.render_files(_platform(), sink_url=f"http://{hook}")["alertmanager/alertmanager.yml"]
        )
        port = free_ports()[0]
        command = ["prometheus-alertmanager", "--config.file=a.yml", "--storage.path=data", "--cluster.listen-address="]
        command.append(f"--web.listen-address=127.0.0.1:{port}")
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(f"http://127.0.0.1:{port}/-/ready")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()
