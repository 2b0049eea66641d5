"""The console: where it listens, where people find it, and what it asks of a cluster."""

from __future__ import annotations

from midwatch.spec.addresses import PlainUrl
from midwatch.spec.base import Name, Strict
from midwatch.spec.kubernetes import Resources

LISTEN = "127.0.0.1:9550"


class Console(Strict):
    """The pages of `midwatch console`."""

    listen: str = LISTEN
    """HOST:PORT where it listens; off loopback it needs a token."""
    url: PlainUrl | None = None
    """Where people open it; with it, each alert carries the address of its page."""
    token_secret: Name = "midwatch-console"  # noqa: S105 - the name of a Secret
    """Secret whose key `token` admits to it in a cluster; in the namespace of the plane, made by whoever installs."""
    resources: Resources = Resources(cpu="100m", memory="256Mi", memory_limit="768Mi")
    """What its container asks for in a cluster."""
