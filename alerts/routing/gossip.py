"""The Alertmanagers of all regions as one cluster: of those that have an alert one notifies, whichever is left."""

from __future__ import annotations

from midwatch.spec.regions import Regions


def arguments(regions: Regions) -> str:
    """Arguments of the Alertmanager of this plane, one a line: `alertmanager @alertmanager/cluster.args` reads them.

    Each waits for those before it (`--cluster.peer-timeout`, 15 s a place) and then sends what they have not sent
    (prometheus/alertmanager, doc/design of high availability).
    """
    own = regions.planes.get(regions.here or "")
    port = own.gossip.rpartition(":")[2] if own else "9094"
    others = [plane.gossip for name, plane in sorted(regions.planes.items()) if name != regions.here]
    lines = [f"--cluster.listen-address=0.0.0.0:{port}", *(f"--cluster.peer={address}" for address in others)]
    return "".join(f"{line}\n" for line in lines)
