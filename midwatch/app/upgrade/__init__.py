"""What another release means for a platform file, its state, and whoever reads its metrics."""
