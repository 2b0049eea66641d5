"""Parquet files that Spark reads, wherever they lie: each partition is counted where it is, and counts add up here.

Rows are numbered through the files in the order of their paths: windows of time are those that one machine would see,
and the results are the same.
"""
