"""Which exporter a state folder is, and since when its counters count. A restart changes neither.

OTLP tells both to whoever receives the counters (service.instance.id, start_time_unix_nano): with new ones a receiver
takes them for those of another exporter, and counts every request since the beginning again.
"""

from __future__ import annotations

import logging
import time
import uuid
from pathlib import Path

import msgspec

from exporters.events import journal, private_files

FILE = "identity.json"

_log = logging.getLogger(__name__)


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The exporter's instance id, and when its counters began (seconds since the epoch)."""

    instance: str
    since: float


def of_folder(directory: Path) -> Identity:
    """The identity in a state folder, which is made where there is none; OSError when it cannot be kept.

    A state of a release that kept none began at its oldest file at the latest.
    """
    path = directory / FILE
    try:
        private_files.close_to_others(path)
        with private_files.reading(path) as file:
            return msgspec.json.decode(file.read(), type=Identity)
    except FileNotFoundError:
        pass
    except msgspec.MsgspecError as error:
        _log.warning("%s cannot be read, and is written anew: %s", path, error)
    made = Identity(instance=str(uuid.uuid4()), since=_oldest(directory))
    private_files.replace(path, msgspec.json.encode(made))
    return made


def _oldest(directory: Path) -> float:
    """When the oldest file of a state was changed last; now without one."""
    files = [journal.segment_path(directory, number) for number in journal.segments(directory)]
    files += directory.glob("snapshot-*.log")
    return min([time.time(), *(file.stat().st_mtime for file in files)])
