"""Scoring of exported predictions the way a benchmark's own script does it."""
