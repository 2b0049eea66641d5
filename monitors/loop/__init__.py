"""The loop: from drift to a better model in production, each step as its owner says it."""
