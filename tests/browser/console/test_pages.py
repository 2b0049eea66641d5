"""The console's pages as a program gets them: what is on them, who may ask, and what a reader is told of."""

from __future__ import annotations

import html
import os
import re
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from midwatch.app.console.application import PAGES, Pages
from midwatch.app.console.page import NoPageError, of_alert
from midwatch.ports import free_ports
from tests.browser.console.conftest import EVIL, HASHED, NAMES, Running, Serving, write_platform

ADDRESSES = {
    "/": "Somebody should act",
    "/models/fraud": "Is it right?",
    "/models/prices": "Traffic",
    "/objectives/fraud/latency": "Error budget left",
    "/canaries": "against v1",
    "/canaries/fraud?baseline=v1&canary=v9": "v9 against v1",
    "/fairness": "unfair lately",
    "/fairness/fraud": "it is who applies that differs",
    "/changes": "What changed",
    "/episodes": "From drift to a better model",
    "/episodes/fraud": "Where the time went",
    "/episodes/fraud?episode=e1": "did not come",
    "/episodes/prices": "no episode",
    "/alerts": "ModelErrorBudgetBurn",
    "/alerts/ModelErrorBudgetBurn?model=fraud": "Who was told",
    "/alerts/NeverFires": "should fire",
    "/recovery": "Drills",
    "/experiments": "deviated",
    "/evidence": "whole",
}
"""A page of each kind, and what is on it."""


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=30) as client:
        yield client


def test_every_page_is_tried() -> None:
    kinds = {re.sub(r"\{[\w:]+\}", "[^/?]+", path) for path in PAGES}
    assert [kind for kind in kinds if not any(re.fullmatch(kind, one.split("?")[0]) for one in ADDRESSES)] == []


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_says_what_it_is_for(client: httpx.Client, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 200
    assert ADDRESSES[address] in answer.text


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_name_is_more_than_text(client: httpx.Client, address: str) -> None:
    text = client.get(address).text
    assert EVIL not in text
    assert re.search(r"<img|<script>|\sstyle=|\son\w+=\"", text) is None
    assert "<!--live x-->" not in text


@pytest.mark.parametrize("address", ["/", "/nope", "/static/0/x.js", "/healthz", "/sign-in"])
def test_every_answer_has_the_policy(client: httpx.Client, address: str) -> None:
    policy = client.get(address).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy


def test_evil_names_lead_to_pages_of_their_own(client: httpx.Client) -> None:
    found = re.search(r'href="(/canaries/fraud\?[^"]*)"', client.get("/canaries").text)
    assert found is not None
    answer = client.get(found[1].replace("&amp;", "&"))
    assert answer.status_code == 200
    assert EVIL not in answer.text


@pytest.mark.parametrize(
    "address",
    [
        "/models/nobody",
        "/changes?model=nobody",
        "/changes?kind=magic",
        "/objectives/fraud/none",
        "/canaries/fraud",
        "/%00",
        "/models/",
    ],
)
def test_what_is_not_there_is_said(client: httpx.Client, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert "There is no such page" in answer.text


def test_models_are_found_by_owner_name_and_trouble(client: httpx.Client) -> None:
    def models(**query: str) -> list[str]:
        return re.findall(r'<th scope="row"><a href="/models/(\w+)"', client.get("/", params=query).text)

    assert models() == ["fraud", "prices"]
    assert models(words="RIC") == ["prices"]
    assert models(only="trouble") == ["fraud"]
    assert models(owner="nobody") == []


def test_every_chart_has_its_numbers_and_its_query(client: httpx.Client) -> None:
    text = client.get("/models/fraud").text
    figures = re.findall(r'<figure class="chart".*?</figure>', text, re.DOTALL)
    assert len(figures) > 7
    for figure in figures:
        assert "<summary>Numbers of" in figure
        assert "<summary>PromQL of" in figure


def test_hashed_groups_have_their_names_for_who_has_the_key(client: httpx.Client, running: Running) -> None:
    text = client.get("/fairness/fraud").text
    assert 'aria-label="old: ' in text
    assert [one for one in HASHED if one in text] == []
    key = running.folder / "groups.key"
    key.rename(running.folder / "gone")
    try:
        text = client.get("/fairness/fraud", params={"span": "15m"}).text
    finally:
        (running.folder / "gone").rename(key)
    assert all(one in text for one in HASHED)
    assert "Groups are shown by their hashes" in text


def test_what_nobody_judged_is_not_known_and_never_fair(client: httpx.Client) -> None:
    text = client.get("/fairness/fraud").text
    assert "Of 7 promised rates, 2 are shown broken; 3 are not known yet; 2 are shown kept." in text
    row = re.search(r"<tr><th scope=\"row\">demographic parity of region</th><td[^>]*>difference 5%.*?</tr>", text)
    assert row is not None
    assert '<span class="state unsure">not judged</span>' in row[0]
    assert "good" not in row[0]


def test_the_page_of_all_models_has_each_worst_pair_and_what_open_verdicts_wait_for(client: httpx.Client) -> None:
    text = client.get("/fairness").text
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", text, re.DOTALL)
    (unfair,) = [one for one in rows if "demographic parity of region" in one and ">v1<" in one and "selected<" in one]
    assert re.search(r"has \d+(\.\d+)?% of .* \(\d", unfair)
    (waiting,) = [one for one in rows if "accuracy parity of age" in one and ">v1<" in one]
    assert "about 1,234 more events, if the rates stay; 25% of a group have no label" in waiting


def test_the_features_that_explain_are_on_the_pages_of_drift_canaries_and_fairness(client: httpx.Client) -> None:
    alerts = ("/alerts/ModelInputDrift?model=fraud", "/alerts/FairnessBroken?model=fraud")
    for address in ("/models/fraud", "/fairness/fraud", *alerts):
        text = client.get(address).text
        assert "Its inputs moved, and drift says so, too" in text
        assert text.index("amount&#34;") < text.rindex(">country</th>")
    found = re.search(r'href="(/canaries/fraud\?[^"]*)"', client.get("/canaries").text)
    assert found is not None
    canary = client.get(found[1].replace("&amp;", "&")).text
    assert "10 predictions of the last window were explained and 10 windows before it have enough" in canary
    assert "no attributions of v9 were judged yet" in client.get("/canaries/fraud?baseline=v1&canary=v9").text


def test_the_features_that_make_two_groups_differ_are_on_the_page_of_fairness(client: httpx.Client) -> None:
    text = client.get("/fairness/fraud").text
    table = re.search(
        r'aria-label="Features between groups of demographic parity of region \(ratio 80%\), v1.*?</table>', text, re.S
    )
    assert table is not None
    rows = [re.sub(r"<[^>]*>", " ", row).split() for row in re.findall(r"<tr>(.*?)</tr>", table[0], re.S)[1:]]
    assert [row[0].partition("&")[0] for row in rows] == ["amount", "country"]
    assert rows[0][-6:-3] == ["0.5", "0.2", "0.3"]
    assert rows[1][-3:] == ["may", "be", "chance"]
    assert "no predictions of both groups were explained lately" in text  # of the other version


def test_an_interval_is_beside_the_accuracy(client: httpx.Client) -> None:
    assert "v1, 95% interval" in client.get("/models/fraud").text


def test_assets_are_kept_by_the_browser_and_pages_are_not(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["cache-control"] == "no-store"
    addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
    assert len(addresses) == 7
    for address in addresses:
        assert "immutable" in client.get(address).headers["cache-control"]


def test_a_name_that_is_not_ours_is_refused_on_loopback(client: httpx.Client) -> None:
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/", headers={"host": "localhost:1"}).status_code == 200


def test_fifty_readers_cost_as_many_questions_as_one(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> None:
        answers.append(httpx.get(f"{running.url}/models/fraud?span=3h", timeout=120).status_code)

    answers: list[int] = []
    asked, now = running.console.asked, time.time()
    monkeypatch.setattr(asked, "clock", lambda: now)  # however long it takes, no answer grows old meanwhile
    before = asked.sent
    httpx.get(f"{running.url}/models/fraud?span=12h", timeout=120)
    alone = asked.sent - before
    threads = [threading.Thread(target=read) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 50
    assert 0 < asked.sent - before <= 2 * alone


def test_a_stream_says_which_parts_have_changed_since_the_page_was_made(client: httpx.Client) -> None:
    page = client.get("/canaries").text
    address = re.search(r'hx-sse:connect="([^"]+)"', page)
    assert address is not None
    event = _first_event(client, address[1].replace("&amp;", "&"))
    assert event["id"]
    assert "state-of-data" in event["data"]
    assert 'hx-target="#canaries"' not in event["data"], "what has not changed is not sent"


def test_a_stream_that_comes_from_elsewhere_gets_every_part(client: httpx.Client) -> None:
    event = _first_event(client, "/events?page=/alerts", headers={"last-event-id": "of-another-console"})
    assert 'hx-target="#alerts"' in event["data"]
    assert NAMES["version"] not in event["data"]


def test_there_is_a_stream_of_pages_only(client: httpx.Client) -> None:
    assert client.get("/events?page=/sign-in").status_code == 404
    assert client.get("/events").status_code == 404


def test_a_name_that_looks_like_an_address_has_a_page_of_its_own(client: httpx.Client) -> None:
    for sign in ("%3F", "%23"):
        forged = client.get(f"/alerts/ModelErrorBudgetBurn{sign}model=fraud")
        assert "It fires" not in forged.text
    assert "It fires" in client.get("/alerts/ModelErrorBudgetBurn?model=fraud").text
    assert "It fires" in client.get("/alerts/ModelErrorBudgetBurn").text


@pytest.mark.parametrize("name", ["a b", "a/b", "a//b?c#d", "100%25", "é"])
def test_a_page_of_any_alert_is_told_of_its_own_changes(client: httpx.Client, name: str) -> None:
    page = client.get(of_alert(name, {"model": "fraud"}))
    assert (page.status_code, html.unescape(_heading(page.text))) == (200, name)
    address = re.search(r'hx-sse:connect="([^"]+)"', page.text)
    assert address is not None
    event = _first_event(client, html.unescape(address[1]), headers={"last-event-id": "of-another-console"})
    assert html.unescape(_heading(event["data"])) == name


def test_an_address_with_a_slash_too_many_is_mended(client: httpx.Client) -> None:
    answer = client.get("/alerts/ModelErrorBudgetBurn/", follow_redirects=True)
    assert "It fires" in answer.text


def test_another_method_is_refused_with_those_that_there_are(client: httpx.Client) -> None:
    answer = client.delete("/alerts")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


def test_addresses_without_a_page_are_not_remembered(running: Running) -> None:
    pages = Pages(running.console)
    for number in range(3):
        with pytest.raises(NoPageError):
            pages.built(f"/models/{number}", PAGES["/models/{model}"], {"model": str(number)}, {}, may_write=False)
    assert pages.kept == 0


STRANGE_LOGS = {
    "no text": b"\xff\xfe\x00\n",
    "half a pair": b'{"seq": "\\ud800", "data": "\\ud800"}\n',
    "no number": b'{"seq": null, "at": {}, "kind": []}\n',
    "deep": b"[" * 100_000 + b"\n",
    "torn": b'{"seq": 1',
}


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A console whose Prometheus and Alertmanager never answer, with evidence logs that hold anything."""
    file = write_platform(tmp_path_factory.mktemp("blind"))
    away = f"http://127.0.0.1:{free_ports()[0]}"
    strange = file.parent / "strange"
    for name, content in STRANGE_LOGS.items():
        (strange / name).mkdir(parents=True)
        (strange / name / "evidence.jsonl").write_bytes(content)
    (strange / "a folder" / "evidence.jsonl").mkdir(parents=True)
    with (
        Serving(file, away, away, (strange,), every=600.0) as running,
        httpx.Client(base_url=running.url, timeout=30) as client,
    ):
        yield client


CALM = (
    'class="good"',
    "Nothing fires",
    "Nothing changed",
    "No silence",
    "promises are kept",
    "It does not fire",
    "None runs now",
    "None is open",
    "None is overdue",
    "None was judged",
    "judged nothing",
    "none overdue",
    "has no experiment",
    "No version was asked",
    ">never<",
    "fire: 0",
    'data-name="pages" class="number">0',
    'data-name="versions" class="number">0',
    "1970-01-01",
)
"""What only somebody who sees may say."""


@pytest.mark.parametrize("address", [one for one in ADDRESSES if not one.startswith(("/evidence", "/episodes"))])
def test_a_page_that_sees_nothing_is_not_calm(blind: httpx.Client, address: str) -> None:
    text = blind.get(address).text
    assert [said for said in CALM if said in text] == []
    assert re.search("not known|nothing is proven|not every source", text, re.IGNORECASE)


@pytest.mark.parametrize("address", ["/alerts", "/alerts/NeverFires", "/models/prices"])
def test_what_does_not_fire_is_not_calm_where_no_rules_run(client: httpx.Client, address: str) -> None:
    text = client.get(address).text
    assert "the platform&#39;s rules are not evaluated" in text
    assert 'id="verdict" class="good"' not in text


def test_an_overspent_budget_is_said_in_words(client: httpx.Client) -> None:
    text = client.get("/objectives/fraud/latency").text
    said = re.search(r"the error budget is overspent by ([\d.]+)% of it", text)
    assert said is not None
    assert 3 < float(said[1]) < 10  # it goes on being spent while tests run
    assert ">already<" in text


def test_a_log_that_holds_anything_is_changed_and_the_page_goes_on(blind: httpx.Client) -> None:
    answer = blind.get("/evidence")
    assert answer.status_code == 200
    assert f"{len(STRANGE_LOGS)} of {len(STRANGE_LOGS)} logs were changed." in answer.text


def test_a_log_is_checked_anew_though_its_time_was_set_back(running: Running) -> None:
    log = running.folder / "evidence" / "evidence.jsonl"
    before, status = log.read_bytes(), log.stat()
    pages = Pages(running.console)

    def text() -> str:
        return pages.built("/evidence", PAGES["/evidence"], {}, {"x": str(len(seen))}, may_write=False).text

    seen = [0]
    assert "were changed" not in text()
    seen.append(1)
    try:
        log.write_bytes(before.replace(b"kind", b"KIND"))
        os.utime(log, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert re.search(r"1 of \d+ logs were changed", text())
    finally:
        log.write_bytes(before)


def _heading(text: str) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", text, re.DOTALL)
    assert found is not None
    return re.sub(r"<[^>]+>", "", found[1]).strip()


def _first_event(client: httpx.Client, address: str, **more: dict[str, str]) -> dict[str, str]:
    with client.stream("GET", address, **more) as answer:  # type: ignore[arg-type]
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = []
        for line in answer.iter_lines():
            if not line and lines:
                break
            lines.append(line)
    return {
        name: "\n".join(one.partition(": ")[2] for one in lines if one.startswith(f"{name}:"))
        for name in ("id", "data")
    }
