"""Namespaces that Velero backs up: a drill restores the newest backup beside, and judges what Velero says of it."""
