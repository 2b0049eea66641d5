"""Whether a model treats groups of people alike: measures, evidence that may be looked at any time, and verdicts."""
