"""What changed: versions that came and went, champions, episodes, drills and experiments, the newest first."""
