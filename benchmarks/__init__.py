"""The figures, measured: `python -m benchmarks` prints them as tables."""
