"""Groups judged by sequential evidence: false alarms and power over repeated looks, beside a window of 100 rows; speed.

`fairness_over_time` has the same as the evaluator judges it, for several times as long as is read back.

The peer is what a popular service does: every 100 rows, the ratio of the groups' selection rates outside 0.8 to 1.2 is
called unfair. Seeds are of this file; no constant was chosen on them.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks import fairness_over_time
from benchmarks.figure import Comparison, Figure
from benchmarks.prepared_prometheus import backfill, prometheus
from midwatch import exposition
from midwatch.prometheus import Client
from midwatch.spec.fairness import Fairness
from midwatch.spec.model import Model
from monitors.evaluator.kinds import fairness as published
from monitors.fairness import fetch, promises, verdict
from monitors.fairness.fetch import Window
from monitors.fairness.projection import Floats
from monitors.fairness.verdict import Counts, Limit, Settings, Verdict

SETTINGS = Settings(limit=Limit(ratio=0.8))
SHARES = {"50/50": (0.5, 0.5), "80/20": (0.8, 0.2), "99/1": (0.99, 0.01)}
RATES = (0.01, 0.1, 0.3, 0.5)
ROWS, BLOCKS = 60_000, 120
PEER_ROWS = 100
END = float(int(time.time()))


def run(*, smoke: bool) -> Sequence[Figure | Comparison]:
    """False alarms in percent of runs, rows to a verdict, and seconds for a fleet."""
    runs = 20 if smoke else 400
    rng = np.random.default_rng(20261127)
    alarms, table = _alarms(rng, runs)
    over_time, over_time_table = fairness_over_time.false_alarms(rng, 2 if smoke else 200)
    models = 5 if smoke else 100
    with prometheus(lambda folder: _history(folder, models)) as url:
        seconds, stages = _judge_fleet(url, models)
    return [
        Figure(
            name=f"worst false alarms at the limit, {runs} runs of {ROWS:,} rows",
            target=5.0 if not smoke else 100.0,
            measured=alarms,
            unit="% of runs",
            better="less",
            peer="see the table",
        ),
        Figure(
            name=f"worst false alarms at the limit of the evaluator, over {fairness_over_time.OVERS} times `over`",
            target=5.0 if not smoke else 100.0,
            measured=over_time,
            unit="% of histories",
            better="less",
            peer="see the table",
        ),
        Figure(
            name=f"{models} models x 3 attributes x 8 groups judged from Prometheus",
            target=2.0,
            measured=seconds,
            unit="s",
            better="less",
        ),
        stages,
        table,
        over_time_table,
        _power(rng, runs),
        fairness_over_time.power(rng, 2 if smoke else 100),
    ]


def _counts(rng: np.random.Generator, rates: Sequence[float], shares: Sequence[float]) -> Counts:
    """Rows that arrive by chance in each block: how many of a group does not depend on how they come out."""
    events = rng.multinomial(ROWS // BLOCKS, shares, size=BLOCKS).T.astype(float)
    hits = rng.binomial(events.astype(int), np.array(rates)[:, None]).astype(float)
    return Counts(groups=tuple(f"g{place}" for place in range(len(rates))), events=events[None], hits=hits[None])


def _alarms(rng: np.random.Generator, runs: int) -> tuple[float, Comparison]:
    """Called unfair at any look, in percent: equal groups, and groups that lie exactly on the limit."""
    rows, worst = [], 0.0
    cases = [(f"2 groups {name}", shares, rate) for name, shares in SHARES.items() for rate in RATES]
    cases += [("8 equal groups", (1 / 8,) * 8, rate) for rate in RATES]
    for name, shares, rate in cases:
        equal = [_counts(rng, (rate,) * len(shares), shares) for _ in range(runs)]
        edge = [_counts(rng, (rate, *(0.8 * rate,) * (len(shares) - 1)), shares) for _ in range(runs)]
        ours, lately = _unfair(equal)
        at_edge, edge_lately = _unfair(edge)
        worst = max(worst, ours, at_edge)
        peer = 100 * float(np.mean([_peer(one) for one in equal]))
        numbers = (ours, at_edge, lately, edge_lately, peer)
        rows.append((name, f"{rate:.0%}", *(f"{number:.1f}" for number in numbers)))
    columns = ("groups", "rate", "equal", "on the limit", "equal, lately", "limit, lately", "100-row windows, equal")
    return worst, Comparison(title="Called unfair, % of runs (last column: % of windows)", columns=columns, rows=rows)


def _unfair(cases: Sequence[Counts]) -> tuple[float, float]:
    said = verdict.judge_all(cases, SETTINGS)
    return tuple(  # type: ignore[return-value]
        100 * float(np.mean(found))
        for found in ([one.verdict is Verdict.UNFAIR for one in said], [one.became_unfair for one in said])
    )


def _peer(counts: Counts) -> float:
    """Share of windows of about 100 rows in which the ratio of the first two groups is outside 0.8 to 1.2."""
    blocks = max(1, round(PEER_ROWS * BLOCKS / ROWS))
    size = counts.events.shape[-1] // blocks * blocks
    rates = []
    for place in (0, 1):
        events, hits = (
            found[0, place, :size].reshape(-1, blocks).sum(axis=1) for found in (counts.events, counts.hits)
        )
        scale = PEER_ROWS / (ROWS // BLOCKS * blocks)
        share = np.divide(hits, events, out=np.zeros_like(hits), where=events > 0)
        rates.append(np.random.default_rng(place).binomial(np.maximum(events * scale, 1).astype(int), share))
        rates[-1] = rates[-1] / np.maximum(events * scale, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = rates[1] / rates[0]
    outside: Floats = ~((ratio >= 0.8) & (ratio <= 1.2))
    return float(outside.mean())


def _power(rng: np.random.Generator, runs: int) -> Comparison:
    """Of groups truly apart: how many are shown so within the rows, and after how many rows of both, in the median."""
    rows = []
    for name, shares in SHARES.items():
        for apart in (0.5, 0.6, 0.7):
            cases = [_counts(rng, (0.3, 0.3 * apart), shares) for _ in range(runs // 4)]
            first = [_first(one) for one in cases]
            shown = [found for found in first if found is not None]
            median = f"{np.median(shown):,.0f}" if 2 * len(shown) >= len(first) else "-"
            rows.append((name, f"{apart:.0%}", f"{len(shown) / len(first):.0%}", median))
    columns = ("groups", "ratio of rates", "shown unfair", "rows, median")
    return Comparison(title=f"Power against four fifths, rate 30%, {ROWS:,} rows", columns=columns, rows=rows)


def _first(counts: Counts) -> int | None:
    """Rows until a verdict of unfair, by looks after each tenth of the blocks."""
    for blocks in range(BLOCKS // 20, BLOCKS + 1, BLOCKS // 20):
        part = Counts(groups=counts.groups, events=counts.events[..., :blocks], hits=counts.hits[..., :blocks])
        if verdict.judge(part, SETTINGS).verdict is Verdict.UNFAIR:
            return int(part.events.sum())
    return None


# Speed ---------------------------------------------------------------------------------------------------------------

ATTRIBUTES = ("age", "country", "device")


def _model(name: str) -> Model:
    fairness = [
        Fairness.model_validate({"attribute": one, "measure": "demographic_parity", "ratio": "80%"})
        for one in ATTRIBUTES
    ]
    return Model.model_validate(
        {"name": name, "owner": "o", "task": "classification", "positive": "yes", "groups": list(ATTRIBUTES)}
    ).model_copy(update={"fairness": fairness})


def _judge_fleet(url: str, models: int) -> tuple[float, Comparison]:
    """Seconds from the question to all samples of the evaluator, the better of two rounds; and those of each stage."""
    fleet = [_model(f"m{number}") for number in range(models)]
    client = Client(url, timeout=60.0)
    client.prepare()
    rounds = [_round(url, client, fleet) for _ in range(2)]
    best = min(rounds, key=lambda stages: sum(wall for wall, _ in stages.values()))
    rows = [(stage, f"{wall:.2f}", f"{cpu:.2f}") for stage, (wall, cpu) in best.items()]
    table = Comparison(
        title=f"Seconds of one round of {models} models", columns=("stage", "wall", "CPU of the process"), rows=rows
    )
    return sum(wall for wall, _ in best.values()), table


def _round(url: str, client: Client, fleet: Sequence[Model]) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of each stage; what Prometheus computes is in the first one's wall, and has a row."""
    stages: dict[str, tuple[float, float]] = {}
    server = _server_seconds(url)
    window = Window.until(END, fleet[0].fairness[0])
    with _timed(stages, "ask, read and count by block"):
        asked = fetch.ask(client, fleet, window, labels=fetch.needs_labels(fleet))
    with _timed(stages, "judge, with all intervals"):
        found = promises.judge(fleet, asked, window)
    with _timed(stages, "write the samples"):
        exposition.text([sample for one in found for sample in published.samples_of(one)])
    if len(found) != len(fleet) * len(ATTRIBUTES):
        raise RuntimeError(f"{len(found)} findings of {len(fleet)} models")
    stages["Prometheus, within the first stage"] = (0.0, _server_seconds(url) - server)
    return stages


def _server_seconds(url: str) -> float:
    """CPU seconds of the server that answers."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        families = exposition.parse(answer.read().decode())
    return next(
        sample.value for one in families for sample in one.samples if sample.name == "process_cpu_seconds_total"
    )


@contextmanager
def _timed(stages: dict[str, tuple[float, float]], stage: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    stages[stage] = (time.perf_counter() - wall, time.process_time() - cpu)


def _history(folder: Path, models: int) -> None:
    """A month of counters, one sample a block."""
    lines = ["# TYPE ml_group_predictions counter\n", *_series(models)]
    lines += ["# TYPE ml_predictions counter\n", *_totals(models)]
    backfill(folder, lines, longest="64h")


def _totals(models: int) -> Iterator[str]:
    """All predictions of each model: as many as its groups are expected to have."""
    window = Window.until(END, _model("m0").fairness[0])
    for number in range(models):
        for predicted, rate in (("yes", 30), ("no", 70)):
            for place in range(window.size + 1):
                at = window.start + window.block * place
                own = f'model="m{number}",version="v1",predicted="{predicted}",job="j"'
                yield f"ml_predictions_total{{{own}}} {8 * rate * place} {at:.3f}\n"


def _series(models: int) -> Iterator[str]:
    rng = np.random.default_rng(7)
    window = Window.until(END, _model("m0").fairness[0])
    times = [window.start + window.block * place for place in range(window.size + 1)]
    for number in range(models):
        for attribute in ATTRIBUTES:
            for group in range(8):
                for predicted, rate in (("yes", 30), ("no", 70)):
                    labels = f'model="m{number}",version="v1",attribute="{attribute}",group="g{group}"'
                    course = np.cumsum(rng.poisson(rate, size=len(times)))
                    for at, value in zip(times, course, strict=True):
                        own = f'{labels},predicted="{predicted}",job="j"'
                        yield f"ml_group_predictions_total{{{own}}} {value} {at:.3f}\n"
