"""The exporter's counts, made by Spark Structured Streaming from Kafka topics or folders of files.

The way of an event, and who does what:

1. A source (`sources`) gives records: the bytes of one or more events, with where they stood and when they arrived.
2. `decoding` reads, checks and strips them with the exporter's own code, in Spark's Python workers. Events go on in
   parcels, one for each bucket of ids: Spark shuffles a parcel as one row.
3. `buckets` knows the ids of a bucket and what waits in it. It drops retries, joins predictions with labels, and tells
   what happened in findings. `kept` holds a bucket in Spark's state store, so a batch that is run again finds the
   bucket as it was.
4. The driver receives the findings of a batch with its number. `ledger` makes them durable in one transaction that
   knows the batch, so a batch that is run again changes nothing.
5. `fold` takes findings in the order of arrival into the exporter's own State, whose counters are published.

Spark owns offsets, shuffle, state, retries and checkpoints. Order, caps and ages are settled at the driver, by the code
that settles them in the exporter.
"""
