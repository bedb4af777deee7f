"""Data in: every loader returns the same clips; `windows` cuts them."""
