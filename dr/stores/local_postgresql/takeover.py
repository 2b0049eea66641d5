"""Whether the exporter of region b takes the events once region a is lost, by the counters of both exporters.

Nothing but the clients' endpoint leads to region b's exporter, and that leads there only after a failover: what it has
kept since the fault came after the reroute. Without any event before the fault nobody can be seen to go on, so another
thing is checked, under another name: that the exporter which clients find now would keep events.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from dr.drill.verdict import Check
from midwatch import metrics

TAKES, READY = "the exporter of region b takes the events", "the exporter of region b is ready for events"
"""Names of the check: where events came in before the fault, and where none did."""

WAIT_SECONDS = 15.0
"""Three times the longest pause of `midwatch.client.event_log` between two attempts: by then a sender has come back."""
MIN_EVENTS = 5
"""Of fewer before the fault it cannot be told that another one was due since."""
ASK_SECONDS = 2.0
POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Events: what the exporter of region a took just before the fault, and what that of b has kept before and since.

    None is what could not be asked.
    """

    sent: int | None
    before: int | None
    after: int | None


class Takeover:
    """Looks at both exporters during a drill. All three are base URLs; `clients` is the endpoint before both."""

    def __init__(self, *, lost: str, heir: str, clients: str) -> None:
        self._lost, self._heir, self._clients = lost, heir, clients
        self._first = kept(lost)
        self._sent: int | None = None
        self._before: int | None = None

    def mark(self) -> None:
        """Just before the fault."""
        now = kept(self._lost)
        self._sent = None if now is None or self._first is None else now - self._first
        self._before = kept(self._heir)

    def check(self) -> Check:
        """After the recovery; waits up to 15 s for the first event, if any came before the fault."""
        if self._sent == 0 and not self._grown(0.0):
            return judge_ready(refusal(self._clients))
        self._grown(WAIT_SECONDS)
        return judge(Counts(sent=self._sent, before=self._before, after=kept(self._heir)))

    def _grown(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            after = kept(self._heir)
            if after is not None and self._before is not None and after > self._before:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)


def judge(counts: Counts) -> Check:
    """Whether events go on; undecided where a count is missing, or too few came before to miss the next one.

    >>> judge(Counts(sent=100, before=7, after=7)).holds
    False
    >>> judge(Counts(sent=1, before=7, after=7)).holds is None
    True
    """
    if counts.before is None or counts.after is None:
        return Check(name=TAKES, holds=None, detail="it did not say how many events it has kept")
    taken = counts.after - counts.before
    if taken > 0:
        return Check(name=TAKES, holds=True, detail=f"{taken} kept since the fault")
    if counts.sent is None:
        return Check(name=TAKES, holds=None, detail="none since the fault, and nobody knows whether any were sent")
    came = f"none since the fault; region a took {counts.sent} just before it"
    if counts.sent < MIN_EVENTS:
        return Check(name=TAKES, holds=None, detail=f"{came}: too few to miss the next one")
    return Check(name=TAKES, holds=False, detail=came)


def judge_ready(refused: str | None) -> Check:
    """Whether the exporter that clients find would keep events, where no event came that could show it."""
    if refused is not None:
        return Check(name=READY, holds=False, detail=f"no event came before the fault or since, and {refused}")
    detail = "no event came before the fault or since; it answers clients that it would keep one"
    return Check(name=READY, holds=True, detail=detail)


def kept(url: str) -> int | None:
    """Events that an exporter has kept since it exists; None when it does not say."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=ASK_SECONDS) as page:  # noqa: S310 - a part of midwatch up
            lines = page.read().decode().splitlines()
    except OSError:
        return None
    wanted = [line for line in lines if line.startswith(f"{metrics.EXPORTER_EVENTS.name}{{")]
    return sum(int(float(line.rpartition(" ")[2])) for line in wanted if 'result="accepted"' in line)


def refusal(url: str) -> str | None:
    """Why an exporter would not keep an event now, None when it says that it would."""
    try:
        urllib.request.urlopen(f"{url}/readyz", timeout=ASK_SECONDS).close()  # noqa: S310 - a part of midwatch up
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answers {error.code} when asked whether it is ready"
    except OSError as error:
        return f"clients find no exporter: {error}"
    return None
