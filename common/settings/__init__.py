"""Flags, presets and settings files: what a command line means."""
