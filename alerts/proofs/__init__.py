"""Proofs that alerts work: a promtool test with series that fire an alert in time, one under which it stays silent."""
