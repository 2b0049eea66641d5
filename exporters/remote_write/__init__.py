"""Counters pushed by Prometheus' remote write 1.0, where nobody can scrape: many drivers, or one behind a wall."""
