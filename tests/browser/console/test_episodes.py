"""The console's pages of the loop's episodes, and every page where nothing is known yet: no browser, no Prometheus."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from midwatch import alertmanager
from midwatch.app.console.access import Access
from midwatch.app.console.application import PAGES, Application, Console
from midwatch.app.console.queries import Asked
from midwatch.app.console.state import Snapshot, State
from midwatch.app.console.what_changed import WhatChanged
from midwatch.app.incident import where
from midwatch.app.status import read
from midwatch.app.status.records import Overview
from midwatch.prometheus import Client, Line, Sample, UnreachableError
from midwatch.spec import load
from tests.browser.console.conftest import write_episodes, write_platform
from tests.conftest import platform_document

NOW = 1_800_000_000.0


class Told(Client):
    """A Prometheus that answers at once with the samples that are told of it; `None` is silence."""

    def __init__(self, samples: Sequence[Sample] | None = ()) -> None:
        super().__init__("http://127.0.0.1:1", retries=0)
        self._samples = samples

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        if self._samples is None:
            raise UnreachableError(str(expr), "http://127.0.0.1:1: connection refused")
        if str(expr) == "vector(1)":
            return [Sample(labels={}, time=NOW, value=1.0)]
        return [one for one in self._samples if re.search(rf"\b{one.labels['__name__']}\b", str(expr))]

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        self.query(expr)
        return []


def sample(metric: str, value: float, **labels: str) -> Sample:
    return Sample(labels={"__name__": metric, **labels}, time=NOW, value=value)


Ask = Callable[..., str]


NAMED = r"\{\w+(?::\w+)?\}"
"""A part of a page's address that is a name."""


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Gives the text of a page of a platform file, with what Prometheus is told to say and the logs of a folder."""
    asked: list[Asked] = []

    def get(address: str, file: Path, client: Client, *folders: Path) -> str:
        platform, manager = load.load_platform(file), alertmanager.Client("http://127.0.0.1:1")
        asked.append(Asked(client, clock=lambda: NOW))
        console = Console(
            platform=platform,
            file=file,
            state=State(lambda: overview_of(file, client)),
            asked=asked[-1],
            what_changed=WhatChanged(where.of_platform(platform, file.parent, client)),
            alertmanager=manager,
            access=Access(token=None),
            folders=folders,
            clock=lambda: NOW,
        )
        pages = Application(console)._pages
        path, _, query = address.partition("?")
        kind = next(one for one in PAGES if re.fullmatch(re.sub(NAMED, "[^/]+", one), path))
        names = re.findall(r"\{(\w+)(?::\w+)?\}", kind)
        parts = re.fullmatch(re.sub(NAMED, "([^/]+)", kind), path)
        assert parts is not None
        given = dict(httpx.QueryParams(query))
        return pages.built(
            path, PAGES[kind], dict(zip(names, parts.groups(), strict=True)), given, may_write=False
        ).text

    yield get
    for one in asked:
        one.close()


def overview_of(file: Path, client: Client) -> Overview:
    platform, manager = load.load_platform(file), alertmanager.Client("http://127.0.0.1:1")
    return read.overview(read.Sources(prometheus=client, prometheus_url="", alertmanager=manager, platform=platform))


def write(folder: Path, **changes: Any) -> Path:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(**changes)))
    return file


def text_of(page: str) -> str:
    """What a reader reads of a page's content."""
    content = page.partition("<main")[2]
    return " ".join(re.sub(r"<[^>]+>", " ", content).split())


# Episodes ------------------------------------------------------------------------------------------------------------


def newest(outcome: str, cause: str = "") -> list[Sample]:
    names = {"model": "fraud", "episode": "e9", "version": "v1", "new_version": "v2"}
    return [
        sample("ml_loop_episode_info", 1, **names, outcome=outcome, cause=cause),
        sample("ml_loop_time_timestamp_seconds", NOW - 3600, model="fraud", time="T0"),
        sample("ml_loop_time_timestamp_seconds", NOW - 3000, model="fraud", time="T1"),
        sample("ml_loop_step_state", 1, model="fraud", step="registered", state="done"),
        sample("ml_loop_step_timestamp_seconds", NOW - 1800, model="fraud", step="registered"),
        sample("midwatch_loop_last_look_timestamp_seconds", NOW - 5),
    ]


def test_the_newest_episode_is_as_prometheus_has_it_and_says_what_is_not_here(ask: Ask, tmp_path: Path) -> None:
    text = text_of(ask("/episodes/fraud", write_platform(tmp_path), Told(newest("better", "labels"))))
    assert "fraud: better" in text
    assert "registered done" in text
    assert "30 min" in text, "after the onset"
    assert "not here" in text
    assert "detection 10 min" in text


def test_a_log_says_who_saw_each_step_and_of_earlier_episodes(ask: Ask, tmp_path: Path) -> None:
    write_episodes(tmp_path / "loop")
    file = write_platform(tmp_path)
    every = text_of(ask("/episodes", file, Told(newest("open")), tmp_path / "loop"))
    assert "1 open" not in every, "two: that of Prometheus and that of the log"
    assert "2 open" in every
    earlier = text_of(ask("/episodes/fraud?episode=e1", file, Told(newest("open")), tmp_path / "loop"))
    assert "fraud: abandoned" in earlier
    assert "mlflow" in earlier
    assert "did not come" in earlier
    assert str(tmp_path / "loop") in earlier


def test_a_log_that_was_changed_is_said_to_be(ask: Ask, tmp_path: Path) -> None:
    write_episodes(tmp_path / "loop")
    log = tmp_path / "loop" / "audit.jsonl"
    log.write_text(log.read_text().replace("abandoned", "better"))
    assert "is not to be believed" in text_of(ask("/episodes", write_platform(tmp_path), Told(), tmp_path / "loop"))


def test_a_log_that_is_none_of_the_loop_is_no_reason_to_warn(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "audit.jsonl").write_text('{"event": "judged"}\n')
    text = text_of(ask("/episodes", write_platform(tmp_path), Told(newest("open")), tmp_path / "gate"))
    assert "audit.jsonl" not in text


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([], "No loop looks"),
        ([sample("midwatch_loop_last_look_timestamp_seconds", NOW - 3600)], "The loop last looked 1 h ago"),
        (
            [
                sample("midwatch_loop_last_look_timestamp_seconds", NOW - 5),
                sample("midwatch_loop_source_up", 0, source="tekton"),
            ],
            "blind for their steps: tekton",
        ),
        (None, "Not known: Prometheus does not answer"),
    ],
    ids=["no loop", "a loop that stands still", "a blind loop", "a silent Prometheus"],
)
def test_what_is_not_seen_is_not_calm(ask: Ask, tmp_path: Path, samples: Sequence[Sample] | None, said: str) -> None:
    assert said in text_of(ask("/episodes", write_platform(tmp_path), Told(samples)))


def test_an_episode_that_nobody_knows_is_no_page(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no episode 'e7'"):
        ask("/episodes/fraud?episode=e7", write_platform(tmp_path), Told(newest("open")))


# Distributions -------------------------------------------------------------------------------------------------------


def test_distributions_stand_side_by_side_in_the_order_of_their_bins_those_that_differ_most_first(
    ask: Ask, tmp_path: Path
) -> None:
    def of(feature: str, shares: dict[str, tuple[float, float]]) -> list[Sample]:
        where = {"model": "fraud", "version": "v1", "feature": feature}
        return [
            sample("ml_drift_share", share, **where, place=f"{place:02}", bin=name, side=side)
            for place, (name, pair) in enumerate(shares.items())
            for side, share in zip(("reference", "window"), pair, strict=True)
        ]

    calm, moved = {"b": (0.6, 0.5), "a": (0.4, 0.5)}, {"≤ 10": (0.9, 0.2), "10 to 9": (0.1, 0.8)}
    page = ask("/models/fraud", write_platform(tmp_path), Told([*of("calm", calm), *of("amount", moved)]))
    titles = re.findall(r"<h4>(.*?)</h4>", page)
    assert titles == ["amount of v1", "calm of v1"]
    figure = page.partition('id="distribution-1"')[2].partition("</figure>")[0]
    rows = [text_of(f"<main>{row}") for row in re.findall(r"<tr>(.*?)</tr>", figure, re.DOTALL)]
    assert [row.removeprefix("> ") for row in rows] == [
        "group reference last window",
        "≤ 10 90% 20%",
        "10 to 9 10% 80%",
    ]
    assert "ml_drift_share{feature=" in figure


# Nothing is known yet -------------------------------------------------------------------------------------------------

EMPTY = r"\ball \d+ (systems|logs)|every log that is here is whole|its promises are kept|\bcalm\b|\bkept\b"
"""What no page may say where nothing was counted, judged or drilled."""
SILENT = EMPTY + (
    r"|nothing (fires|changed)|alerts that fire: 0|it does not fire|no version was asked|none (is|was|runs)\b"
    r"|spent never|has no record|no drill|judged nothing|\bnot known 0 0 not known"
)
"""What none may say besides, where nobody answers."""
OF_PAGES = [
    kind.replace("{model}", "fraud").replace("{subject}/{slo}", "fraud/latency").replace("{alert:name}", "Any")
    for kind in PAGES
    if not kind.startswith("/canaries/")
]


@pytest.mark.parametrize(
    ("samples", "calm"), [((), EMPTY), (None, SILENT)], ids=["an empty Prometheus", "a silent Prometheus"]
)
@pytest.mark.parametrize("address", OF_PAGES)
def test_where_nothing_is_known_no_page_is_calm(
    ask: Ask, tmp_path: Path, samples: Sequence[Sample] | None, calm: str, address: str
) -> None:
    models = platform_document()["models"]
    models[0]["fairness"] = [
        {"attribute": "country", "measure": "demographic_parity", "difference": "5%", "public": True}
    ]
    text = text_of(ask(address, write(tmp_path, models=models), Told(samples)))
    assert re.search(calm, text, re.IGNORECASE) is None, text
    assert not re.search(r"\bNone\b(?! (to|is|was|runs))|\bnan\b|Undefined", text), text


def test_what_fired_when_prometheus_answered_last_is_not_what_fires_now(ask: Ask, tmp_path: Path) -> None:
    file, client = write(tmp_path), Told(())
    assert "Nothing fires" in text_of(ask("/alerts", file, client))
    snapshot = Snapshot(number=2, overview=overview_of(file, Told(None)), stale_since=datetime.fromtimestamp(NOW, UTC))
    assert not snapshot.knows_alerts
    assert snapshot.knows_canaries
