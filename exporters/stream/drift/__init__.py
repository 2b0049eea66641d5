"""Drift on the stream: rows are counted where they are, and judged at the driver by the judge of the exporter.

1. `row_bytes` makes a few bytes of what is judged of a prediction, while the event is decoded.
2. `collected` puts the rows of a bucket together that count, by model and version, as columns.
3. `counting` counts them in Spark's workers on the cells of each version's reference; `judging` takes the counts in.
4. `kept` says what of the judge's state a transaction has to write.
"""
