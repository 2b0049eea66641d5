"""Drift: what it costs beside other tools, how often it is wrong on calm streams, and what it sees."""
