"""The canary gate: the judgement as an HTTP service."""
