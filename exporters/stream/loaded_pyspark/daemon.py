"""Spark's daemon of Python workers on this machine, which has loaded what they run before it forks them.

Loading takes a worker a second of processor time, and Spark ends workers that had nothing to do for a minute.
"""

from __future__ import annotations

import gc

import pandas  # noqa: F401 - a worker loads it to read Arrow
import pyspark.sql.streaming.proto.StateMessage_pb2
import pyspark.worker  # noqa: F401 - what a worker runs
from pyspark import daemon

from exporters.stream import decoding, kept  # noqa: F401 - what Spark's tasks run

if __name__ == "__main__":
    gc.freeze()  # collections in the workers leave pages alone that all of them share
    daemon.manager()
