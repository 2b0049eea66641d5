"""What Spark sends to its Python workers of a record."""

from __future__ import annotations

from typing import Any

from exporters.stream import query, records


def test_records_without_headers_are_sent_with_an_empty_list_of_them(spark: Any) -> None:
    header = {"key": "ce_type", "value": bytearray(b"inference")}
    rows = [("topic", 0, offset, 0, b"{}", headers, False) for offset, headers in enumerate((None, [], [header]))]
    sent = query.sent(spark.createDataFrame(rows, records.SCHEMA)).collect()
    assert [[header.asDict() for header in row.headers] for row in sent] == [[], [], [header]]
    assert all(name in sent[0] for name in records.COLUMNS)
