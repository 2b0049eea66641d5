"""Whether a folder is as it was published: what is damaged for certain, and what nobody can explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dr.stores.files import published
from dr.stores.files.copies import Copy
from dr.stores.files.published import Published, PublishError
from midwatch.spec.values import describe_duration

CHANGING_SECONDS = 3600.0
"""Who changes a folder for longer has forgotten to publish it."""

ADVICE = "midwatch dr publish says that it is meant"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a look found.

    `wrong` is damaged for certain: files that the manifest lists, and what is wrong with each; `is_gone` says that the
    whole folder is. `doubt` is what may be damage and may be somebody's change, empty without any. `is_changing`:
    somebody has said so, and nothing is judged.
    """

    published: Published | None = None
    wrong: Mapping[str, str] = field(default_factory=dict)
    is_gone: bool = False
    is_changing: bool = False
    doubt: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether everything is as it should be."""
        return not (self.wrong or self.is_gone or self.doubt)


class Watch:
    """Looks at a folder again and again; a file is read again only when size or times of it have changed."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._digests: dict[str, tuple[tuple[int, int, int], str]] = {}

    def look(self, newest: Copy | None) -> Condition:
        """The folder's condition, beside the newest copy of it."""
        copied = newest.published if newest else None
        if not self._source.is_dir():
            said = f"{self._source} is not there, and nothing was ever published of it"
            return Condition(is_gone=True) if copied else Condition(doubt=said)
        changing = published.changing_for(self._source)
        if changing is not None:
            late = f"{self._source} is being changed for {describe_duration(changing)}: it waits to be published"
            return Condition(is_changing=True, doubt=late if changing > CHANGING_SECONDS else "")
        try:
            now = published.read(self._source)
        except PublishError as error:
            return Condition(doubt=str(error))
        if now is None:
            return Condition(doubt=self._unlike(newest))
        return Condition(published=now, doubt=_contradiction(now, copied), wrong=self._wrong(now))

    def _unlike(self, newest: Copy | None) -> str:
        """How a folder without a manifest differs from its newest copy, by files that were there."""
        if newest is None:
            return ""
        if newest.published:
            return f"{self._source / published.MANIFEST} is gone; {ADVICE}"
        for name, (wanted, _) in newest.digests.items():
            if published.is_artefact(name) and (wrong := self._flaw(name, wanted)):
                return f"{name} is {wrong}: damage or a change; {ADVICE}"
        return ""

    def _wrong(self, now: Published) -> dict[str, str]:
        found = {name: self._flaw(name, wanted) for name, (wanted, _) in now.files.items()}
        return {name: wrong for name, wrong in found.items() if wrong}

    def _flaw(self, name: str, wanted: str) -> str:
        """What is wrong with a file, empty when nothing is."""
        try:
            path = published.inside(self._source, name)
            status = path.stat()
            seen = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if self._digests.get(name, (None, ""))[0] != seen:
                self._digests[name] = seen, published.digest(path)
        except FileNotFoundError:
            return "gone"
        except (OSError, PublishError) as error:
            return f"not to be read ({error})"
        return "" if self._digests[name][1] == wanted else "damaged"


def _contradiction(now: Published, copied: Published | None) -> str:
    """What is odd about a manifest beside that of the newest copy, empty when nothing is."""
    if copied is None or now.generation > copied.generation:
        return ""
    if now.generation < copied.generation:
        return f"generation {now.generation} came back, and {copied.generation} was copied; {ADVICE}"
    said = f"generation {now.generation} has another manifest than the one that was copied; {ADVICE}"
    return "" if now.files == copied.files else said
