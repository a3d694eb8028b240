"""Versions that run beside the champion: their state, their share, their figures, their limits."""
