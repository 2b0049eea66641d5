"""What may make a model fairer, computed from its counts: proposals with their expected effect, never applied here."""
