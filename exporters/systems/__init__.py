"""What no system publishes by itself: its owner is asked in intervals, read-only, and the answers are published."""
