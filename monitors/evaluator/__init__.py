"""The service that evaluates, again and again, promises that PromQL alone cannot: one module per kind of promise."""
