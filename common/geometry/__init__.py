"""Skeletons, cameras, two views, rotations: pure functions and small frozen dataclasses."""
