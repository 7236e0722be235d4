"""Telemetry: what sensors say, how well they say it, and which of it is an alarm."""
