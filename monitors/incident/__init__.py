"""What changed before an alert: when its harm began, and which change most likely caused it. Pure statistics.

Counts and changes arrive as values; who reads them from Prometheus, evidence logs and Git is `midwatch.app.incident`.
"""
