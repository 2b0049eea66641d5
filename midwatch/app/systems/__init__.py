"""The platform's systems at work: whether a Prometheus has the metrics that their rules read, and a player of them."""
