"""Causes that a person confirmed: kept in an evidence log, and read back to calibrate what is said next."""

from __future__ import annotations

from pathlib import Path

import msgspec

from midwatch import evidence
from midwatch.errors import MidwatchError
from monitors.incident import calibration
from monitors.incident.calibration import NONE, Calibration, Confirmed
from monitors.incident.records import Incident, Suspect


def read(log: Path) -> Calibration:
    """How far probabilities came true, by the log; without one nothing was confirmed."""
    kind = Confirmed.__struct_config__.tag
    records = [record for record in evidence.read(log) if record.kind == kind]
    return calibration.calibrate([msgspec.convert(record.data, Confirmed) for record in records])


def confirm(log: Path, incident: Incident, cause: str, *, by: str, note: str) -> Confirmed:
    """Keep what the cause was: the id of a change of the incident or the begin of one, or `none`."""
    listed = [*incident.suspects, *(Suspect(change=one.change, probability=0.0) for one in incident.rejected)]
    found = [one for one in listed if (one.change.id if one.change else NONE).startswith(cause)] if cause else []
    if len(found) != 1:
        known = ", ".join(one.change.id if one.change else NONE for one in listed)
        many = "several changes begin so" if found else "there is no such change"
        raise MidwatchError(f"--confirm {cause!r}: {many}; give one of {known}")
    first, chosen = incident.suspects[0], found[0]
    change = chosen.change
    record = Confirmed(
        alert=incident.alert,
        scope=incident.scope,
        fired_at=round(incident.fired_at),
        cause=change.id if change else NONE,
        kind=change.kind.value if change else NONE,
        what=change.what if change else "none of the changes that were listed",
        stated=chosen.probability,
        first=chosen is first,
        first_stated=first.probability,
        by=by,
        note=note,
    )
    evidence.Log(log).append_event(record)
    return record
