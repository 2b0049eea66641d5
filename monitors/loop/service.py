"""The service of `midwatch loop serve`: of those that share a state folder one follows all models, the others stand by.

/metrics says where the episodes stand; /episodes has the newest of them as JSON. What is recorded is durable before
anything follows from it, so that the process may be killed at any moment.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from midwatch import exposition, http_access, http_server, http_service, telemetry
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client
from midwatch.spec import loop as loop_spec
from midwatch.spec.model import Model, Platform
from monitors.loop import document, episode_log, helped, owners, published, trace
from monitors.loop.asking import Asker
from monitors.loop.better import Helped
from monitors.loop.drill import kept
from monitors.loop.episode import Episode, Step
from monitors.loop.episode_log import EpisodeLog
from monitors.loop.follower import Compare, Follower
from monitors.loop.leadership import Leadership
from monitors.loop.owner import Place
from monitors.loop.published import Process, Standing
from monitors.regression.watch import Watch as Regressions

SERVICE = "midwatch-loop"
"""Name of the service in traces."""
MOST_EPISODES = 200
"""Episodes of one answer, the newest: some hundred kilobytes. `midwatch loop episodes` reads all of them."""
_JSON = "application/json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to follow, and where to keep it; `base` is the folder that files of the platform file are relative to.

    `prometheus` is the URL of another one than the platform file's.
    """

    platform: Platform
    base: Path
    state: Path
    prometheus: str | None = None


@dataclass(kw_only=True)
class _Acting:
    """What the process that acts has: the log, and a follower of each model."""

    log: EpisodeLog
    followers: list[Follower] = field(default_factory=list)


class Loop:
    """Follows every model, as long as it has the lock of the state folder."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.time) -> None:
        self._options, self._clock = options, clock
        self._leadership = Leadership(options.state)
        self._acting: _Acting | None = None
        self._last_look: float | None = None
        self._problem = ""
        self._export = telemetry.given_spans(SERVICE)
        self._exported: dict[str, int] = {}
        self.regressions = Regressions(options.platform, options.prometheus)

    # Looking -------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at every model once, if this process acts or may act from now on; what goes wrong is kept and said."""
        try:
            if not self._leadership.is_held():
                self._acting, self._problem = None, ""
                return
            acting = self._acting = self._acting or self._begun()
            self._look_with(acting)
            self._problem = ""
            self._last_look = self._clock()
        except MidwatchError as error:
            self._say(str(error))
        except Exception as error:  # the loop has to go on: the next look may well succeed
            _log.exception("a look was not finished")
            self._say(f"unexpected {type(error).__name__}: {error}")

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            _log.error("the loop does not look: %s", problem)
        self._problem = problem

    def _begun(self) -> _Acting:
        """Take the episodes over, as they are on record."""
        log = EpisodeLog(self._options.state)
        episode_log.ensure_of(self._options.platform.platform, log.episodes(), self._options.state)
        followers = [self._follower(model, log) for model in loop_spec.followed(self._options.platform)]
        return _Acting(log=log, followers=followers)

    def _follower(self, model: Model, log: EpisodeLog) -> Follower:
        platform = self._options.platform
        client = Client.of(platform.prometheus, self._options.prometheus)
        place = Place(platform=platform, model=model, client=client)
        if model.drift is None or model.drift.retrain is None:
            raise AssertionError("only models that drift retrains are followed")
        asker = Asker(platform, model, model.drift.retrain, self._options.base, log)
        asker.recover(self._clock())
        return Follower(place, owners.of_model(place), log, asker, self._compared(model, client))

    def _compared(self, model: Model, client: Client) -> Compare:
        """What compares the versions of an episode: by their labels, on the traffic that both served."""

        def compare(episode: Episode) -> Helped | None:
            begun, all_traffic = episode.time(Step.CANARY_BEGUN), episode.time(Step.ALL_TRAFFIC)
            if episode.new_version is None or begun is None or all_traffic is None:
                return None
            return helped.judged(
                client,
                self._options.platform,
                model,
                old=episode.version,
                new=episode.new_version,
                start=begun,
                end=all_traffic,
            )

        return compare

    def _look_with(self, acting: _Acting) -> None:
        now = self._clock()
        with ThreadPoolExecutor(max_workers=max(1, len(acting.followers)), thread_name_prefix="follow") as pool:
            list(pool.map(lambda follower: follower.look(now), acting.followers))
        if self._export is not None:
            self._trace(acting.log, self._export)

    def _trace(self, log: EpisodeLog, export: Callable[[list[telemetry.GivenSpan]], bool]) -> None:
        """Export what is new of every episode; an episode that a process before this one followed, once more."""
        for episode in log.episodes():
            spans = list(trace.spans(episode))
            if len(spans) > self._exported.get(episode.id, 0) and export(spans):
                self._exported[episode.id] = len(spans)

    def run(self, stop: threading.Event) -> None:
        """Look in the platform file's interval until `stop`."""
        interval = self._options.platform.loop.interval if self._options.platform.loop else 15.0
        while not stop.is_set():
            begun = time.monotonic()
            self.look()
            stop.wait(max(0.0, interval - (time.monotonic() - begun)))
        self._leadership.release()

    # Answers -------------------------------------------------------------------------------------------------------

    def metrics(self) -> bytes:
        """Exposition of the process and of all episodes."""
        acting = self._acting
        followers = acting.followers if acting else []
        process = Process(
            is_leader=acting is not None,
            log=f"{self._options.platform.platform}/loop",
            head=acting.log.head if acting else None,
            sources=_sources(followers),
            last_look=self._last_look,
        )
        models = {one.model: Standing(unobserved=frozenset(one.view.unobserved)) for one in followers}
        of_histories = self.regressions.text()
        if acting is None:
            return published.text(process, [], models) + of_histories
        return published.text(process, acting.log.episodes(), models, self._drills()) + of_histories

    def _drills(self) -> list[exposition.Sample]:
        """What drills have shown; what their log lacks is said where it is listed, and holds up no scrape."""
        settings = self._options.platform.loop
        folder = self._options.base / settings.evidence.folder if settings else self._options.base
        try:
            return list(kept.samples(kept.DrillLog(folder=folder).results()))
        except MidwatchError as error:
            _log.warning("drills are not published: %s", error)
            return []

    def episodes(self) -> dict[str, object]:
        """The newest episodes, and what is missing to see or to ask; without episodes where another process acts."""
        acting = self._acting
        if acting is None:
            return {"leader": False, "problem": self._problem, "models": {}, "episodes": []}
        views = {one.model: one.view for one in acting.followers}
        return {
            "leader": True,
            "problem": self._problem,
            "models": {
                model: {
                    "not_observed": {step.value: why for step, why in view.unobserved.items()},
                    "not_asked": view.why_not_asked,
                    "blind": dict(view.problems),
                }
                for model, view in views.items()
            },
            "episodes": [
                document.of_episode(one, views[one.model].unobserved if one.model in views else None)
                for one in acting.log.episodes()[-MOST_EPISODES:]
            ],
        }

    @property
    def problem(self) -> str:
        """Why it does not look; empty while it does, or stands by."""
        return self._problem


def _sources(followers: list[Follower]) -> dict[str, bool]:
    """Whether each owner answered for all models that it was asked about."""
    found: dict[str, bool] = {}
    for one in followers:
        for source in one.sources:
            found[source] = found.get(source, True) and source not in one.view.problems
    return found


# Serving -----------------------------------------------------------------------------------------------------------


async def serve(loop: Loop, address: http_service.Address, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `started` is called with the URL. ServeError when the port is taken."""
    connections = http_server.Connections(
        lambda request, respond: _answer(loop, request, respond),
        http_server.Limits(max_body=0, max_connections=100),
        http_access.admission(address.token, address.metrics_token),
    )
    beside = {"loop": loop.run, "regressions": loop.regressions.run}
    await http_service.serve(connections, address.host, address.port, beside=beside, started=started)


def _answer(loop: Loop, request: http_server.Request, respond: http_server.Respond) -> None:
    if request.path == b"/healthz":
        respond(HTTPStatus.OK, b'{"status":"ok"}', _JSON)
    elif request.path == b"/readyz":
        status = HTTPStatus.SERVICE_UNAVAILABLE if loop.problem else HTTPStatus.OK
        respond(status, json.dumps({"status": loop.problem or "ready"}).encode(), _JSON)
    elif request.path == b"/metrics":
        respond(HTTPStatus.OK, loop.metrics(), exposition.CONTENT_TYPE)
    elif request.path == b"/episodes":
        respond(HTTPStatus.OK, json.dumps(loop.episodes()).encode(), _JSON)
    else:
        body = b'{"error":"there are /episodes, /metrics, /healthz and /readyz"}'
        respond(HTTPStatus.NOT_FOUND, body, _JSON)
