"""Silences and acknowledgements from the console: who may make them, and what Alertmanager is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from midwatch.app.console.access import Access
from tests.browser.console.conftest import TOKEN, Running

PAGE = "/alerts/ModelErrorBudgetBurn?model=fraud"


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=30) as client:
        yield client


@pytest.fixture(autouse=True)
def no_silence_stays(running: Running) -> Iterator[None]:
    yield
    for one in silences(running):
        running.console.alertmanager.expire(one.id)


@pytest.fixture
def signed_in(client: httpx.Client) -> httpx.Client:
    answer = client.post("/sign-in", data={"token": TOKEN.decode(), "back": PAGE})
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
    return client


def form_of(client: httpx.Client, number: int = -1) -> dict[str, Any]:
    """Hidden fields of a form of the alert's page, as a browser sends them."""
    import html

    forms = re.findall(
        r'<form method="post" action="/silences" class="card">.*?</form>', client.get(PAGE).text, re.DOTALL
    )
    fields: dict[str, Any] = {}
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', forms[number]):
        fields.setdefault(name, []).append(html.unescape(value))
    return fields


def silences(running: Running) -> list[Any]:
    return [one for one in running.console.alertmanager.silences() if one.state == "active"]


def test_a_silence_says_who_and_why_and_ends_again(running: Running, signed_in: httpx.Client) -> None:
    answer = signed_in.post("/silences", data=form_of(signed_in) | {"who": "Ada", "why": "a new index", "for": "2h"})
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
    (made,) = silences(running)
    assert (made.created_by, made.comment) == ("Ada", "a new index")
    assert round((made.ends_at - made.starts_at).total_seconds()) == 7200
    matched = {one.name: one.value for one in made.matchers}
    assert matched["alertname"] == "ModelErrorBudgetBurn"
    assert matched["model"] == "fraud"
    page = signed_in.get(PAGE).text
    assert "a new index" in page
    form = form_of(signed_in)["form"]
    assert signed_in.post(f"/silences/{made.id}/expire", data={"form": form, "back": PAGE}).status_code == 303
    assert silences(running) == []


def test_an_acknowledgement_is_a_short_silence_that_says_so(running: Running, signed_in: httpx.Client) -> None:
    answer = signed_in.post("/silences", data=form_of(signed_in, 0) | {"who": "Ada", "why": ""})
    assert answer.status_code == 303
    (made,) = silences(running)
    assert made.comment == "ack: somebody works on it"
    assert round((made.ends_at - made.starts_at).total_seconds()) == 1800


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"who": ""}, "say who you are"),
        ({"why": ""}, "say why"),
        ({"for": "100y"}, "choose how long"),
        ({"matcher": ["model=fraud"]}, "names its alert"),
        ({"matcher": ["alertname=X", *(f"label{number}=x" for number in range(40))]}, "at most 40 labels"),
        ({"matcher": ["alertname=X", "model=fraud", "model=prices"]}, "each once"),
    ],
    ids=["nobody", "no reason", "for ever", "of everything", "of too many labels", "of a label twice"],
)
def test_a_form_that_lacks_something_is_refused(
    running: Running, signed_in: httpx.Client, change: dict[str, Any], said: str
) -> None:
    form = form_of(signed_in) | {"who": "Ada", "why": "x", "for": "2h"} | change
    answer = signed_in.post("/silences", data=form)
    assert answer.status_code == 400
    assert said in answer.text
    assert silences(running) == []


def test_nobody_silences_without_signing_in(running: Running, client: httpx.Client) -> None:
    form = {"matcher": ["alertname=X"], "who": "x", "why": "x", "for": "2h"}
    answer = client.post("/silences", data=form)
    assert answer.headers["location"].startswith("/sign-in")
    assert silences(running) == []
    assert '<form method="post" action="/silences"' not in client.get(PAGE).text


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"form": ["0" * 64]}, {}),
        ({"form": [""]}, {}),
        ({}, {"origin": "http://evil.example"}),
        ({}, {"origin": "http://["}),
        ({}, {"sec-fetch-site": "cross-site"}),
    ],
    ids=["another form token", "no form token", "another origin", "no address", "another site"],
)
def test_a_form_of_another_site_is_refused(
    running: Running, signed_in: httpx.Client, fields: dict[str, Any], headers: dict[str, str]
) -> None:
    form = form_of(signed_in) | {"who": "Ada", "why": "x", "for": "2h"} | fields
    assert signed_in.post("/silences", data=form, headers=headers).status_code == 403
    assert silences(running) == []


def test_a_program_sends_the_token(running: Running, client: httpx.Client) -> None:
    form = {"matcher": ["alertname=X"], "who": "robot", "why": "x", "for": "30m"}
    refused = client.post("/silences", data=form, headers={"authorization": "Bearer wrong"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert silences(running) == []
    answer = client.post("/silences", data=form, headers={"authorization": f"Bearer {TOKEN.decode()}"})
    assert answer.headers["location"] == "/alerts"
    assert [one.created_by for one in silences(running)] == ["robot"]


def test_a_wrong_token_signs_nobody_in(client: httpx.Client) -> None:
    answer = client.post("/sign-in", data={"token": "wrong", "back": "/"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_session_is_kept_from_scripts_and_other_sites(client: httpx.Client) -> None:
    cookie = client.post("/sign-in", data={"token": TOKEN.decode(), "back": "/"}).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize("back", ["//evil.example/", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_signing_in_leads_nowhere_else(client: httpx.Client, back: str) -> None:
    answer = client.post("/sign-in", data={"token": TOKEN.decode(), "back": back})
    assert answer.headers["location"] == "/alerts"


def test_a_form_that_is_too_large_is_refused(client: httpx.Client) -> None:
    assert client.post("/sign-in", data={"token": "x" * 100_000}).status_code == 413


# Sessions -------------------------------------------------------------------------------------------------------------


def test_a_session_ends_by_itself() -> None:
    now = [1000.0]
    access = Access(token=TOKEN, clock=lambda: now[0])
    cookie = access.sign_in(TOKEN.decode())
    assert cookie is not None
    assert access.session_of(cookie) is not None
    now[0] += 13 * 3600
    assert access.session_of(cookie) is None


@pytest.mark.parametrize("cookie", ["", "x", "99999999999.x.y", "99999999999.x." + "0" * 64, "é.é.é"])
def test_a_cookie_that_we_did_not_sign_is_none(cookie: str) -> None:
    assert Access(token=TOKEN).session_of(cookie) is None


def test_guessing_is_slowed_down_also_for_the_right_token() -> None:
    now = [1000.0]
    access = Access(token=TOKEN, clock=lambda: now[0])
    for _ in range(20):
        assert access.sign_in("wrong") is None
    assert access.sign_in(TOKEN.decode()) is None
    now[0] += 61
    assert access.sign_in(TOKEN.decode()) is not None
