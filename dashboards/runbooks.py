"""The runbook pages that panels point to: names of alerts, whose pages `alerts` keeps."""

from __future__ import annotations

ERRORS = "ModelErrorsHigh"
LATENCY = "ModelLatencyHigh"
ACCURACY = "ModelAccuracyLow"
NO_DATA = "ModelNoData"
BUDGET = "ModelErrorsHigh"
DRIFT = "ModelInputDrift"
RETRAINING = "RetrainingNotTriggered"
CANARY = "ModelErrorsHigh"
RESILIENCE = "MidwatchDeadman"
EXPORTER = "ExporterDown"
KEEPING = "ExporterCannotKeepEvents"
JOURNAL = "ExporterJournalDamaged"
JUDGE = "DriftJudgeDown"
ALERTING = "MidwatchDeadman"
