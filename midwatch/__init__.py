"""Shared by every folder: the platform file, the metric catalogue, PromQL, telemetry and the command line."""

__version__ = "0.1.0"
