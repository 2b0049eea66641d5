"""Benchmarks of the loop's judgements."""
