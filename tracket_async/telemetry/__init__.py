"""Observers to use as they are: one that logs, one that speaks OpenTelemetry. They know events and nothing else."""
