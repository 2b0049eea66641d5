"""Regression of models and pipelines over their own history: trainings, evaluations, latency by release."""
