"""Text of the metrics, of which only what changed since the last scrape is written again.

Three hundred thousand lines take a second. They are written between other work of the one thread that counts events:
`write` stops after a few lines at a time. A table is as it was at one of those moments; each counter only grows.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from midwatch import exposition, metrics
from midwatch.exposition import Histogram, Sample, Table

CHUNK = 256
"""Single samples that are compared and written together."""

_pack = msgspec.msgpack.Encoder().encode


class Block(msgspec.Struct, gc=False):
    """Lines of a table, of a histogram's series or of some samples, and what they were written from."""

    written_from: Any
    text: bytes
    lines: int


class IncrementalText:
    """The blocks of the last scrape: together as large as its text, and no larger."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Block] = {}
        self._parts: dict[str, list[Block]] = {}

    def write(
        self, tables: Iterable[Table], histograms: Iterable[Histogram], samples: Sequence[Sample], content_type: str
    ) -> Iterator[None]:
        """Write the blocks that changed, a few lines at each step; what `samples` has of a table's metric comes last.

        Blocks that are not there any more are forgotten at the end.
        """
        written: dict[Hashable, Block] = {}
        parts: dict[str, list[Block]] = {}

        def keep(name: str, key: Hashable, block: Block) -> None:
            written[key] = block
            parts.setdefault(name, []).append(block)

        for table in tables:
            if table.counts or not table.names:
                key = (table.metric.name, *table.labels.items())
                keep(table.metric.name, key, (yield from self._table(key, table)))
        for series in histograms:
            name = series.metric.name
            key = (content_type, name, *series.labels.items())
            keep(name, key, self._histogram(key, series, content_type))
            yield
        by_name: dict[str, list[Sample]] = {}
        for part in _pieces(samples):
            for sample in part:
                by_name.setdefault(sample[0].name, []).append(sample)
            yield
        for name, every in by_name.items():
            for place, piece in enumerate(_pieces(every)):
                keep(name, (name, place), self._samples((name, place), piece))
                yield
        self._known, self._parts = written, parts

    def _table(self, key: Hashable, table: Table) -> Generator[None, None, Block]:
        packed = _pack(table.counts)
        known = self._known.get(key)
        if known is not None and known.written_from == packed:
            yield
            return known
        texts = []
        for text in exposition.table_text(table):
            texts.append(text)
            yield
        return _block(packed, "".join(texts))

    def _histogram(self, key: Hashable, series: Histogram, content_type: str) -> Block:
        shows_exemplars = content_type == exposition.OPEN_METRICS
        exemplars = series.exemplars if shows_exemplars else {}
        shown = tuple(series.bounds), tuple(series.counts), series.total, exemplars
        known = self._known.get(key)
        if known is not None and known.written_from == shown:
            return known
        return _block(shown, exposition.histogram_text(series, content_type))

    def _samples(self, key: Hashable, samples: Sequence[Sample]) -> Block:
        known = self._known.get(key)
        if known is not None and known.written_from == samples:
            return known
        return _block(samples, exposition.sample_text(samples))

    @property
    def series(self) -> int:
        """Series in the text."""
        return sum(block.lines for blocks in self._parts.values() for block in blocks)

    def pieces(self, content_type: str) -> list[bytes]:
        """The text that was written last, in the catalogue's order, in pieces to be joined."""
        pieces = []
        for name, metric in metrics.CATALOGUE.items():
            if blocks := self._parts.get(name):
                pieces.append(exposition.head(metric, content_type).encode())
                pieces += [block.text for block in blocks]
        return [*pieces, exposition.end(content_type).encode()]


def _block(written_from: Any, text: str) -> Block:
    return Block(written_from, text.encode(), text.count("\n"))


def _pieces(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    return (samples[start : start + CHUNK] for start in range(0, len(samples), CHUNK))
