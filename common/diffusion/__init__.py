"""Noise schedules and steps, the noise itself, and the lifters that put a denoiser to work."""
