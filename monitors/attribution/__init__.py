"""Whether a model uses its features otherwise than before, from sums of attributions by window of time."""
