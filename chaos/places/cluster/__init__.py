"""Faults through the Kubernetes API."""
