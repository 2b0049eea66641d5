"""Actions of Chaos Toolkit: each makes one fault happen and sees it happen, or fails. `revert` ends all of the run's.

Every kind of `chaos.kinds` is an action of its name, and its fields are the arguments. Every action takes
`configuration`, which Chaos Toolkit passes: `where` (local or kubernetes), `state` (the state folder of `midwatch up`,
or any folder for a cluster) and `platform` (the platform file; not needed locally). An action returns what it hit and
of how many: `{"hit": [...], "of": [...], "what": [...]}`. It raises ActivityFailed when there is no target, too many
would be hit, or the fault was not seen to happen; then nothing stays.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any

from chaoslib.exceptions import ActivityFailed

from chaos import kinds
from chaos.kinds.base import Injection
from chaos.run import current
from midwatch.errors import MidwatchError

Configuration = Mapping[str, Any] | None
Hit = dict[str, list[str]]

_CHOOSING = threading.Lock()
"""Actions in the background are threads: each has to count what the others hit."""
CONFIGURATION = inspect.Parameter("configuration", inspect.Parameter.KEYWORD_ONLY, default=None)


def revert(*, configuration: Configuration = None) -> list[str]:  # noqa: ARG001 - the toolkit passes it to each
    """Revert every fault of this run and see them gone; ActivityFailed when one stays. Harmless without any."""
    ledger = current.ledger_of_process()
    if ledger is None:
        return []
    try:
        open_faults = [fault.target for fault in ledger.open_faults().values()]
        problems = ledger.revert_all()
    except MidwatchError as error:
        raise ActivityFailed(str(error)) from error
    if problems:
        raise ActivityFailed("; ".join(problems))
    return open_faults


def inject(injection: Injection[Any], configuration: Configuration) -> Hit:
    """Inject a fault into the run of this process."""
    try:
        run = current.of_process(configuration)
        if run.place.home.kill_switch.exists():
            raise ActivityFailed(f"the kill switch is set: {run.place.home.kill_switch}")
        with _CHOOSING:
            prepared = run.place.prepare(injection, run.hits())
            run.set_mark()
            run.add_hits(prepared.hits)
        for fault in prepared.faults:
            run.ledger.inject(fault)
    except (MidwatchError, OSError) as error:
        raise ActivityFailed(str(error)) from error
    return {
        "hit": list(prepared.hit),
        "of": list(prepared.candidates),
        "what": [fault.describe() for fault in prepared.faults],
    }


def _action(kind: type[Injection[Any]]) -> Callable[..., Hit]:
    """The action of a kind: its signature, which Chaos Toolkit checks arguments against, has the kind's fields."""

    def action(*, configuration: Configuration = None, **arguments: Any) -> Hit:
        try:
            injection = kind.given(arguments)
        except ValueError as error:
            raise ActivityFailed(f"{kind.kind()}: {error}") from error
        return inject(injection, configuration)

    action.__name__ = action.__qualname__ = kind.kind()
    action.__doc__ = kind.__doc__
    fields = inspect.signature(kind).parameters.values()
    action.__signature__ = inspect.Signature([*fields, CONFIGURATION])  # type: ignore[attr-defined] # inspect reads it
    return action


def __getattr__(name: str) -> Callable[..., Hit]:
    """An action of a kind (PEP 562): Chaos Toolkit looks actions up by their names in this module."""
    if name in kinds.table():
        return _action(kinds.table()[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Names of the actions, which Chaos Toolkit lists before it looks one up."""
    return ["revert", *kinds.table()]
