"""The platform's systems at work: whether their metrics are there, a player of them, and what models they have."""
