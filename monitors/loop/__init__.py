"""The loop from drift to a better model: what an episode is, how each of its steps is seen, and whether it helped."""
