"""Disaster recovery: drills that measure RTO and RPO."""
