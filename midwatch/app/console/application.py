"""The web application: addresses, who may ask, the headers of every answer, and the stream of each page.

A page is built once for all who look at it, and again when the state was read again. Building asks Prometheus, so it
runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode

import anyio.to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from midwatch import alertmanager, html
from midwatch.app.console import access, page, sections, silencing
from midwatch.app.console.access import Access
from midwatch.app.console.page import Build, Context, NoPageError, Page
from midwatch.app.console.pages import (
    alert,
    canary,
    changes,
    episodes,
    evidence,
    fairness,
    model,
    objective,
    overview,
    recovery,
)
from midwatch.app.console.queries import Asked
from midwatch.app.console.state import Snapshot, State
from midwatch.app.console.what_changed import WhatChanged
from midwatch.errors import MidwatchError
from midwatch.spec.model import Platform
from monitors.incident import words

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",  # without a referrer at all a form's origin would be `null`
    b"cross-origin-opener-policy": b"same-origin",
    b"x-frame-options": b"DENY",
}
"""Headers of every answer."""
TEMPLATES = Path(__file__).parent / "templates"
MAX_BODY = 64 * 1024
MAX_PAGES = 500
"""Pages whose text is kept until the state is read again."""
MAX_STREAMS = 500
COMMENT_SECONDS = 15.0
"""A comment on a quiet stream, so that nobody between us and the browser ends it."""
TYPES = {".css": "text/css", ".js": "text/javascript"}

_log = logging.getLogger(__name__)


class _NameConvertor(Convertor[str]):
    """A name with slashes in it, as alerts of others have: all but the slash that ends an address."""

    regex = ".*[^/]"

    def convert(self, value: str) -> str:
        """The name in an address."""
        return value

    def to_string(self, value: str) -> str:
        """The name as an address has it."""
        return value


register_url_convertor("name", _NameConvertor())

PAGES: Mapping[str, Build] = {
    "/": overview.build,
    "/models/{model}": model.build,
    "/objectives/{subject}/{slo}": objective.build,
    "/canaries": canary.build_all,
    "/canaries/{model}": canary.build,
    "/fairness": fairness.build_all,
    "/fairness/{model}": fairness.build,
    "/alerts": alert.build_all,
    "/alerts/{alert:name}": alert.build,
    "/changes": changes.build,
    "/episodes": episodes.build_all,
    "/episodes/{model}": episodes.build,
    "/recovery": recovery.build_recovery,
    "/experiments": recovery.build_experiments,
    "/evidence": evidence.build,
}
"""The pages, by address."""


@dataclass(kw_only=True)
class Console:
    """What the application serves: the platform, its state, who answers queries, who may do what.

    `every` is seconds between two readings of the state; `url` is where people find the console, empty if not said.
    """

    platform: Platform
    file: Path
    state: State
    asked: Asked
    what_changed: WhatChanged
    alertmanager: alertmanager.Client
    access: Access
    every: float = 5.0
    url: str = ""
    default_span: str = "3h"
    folders: tuple[Path, ...] = ()
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, kw_only=True)
class _Built:
    """The text of a page, and its live parts."""

    text: str
    parts: Mapping[str, str]
    name: str


@dataclass
class _Stream:
    """The states of one address that somebody watches, and who waits for the next."""

    build: Callable[[], _Built]
    history: sections.History = field(default_factory=sections.History)
    readers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Pages:
    """Builds pages, each once for a reading of the state."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._templates = html.environment(TEMPLATES)
        self._built: OrderedDict[tuple[Any, ...], tuple[int, _Built]] = OrderedDict()
        self._locks: dict[tuple[Any, ...], threading.Lock] = {}
        self._lock = threading.Lock()
        self.form_mark = secrets.token_hex(16)
        """Stands for the form token of a session: pages are the same for all."""
        self.seen_mark = secrets.token_hex(16)
        """Stands for the name of the state of a page."""
        self._assets = {name: f"/static/{digest}/{name}" for name, digest in html.digests().items()}
        self._templates.globals |= {
            "assets": self._assets,
            "with_scripts": True,
            "of_model": page.of_model,
            "of_objective": page.of_objective,
            "of_alert": page.of_alert,
            "of_canary": page.of_canary,
            "of_episode": page.of_episode,
            "path_of": page.path_of,
            "chance": words.chance,
            "form_mark": self.form_mark,
            "seen_mark": self.seen_mark,
        }

    def built(
        self, path: str, build: Build, parts: Mapping[str, str], query: Mapping[str, str], *, may_write: bool
    ) -> _Built:
        """A page's text; NoPageError when there is none at this address."""
        key = (path, tuple(sorted(query.items())), may_write)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            snapshot = self._console.state.now
            with self._lock:
                kept = self._built.get(key)
            if kept is not None and kept[0] == snapshot.number:
                return kept[1]
            try:
                made = self._made(self._context(path, query, snapshot), build, parts, may_write=may_write)
            except Exception:
                with self._lock:  # an address without a page leaves nothing behind
                    if key not in self._built:
                        self._locks.pop(key, None)
                raise
            with self._lock:
                self._built[key] = snapshot.number, made
                self._built.move_to_end(key)
                while len(self._built) > MAX_PAGES:
                    gone, _ = self._built.popitem(last=False)
                    self._locks.pop(gone, None)
            return made

    @property
    def kept(self) -> int:
        """Addresses of which something is remembered."""
        return len(self._locks)

    def _context(self, path: str, query: Mapping[str, str], snapshot: Snapshot) -> Context:
        return Context(
            platform=self._console.platform,
            file=self._console.file,
            snapshot=snapshot,
            asked=self._console.asked,
            what_changed=self._console.what_changed,
            now=self._console.clock(),
            query=query,
            default_span=self._console.default_span,
            folders=self._console.folders,
            path=f"{quote(path)}?{urlencode(sorted(query.items()))}" if query else quote(path),
        )

    def _made(self, context: Context, build: Build, parts: Mapping[str, str], *, may_write: bool) -> _Built:
        text = self.text_of(build(context, **parts), context, may_write=may_write)
        found = sections.parts_of(text)
        return _Built(text=text, parts=found, name=sections.name_of(found))

    def text_of(self, shown: Page, context: Context, *, may_write: bool) -> str:
        """Text of a page."""
        return self._templates.get_template(shown.template).render(
            {
                "about": shown.about,
                "area": shown.area,
                "snapshot": context.snapshot,
                "stream": context.path,
                "now": context.now,
                "may_write": may_write,
                "has_token": self._console.access.token is not None,
                **shown.values,
            }
        )

    def message(self, title: str, text: str, *, may_write: bool = False) -> str:
        """A page that says one thing, such as that there is no such page."""
        return self._templates.get_template("message.html").render(
            about=html.About(title=title, meaning=text, platform=self._console.platform.platform),
            area="",
            snapshot=None,
            stream="",
            may_write=may_write,
            has_token=self._console.access.token is not None,
        )

    def sign_in(self, back: str, said: str) -> str:
        """The page that asks for the token."""
        return self._templates.get_template("sign_in.html").render(
            about=html.About(title="Sign in", meaning=said, platform=self._console.platform.platform),
            area="",
            snapshot=None,
            stream="",
            may_write=False,
            has_token=True,
            back=back,
        )


class Application:
    """The handlers. `app` is what an ASGI server runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pages = Pages(console)
        self._streams: dict[tuple[Any, ...], _Stream] = {}
        self._readers = 0
        routes = [Route(path, partial(self._page, build), methods=["GET"]) for path, build in PAGES.items()]
        routes += [
            Route("/events", self._events, methods=["GET"]),
            Route("/silences", self._silence, methods=["POST"]),
            Route("/silences/{silence}/expire", self._expire, methods=["POST"]),
            Route("/sign-in", self._sign_in, methods=["GET", "POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/static/{digest}/{name}", self._static, methods=["GET"]),
            Route("/healthz", _healthy, methods=["GET"]),
            Route("/readyz", _healthy, methods=["GET"]),
        ]
        handlers: Any = {HTTPException: self._error, 404: self._error, Exception: self._failed}
        self._starlette = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        self.app: ASGIApp = _Guard(self._starlette, console.access)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 24
        task = asyncio.create_task(self._read_for_ever())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._console.asked.close()

    # Pages ---------------------------------------------------------------------------------------------------------

    async def _page(self, build: Build, request: Request) -> Response:
        session = self._session(request)
        if not self._may_read(request, session):
            return _to_sign_in(request)
        query = _query(request)
        try:
            built = await run_in_threadpool(
                self._pages.built,
                _path(request),
                build,
                dict(request.path_params),
                query,
                may_write=session is not None,
            )
        except NoPageError as error:
            return HTMLResponse(self._pages.message("There is no such page", str(error)), 404, _UNKEPT)
        text = built.text.replace(self._pages.seen_mark, built.name)
        if session is not None:
            text = text.replace(self._pages.form_mark, self._console.access.form_token(session))
        return HTMLResponse(text, headers=_UNKEPT)

    def _session(self, request: Request) -> str | None:
        cookie = request.cookies.get(access.COOKIE)
        return self._console.access.session_of(cookie) if cookie else None

    def _may_read(self, request: Request, session: str | None) -> bool:
        guard = self._console.access
        return not guard.reads_need_token or session is not None or guard.is_bearer(request.headers)

    # Streams -------------------------------------------------------------------------------------------------------

    async def _read_for_ever(self) -> None:
        """Read the state again and again; build what somebody watches, once, and tell of what changed."""
        while True:
            try:
                await run_in_threadpool(self._console.state.refresh)
                for stream in list(self._streams.values()):
                    await self._update(stream)
            except Exception:
                _log.exception("the state could not be read")
            await asyncio.sleep(self._console.every)

    async def _update(self, stream: _Stream) -> None:
        try:
            built = await run_in_threadpool(stream.build)
        except MidwatchError:
            return  # such as a canary that Prometheus does not answer for: the page that is open stays as it is
        except Exception:
            _log.exception("a page that is open could not be made")
            return  # the other pages go on
        if built.name != stream.history.newest:
            stream.history.add(built.parts)
            stream.changed.set()
            stream.changed = asyncio.Event()

    async def _events(self, request: Request) -> Response:
        session = self._session(request)
        if not self._may_read(request, session):
            return PlainTextResponse("sign in first", 401)
        if self._readers >= MAX_STREAMS:
            return PlainTextResponse("too many open pages", 503, {"retry-after": "30"})
        address = request.query_params.get("page", "")
        found = self._route_of(address)
        if found is None:
            return PlainTextResponse("there is no such page", 404)
        path, build, parts, query = found
        make = partial(self._pages.built, path, build, parts, query, may_write=session is not None)
        key = (path, tuple(sorted(query.items())), session is not None)
        seen = request.headers.get("last-event-id") or request.query_params.get("seen", "")
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(key, make, seen), media_type="text/event-stream", headers=headers)

    async def _stream(self, key: tuple[Any, ...], make: Callable[[], _Built], seen: str) -> AsyncIterator[bytes]:
        # Joined here, where the reader is counted: one who went before this began leaves nothing behind.
        stream = self._streams.setdefault(key, _Stream(build=make))
        stream.readers += 1
        self._readers += 1
        try:
            await self._update(stream)
            while True:
                waiting = stream.changed
                newest = stream.history.newest
                if newest != seen:
                    parts = stream.history.changed_since(seen)
                    seen = newest
                    if parts:
                        yield sections.event_of(parts, newest)
                try:
                    await asyncio.wait_for(waiting.wait(), COMMENT_SECONDS)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            stream.readers -= 1
            self._readers -= 1
            if not stream.readers:
                self._streams.pop(key, None)

    def _route_of(self, address: str) -> tuple[str, Build, dict[str, str], dict[str, str]] | None:
        """The page of an address: its path, what builds it, the parts of its path, and its query."""
        quoted, _, query = address.partition("?")
        path = unquote(quoted)
        scope: Scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "path_params": {}}
        for route in self._starlette.routes:
            if isinstance(route, Route) and route.path in PAGES:
                matched, child = route.matches(scope)
                if matched.value == 2:
                    return path, PAGES[route.path], dict(child["path_params"]), dict(parse_qsl(query))
        return None

    # Silences ------------------------------------------------------------------------------------------------------

    async def _silence(self, request: Request) -> Response:
        fields, refusal = await self._form(request)
        if refusal is not None:
            return refusal
        back = silencing.local_path((fields.get("back") or ["/alerts"])[0])
        try:
            form = silencing.read(fields)
            where = f"{self._console.url.rstrip('/')}{back}" if self._console.url else ""
            await run_in_threadpool(silencing.make, self._console.alertmanager, form, where)
        except MidwatchError as error:
            return HTMLResponse(self._pages.message("Nothing was silenced", str(error), may_write=True), 400, _UNKEPT)
        await run_in_threadpool(self._console.state.refresh_after_change)
        return RedirectResponse(back, 303)

    async def _expire(self, request: Request) -> Response:
        fields, refusal = await self._form(request)
        if refusal is not None:
            return refusal
        try:
            await run_in_threadpool(self._console.alertmanager.expire, request.path_params["silence"])
        except MidwatchError as error:
            return HTMLResponse(
                self._pages.message("The silence was not ended", str(error), may_write=True), 400, _UNKEPT
            )
        await run_in_threadpool(self._console.state.refresh_after_change)
        return RedirectResponse(silencing.local_path((fields.get("back") or ["/alerts"])[0]), 303)

    async def _form(self, request: Request) -> tuple[dict[str, list[str]], Response | None]:
        """Fields of a form that may change something, or why it may not."""
        guard = self._console.access
        if guard.token is None:
            said = "This console was started without --token-file: nobody may silence from here."
            return {}, HTMLResponse(self._pages.message("Not allowed", said), 403, _UNKEPT)
        fields = await _fields(request)
        if guard.is_bearer(request.headers):
            return fields, None
        session = self._session(request)
        if session is None:
            return {}, _to_sign_in(request, back="/alerts")
        given = (fields.get("form") or [""])[0]
        if not access.is_same_site(request.headers) or not guard.is_form_of(session, given):
            said = "The form did not come from a page of this console, or is of another session. Go back and try again."
            return {}, HTMLResponse(self._pages.message("Not allowed", said), 403, _UNKEPT)
        return fields, None

    async def _sign_in(self, request: Request) -> Response:
        guard = self._console.access
        if guard.token is None:
            return HTMLResponse(
                self._pages.message("Not allowed", "This console has no token: start it with --token-file."), 404
            )
        back = silencing.local_path(request.query_params.get("back", "/"))
        if request.method == "GET":
            return HTMLResponse(
                self._pages.sign_in(back, "The token is in the file that the console was started with."),
                headers=_UNKEPT,
            )
        fields = await _fields(request)
        back = silencing.local_path((fields.get("back") or ["/"])[0])
        cookie = guard.sign_in((fields.get("token") or [""])[0]) if access.is_same_site(request.headers) else None
        if cookie is None:
            return HTMLResponse(
                self._pages.sign_in(back, "That is not the token, or too many wrong ones came; try again in a minute."),
                403,
                _UNKEPT,
            )
        response = RedirectResponse(back, 303)
        response.set_cookie(
            access.COOKIE,
            cookie,
            max_age=access.SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=_is_secure(request),
        )
        return response

    async def _sign_out(self, request: Request) -> Response:
        _, refusal = await self._form(request)
        if refusal is not None:
            return refusal
        response = RedirectResponse("/", 303)
        response.delete_cookie(access.COOKIE)
        return response

    # The rest ------------------------------------------------------------------------------------------------------

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        kept = {"cache-control": "public, max-age=31536000, immutable"}
        if html.digests().get(name) != request.path_params["digest"]:
            return PlainTextResponse("there is no such file", 404)
        return Response(html.text_of(name), media_type=TYPES[Path(name).suffix], headers=kept)

    async def _error(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        said = _SAID.get(status) or str(getattr(error, "detail", "It failed."))
        return HTMLResponse(self._pages.message(said, _path(request)), status, {**headers, **_UNKEPT})

    async def _failed(self, _request: Request, _error: Exception) -> Response:
        said = "The page could not be made; the console's log says why. Reload it, or look at midwatch status."
        return HTMLResponse(self._pages.message("It failed", said), 500, _UNKEPT)


_UNKEPT = {"cache-control": "no-store"}
_SAID = {404: "There is no such page.", 405: "This address does not take that method."}


async def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok")


def _path(request: Request) -> str:
    """The path that was asked for. `request.url` would read a `?` that a name has as the begin of a query."""
    path: str = request.scope["path"]
    return path


def _query(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.scope["query_string"].decode("latin-1")))


async def _fields(request: Request) -> dict[str, list[str]]:
    """Fields of a form; HTTPException for one that is too large or no text."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise HTTPException(413, "The form is too large.")
    try:
        return parse_qs(body.decode(), keep_blank_values=True)
    except (UnicodeDecodeError, ValueError) as error:
        raise HTTPException(400, "The form is not what a browser sends.") from error


def _is_secure(request: Request) -> bool:
    """Whether the browser asks over TLS, here or at a proxy before us."""
    return "https" in (request.scope["scheme"], request.headers.get("x-forwarded-proto", ""))


def _to_sign_in(request: Request, back: str = "") -> Response:
    """A person is asked for the token; a program, which sent a wrong one, is told so."""
    if "authorization" in request.headers:
        return PlainTextResponse("that is not the token", 401, {"www-authenticate": "Bearer"})
    query = request.scope["query_string"].decode("latin-1")
    here = back or (f"{quote(_path(request))}?{query}" if query else quote(_path(request)))
    return RedirectResponse(page.path_of("sign-in", back=here), 303)


class _Guard:
    """Around the application: refuses names that are not ours, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, guard: Access) -> None:
        self._app, self._guard = app, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS.items()]}
            await send(message)

        if not self._guard.is_known_host(Headers(scope=scope).get("host", "")):
            refusal = PlainTextResponse("this console listens on loopback and answers to localhost alone", 421)
            await refusal(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)
