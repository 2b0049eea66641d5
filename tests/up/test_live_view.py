"""The live view says of an episode of the loop what has happened, when, and what is waited for."""

from __future__ import annotations

from midwatch.app.up import live_view
from monitors.loop import document
from monitors.loop.episode import Began, Ended, Episode, Outcome, Result, Seen, Step


def episode(*seen: tuple[Step, float]) -> Episode:
    began = Began(episode="e", model="flight-delay", version="v1", onset=100.0, detected=105.0, seen=106.0)
    found = Episode.of(began)
    for step, at in seen:
        facts = {"served_as": "v4"} if step is Step.REGISTERED else {}
        found.steps.append(
            Seen(episode="e", step=step, result=Result.DONE, source="x", id="4", at=at, seen=at, facts=facts)
        )
    return found


def said(found: Episode) -> str:
    return live_view.episode(document.of_episode(found)).plain


def test_an_open_episode_says_what_was_seen_after_the_onset_and_what_is_waited_for() -> None:
    text = said(episode((Step.ASKED, 120.2), (Step.RUN_STARTED, 121.0)))
    assert text == "retraining of flight-delay v1: open  detected 5 s  asked 20 s  run 21 s  waiting for trained"


def test_an_episode_that_ended_says_how_and_by_which_version() -> None:
    found = episode((Step.REGISTERED, 130.0), (Step.ALL_TRAFFIC, 150.0), (Step.WELL, 160.0))
    ended = Ended(episode="e", outcome=Outcome.BETTER, cause="drift_gone", at=161.0, said="calm again")
    found.outcome, found.ended, found.ending = ended.outcome, ended.at, ended.said
    text = said(found)
    assert text.startswith("retraining of flight-delay v1 to v4: better  detected 5 s  registered 30 s")
    assert text.endswith("all traffic 50 s  well 60 s  calm again")
