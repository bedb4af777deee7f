"""Several calibrated cameras: who is who across them, and where each joint is."""
